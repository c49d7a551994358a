"""What is chosen, asked for and written for accelerators, read as a whole; none of it was run on a GPU."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

import yaml

from sandbox import catalogue, plan
from sandbox.accelerators import (
    Accelerators,
    ClusterOffer,
    Containers,
    Gpu,
    HostEngine,
    Kind,
    Nvidia,
    Vulkan,
    choose,
)
from sandbox.accelerators.facts import Toolkit
from sandbox.cluster import nvidia, nvidia_check
from sandbox.cluster.host_engine import host_engine_objects
from sandbox.errors import AcceleratorUnavailable
from sandbox.facts import Host
from sandbox.units import GIB, MIB

HERE = Path(__file__).parent
CARD = catalogue.load()["smollm2-135m-instruct"]
IMAGE = "docker.io/sandbox/engine@sha256:" + "0" * 64

BARE = Accelerators("Linux", "x86_64")
WITH_GPU = replace(
    BARE,
    nvidia=Nvidia(True, "535.183.01", ("/dev/nvidia0",), (Gpu("NVIDIA GeForce RTX 4090", 24564 * MIB),)),
    toolkit=Toolkit("/usr/bin/nvidia-ctk", takes_mounts=True),
    containers=Containers(("nvidia", "runc"), "nvidia"),
    engine=HostEngine("/opt/llama-server", ("cuda",)),
)
MACHINES = {
    "a laptop without a GPU": BARE,
    "an NVIDIA GPU, all set up": WITH_GPU,
    "an NVIDIA GPU, no driver": replace(WITH_GPU, nvidia=Nvidia(is_on_bus=True)),
    "an NVIDIA GPU, its driver only": replace(
        WITH_GPU, toolkit=Toolkit(), containers=Containers(("runc",), "runc"), engine=HostEngine("/opt/llama-server")
    ),
    "a Mac": Accelerators("Darwin", "arm64", engine=HostEngine("/opt/llama-server", ("metal",))),
    "an Intel GPU": replace(
        BARE,
        vulkan=Vulkan(("/dev/dri/renderD128",), "/usr/lib/x86_64-linux-gnu/libvulkan.so.1"),
        engine=HostEngine("/opt/llama-server", ("vulkan",)),
    ),
}
ASKED: tuple[Literal["auto"] | Kind, ...] = ("auto", "cpu", "cuda", "vulkan", "metal")
OFFERS = {
    "not asked": None,
    "everything": ClusterOffer(True, True, True, 1, True),
    "all but an engine image": ClusterOffer(True, True, True, 1, False),
    "nothing": ClusterOffer(False, False, False, 0, False),
}


def told(
    asked: Literal["auto"] | Kind, found: Accelerators, backend: str, offer: ClusterOffer | None = None
) -> Iterator[str]:
    try:
        choice = choose(asked, found, backend, offer=offer)
    except AcceleratorUnavailable as error:
        yield f"  {backend}, {asked}: refused"
        yield f"    {error.message}"
        yield f"    hint: {error.hint}"
    else:
        yield f"  {backend}, {asked}: {choice.kind} in a {choice.where}" + (
            " process" if choice.where == "host" else ""
        )
        yield f"    {choice.why}"


def choices() -> str:
    lines = []
    for name, found in MACHINES.items():
        lines.append(name)
        for backend in ("local", "kind"):
            for asked in ASKED:
                lines += told(asked, found, backend)
    for name, offer in OFFERS.items():
        lines.append(f"an NVIDIA GPU, all set up; of the cluster is known: {name}")
        for backend in ("kind", "context:far"):
            for asked in ("auto", "cuda"):
                lines += told(asked, WITH_GPU, backend, offer)
    return "\n".join(lines) + "\n"


def in_kind() -> str:
    documents: list[Any] = [
        {"extra_mounts of the node": [list(mount) for mount in nvidia.EXTRA_MOUNTS]},
        {"steps in the node": [asdict(step) for step in nvidia.node_steps()]},
        {"a node has the runtime when this succeeds": list(nvidia.HAS_RUNTIME)},
        *nvidia.manifests(),
        *nvidia_check.check_pods(IMAGE),
    ]
    return _written(documents)


def on_host() -> str:
    made = plan.make(CARD, Host(cores=4, memory_bytes=16 * GIB), plan.Limits(accelerator="metal"))
    return _written(host_engine_objects(CARD, "172.18.0.1", 40001, made))


class _Plain(yaml.SafeDumper):
    """Lists are lists, wherever they came from."""

    def ignore_aliases(self, data: Any) -> bool:
        del data
        return True


_Plain.add_representer(tuple, lambda dumper, data: dumper.represent_list(list(data)))


def _written(documents: list[Any]) -> str:
    return yaml.dump_all(documents, Dumper=_Plain, sort_keys=True, width=110, allow_unicode=True)


def test_this_is_chosen_on_these_machines() -> None:
    assert choices() == (HERE / "accelerators_choices.txt").read_text()


def test_a_kind_node_and_its_pods_get_gpus_in_this_way() -> None:
    assert in_kind() == (HERE / "accelerators_kind.yaml").read_text()


def test_an_engine_of_this_machine_is_registered_in_this_way() -> None:
    assert on_host() == (HERE / "accelerators_host_engine.yaml").read_text()
