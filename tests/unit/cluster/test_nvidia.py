"""GPUs in a kind node: what is done in it, and how what it offers is read. No GPU was at hand for any of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from lightkube import codecs

from sandbox.accelerators import Accelerators, Containers, Gpu, Nvidia, choose
from sandbox.accelerators.facts import Toolkit
from sandbox.cluster import nvidia, nvidia_check
from sandbox.errors import AcceleratorUnavailable

FOLDER = Path(__file__).parents[3] / "clusters" / "nvidia"
IMAGE = "docker.io/sandbox/engine-cuda@sha256:" + "0" * 64
LISTS_CUDA = "Available devices:\n  CUDA0: NVIDIA GeForce RTX 4090 (24111 MiB, 23000 MiB free)\n"
LISTS_NONE = "Available devices:\n  (none)\n"


class FakeNode:
    """A node where each command ends as it was told to; what is not told fails."""

    def __init__(self, answers: dict[str, tuple[int, str]]) -> None:
        self.answers = answers
        self.ran: list[str] = []
        self.files: dict[str, bytes] = {}

    def run(self, argv: Sequence[str]) -> tuple[int, str]:
        line = " ".join(argv)
        self.ran.append(line)
        return next((told for part, told in self.answers.items() if part in line), (127, f"{argv[0]}: not found\n"))

    def put(self, path: str, content: bytes) -> None:
        self.files[path] = content


def fresh(**other: tuple[int, str]) -> FakeNode:
    """A node as kind makes it, with GPUs: nothing set up, every command works."""
    return FakeNode(
        {
            **other,
            "nvidia-smi": (0, "GPU 0: NVIDIA GeForce RTX 4090\n"),
            "nvidia-ctk --version": (127, ""),
            "! mountpoint": (1, ""),
            "config dump": (1, ""),
            "": (0, ""),
        }
    )


def read(path: str) -> bytes | None:
    return f"content of {path}".encode()


def test_a_fresh_node_is_set_up_in_this_order() -> None:
    node, said = fresh(), list[str]()
    nvidia.set_up(node, read, said.append)
    done = [line for line in node.ran if line in {" ".join(step.argv) for step in nvidia.node_steps()}]
    assert done == [" ".join(step.argv) for step in nvidia.node_steps()]
    assert said == [step.title for step in nvidia.node_steps()]
    assert set(node.files) == set(nvidia.PACKAGE_SOURCE)


def test_what_is_done_is_not_done_again() -> None:
    node, said = FakeNode({"": (0, "")}), list[str]()
    nvidia.set_up(node, read, said.append)
    assert not any(part in line for line in node.ran for part in ("apt-get", "runtime configure", "umount"))
    assert node.files == {}
    assert said == ["see the GPUs in the node", "let mounts ask for GPUs, and environment variables not"]


def test_a_node_that_got_no_gpu_is_told_before_anything_is_installed() -> None:
    node = FakeNode({"nvidia-smi": (127, "sh: nvidia-smi: not found")})
    with pytest.raises(
        AcceleratorUnavailable, match=r"see the GPUs in the node.*status 127:\nsh: nvidia-smi"
    ) as refusal:
        nvidia.set_up(node, read, list[str]().append)
    assert refusal.value.hint.endswith("debian nvidia-smi")
    assert len(node.ran) == 1


def test_a_failed_step_is_told_with_the_end_of_what_it_said() -> None:
    said = "".join(f"line {n}\n" for n in range(100)) + "E: Unable to locate package\n"
    node = fresh(**{"apt-get": (100, said)})
    with pytest.raises(AcceleratorUnavailable, match="Unable to locate package") as refusal:
        nvidia.set_up(node, read, list[str]().append)
    assert "line 10\n" not in refusal.value.message
    assert "SANDBOX_CLUSTER_NODE_IMAGE" in refusal.value.hint


def test_a_host_without_the_package_source_cannot_give_it_to_the_node() -> None:
    node = fresh()
    with pytest.raises(AcceleratorUnavailable, match=r"nvidia-container-toolkit\.list is not on this machine"):
        nvidia.set_up(node, lambda path: None, list[str]().append)
    assert not any("apt-get" in line for line in node.ran)


def test_the_runtime_of_other_pods_stays_what_it_was() -> None:
    assert not any("set-as-default" in word for step in nvidia.node_steps() for word in step.argv)


# The manifests


def objects() -> list[dict[str, Any]]:
    return nvidia.manifests()


def test_the_manifests_are_objects_that_kubernetes_knows() -> None:
    assert [each["kind"] for each in objects()] == ["RuntimeClass", "DaemonSet"]
    for each in (*objects(), *nvidia_check.check_pods(IMAGE)):
        made = codecs.from_dict(each).metadata
        assert made is not None
        assert made.name == each["metadata"]["name"]


def test_every_manifest_in_the_folder_is_listed() -> None:
    listed = set(yaml.safe_load((FOLDER / "kustomization.yaml").read_text())["resources"])
    assert listed == {path.name for path in FOLDER.glob("*.yaml")} - {"kustomization.yaml"}


def test_the_image_is_pinned_by_digest() -> None:
    name, _, digest = nvidia.image_of(objects()).partition("@sha256:")
    assert name.startswith("nvcr.io/nvidia/k8s-device-plugin:v")
    assert len(digest) == 64
    assert int(digest, 16)


def test_a_gpu_is_asked_for_in_the_same_way_on_every_layer() -> None:
    (mount,) = nvidia.EXTRA_MOUNTS
    pod = objects()[1]["spec"]["template"]["spec"]
    (volume,) = (each for each in pod["volumes"] if each["name"] == "all-gpus")
    (mounted,) = (each for each in pod["containers"][0]["volumeMounts"] if each["name"] == "all-gpus")
    assert (volume["hostPath"]["path"], mounted["mountPath"]) == mount
    assert {"name": "DEVICE_LIST_STRATEGY", "value": "volume-mounts"} in pod["containers"][0]["env"]
    assert any("accept-nvidia-visible-devices-as-volume-mounts=true" in step.argv for step in nvidia.node_steps())


def test_runtime_class_and_handler_and_pods_agree() -> None:
    runtime_class = objects()[0]
    assert runtime_class["handler"] == runtime_class["metadata"]["name"] == nvidia_check.RUNTIME_CLASS
    pods = [objects()[1]["spec"]["template"], *nvidia_check.check_pods(IMAGE)]
    assert {pod["spec"]["runtimeClassName"] for pod in pods} == {nvidia_check.RUNTIME_CLASS}


# The check


def test_of_the_two_check_pods_only_one_asks_for_a_gpu() -> None:
    asked, unasked = (pod["spec"]["containers"][0] for pod in nvidia_check.check_pods(IMAGE))
    assert asked["resources"]["limits"].pop(nvidia_check.RESOURCE) == 1
    assert nvidia_check.RESOURCE not in unasked["resources"]["limits"]
    assert asked == unasked


@pytest.mark.parametrize(
    ("asked", "unasked", "wrong"),
    [
        (LISTS_CUDA, LISTS_NONE, ()),
        (LISTS_CUDA, "error while loading shared libraries: libcuda.so.1", ()),
        (LISTS_NONE, LISTS_NONE, ("a pod that asked for a GPU sees none: (none)",)),
        ("", "", ("a pod that asked for a GPU sees none: it said nothing",)),
        (LISTS_CUDA, LISTS_CUDA, ("a pod that did not ask for a GPU sees one all the same",)),
    ],
)
def test_gpus_go_where_they_were_asked_for_and_nowhere_else(asked: str, unasked: str, wrong: tuple[str, ...]) -> None:
    assert nvidia_check.check_verdict(asked, unasked) == wrong


# Reading what is offered


def test_dockers_runtimes_are_read() -> None:
    info = {"Runtimes": {"runc": {"path": "runc"}, "nvidia": {}}, "DefaultRuntime": "nvidia", "Name": "here"}
    assert nvidia_check.containers(info) == Containers(("nvidia", "runc"), "nvidia")


@pytest.mark.parametrize("info", [{}, {"Runtimes": None}, {"Runtimes": "runc"}, {"Runtimes": {}, "DefaultRuntime": 3}])
def test_an_engine_that_does_not_tell_its_runtimes_is_not_guessed_at(info: dict[str, Any]) -> None:
    assert nvidia_check.containers(info) is None


def node(offered: Any) -> dict[str, Any]:
    return {"status": {"allocatable": {"cpu": "2", nvidia_check.RESOURCE: offered}}}


@pytest.mark.parametrize(
    ("nodes", "gpus"),
    [([], 0), ([{}], 0), ([node("2"), node(1)], 3), ([node("many")], 0), ([node("٣")], 0), ([node([1]), node("1")], 1)],
)
def test_the_gpus_of_all_nodes_are_added_up(nodes: list[dict[str, Any]], gpus: int) -> None:
    assert nvidia_check.gpus_of(nodes) == gpus


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_a_node_that_says_nonsense_offers_nothing(said: Any) -> None:
    assert nvidia_check.gpus_of([{"status": said}]) == 0


READY = {"desiredNumberScheduled": 1, "numberReady": 1, "updatedNumberScheduled": 1, "observedGeneration": 2}


@pytest.mark.parametrize(
    ("status", "is_ready"),
    [
        (READY, True),
        (READY | {"numberReady": 0}, False),
        (READY | {"updatedNumberScheduled": 0}, False),
        (READY | {"observedGeneration": 1}, False),
        (READY | {"desiredNumberScheduled": 0, "numberReady": 0, "updatedNumberScheduled": 0}, False),
        (None, False),
    ],
)
def test_the_plugin_is_ready_when_all_of_it_is(status: dict[str, int] | None, is_ready: bool) -> None:
    assert nvidia_check.plugin_is_ready({"metadata": {"generation": 2}, "status": status}) is is_ready


def test_no_plugin_is_not_ready() -> None:
    assert nvidia_check.plugin_is_ready(None) is False


def test_what_a_cluster_offers_decides_what_is_chosen() -> None:
    here = Accelerators(
        "Linux",
        "x86_64",
        nvidia=Nvidia(True, "535.183.01", ("/dev/nvidia0",), (Gpu("NVIDIA GeForce RTX 4090", None),)),
        toolkit=Toolkit("/usr/bin/nvidia-ctk", takes_mounts=True),
        containers=Containers(("nvidia", "runc"), "nvidia"),
    )
    here_mount = {"Type": "bind", "Source": "/dev/null", "Destination": nvidia.EXTRA_MOUNTS[0][1], "Mode": "ro"}
    plugin = {"metadata": {"generation": 2}, "status": READY}
    good = nvidia_check.offer(
        mounts=[here_mount], has_runtime=True, plugin=plugin, nodes=[node("1")], has_cuda_image=True
    )
    assert choose("auto", here, "kind", offer=good).kind == "cuda"
    without = nvidia_check.offer(mounts=[], has_runtime=True, plugin=plugin, nodes=[node("1")], has_cuda_image=True)
    choice = choose("auto", here, "kind", offer=without)
    assert (choice.kind, choice.why) == (
        "cpu",
        "CPU; CUDA is not used: the kind node was made without the device mount",
    )
