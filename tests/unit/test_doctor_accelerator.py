"""What doctor says of accelerators."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sandbox.accelerators import Accelerators, ClusterOffer, Containers, Gpu, HostEngine, Nvidia, Vulkan
from sandbox.accelerators.facts import Toolkit
from sandbox.lifecycle.doctor_accelerator import examine
from sandbox.units import MIB

NOTHING = Accelerators("Linux", "x86_64")
GPU = Nvidia(True, "535.183.01", ("/dev/nvidia0",), (Gpu("NVIDIA GeForce RTX 4090", 24564 * MIB),))
BARE = replace(NOTHING, nvidia=GPU, containers=Containers(("runc",), "runc"))
READY = replace(
    NOTHING,
    nvidia=GPU,
    toolkit=Toolkit("/usr/bin/nvidia-ctk", takes_mounts=True),
    containers=Containers(("nvidia", "runc"), "nvidia"),
    engine=HostEngine("/opt/llama-server", ("cuda",)),
)


@pytest.mark.parametrize("backend", ["local", "kind", "context:far"])
def test_a_machine_with_nothing_gets_one_line_and_no_hint(backend: str) -> None:
    (found,) = examine("auto", NOTHING, backend)
    assert (found.name, found.is_good, found.hint) == ("accelerator", True, "")
    assert found.detail.startswith("CPU; no ")


@pytest.mark.parametrize("backend", ["local", "kind"])
def test_a_gpu_that_works_gets_one_line(backend: str) -> None:
    (found,) = examine("auto", READY, backend)
    assert found.detail == "CUDA on NVIDIA GeForce RTX 4090, 24.0 GiB"


def test_a_gpu_that_is_not_used_gets_a_line_and_a_command_for_everything_it_lacks() -> None:
    first, *others = examine("auto", BARE, "kind")
    assert first.detail.startswith("CPU; CUDA is not used: ")
    assert all(found.is_good for found in (first, *others))  # it runs all the same
    assert [found.name for found in others] == ["CUDA"] * 3
    assert all(found.detail.startswith("NVIDIA GeForce RTX 4090 (24.0 GiB): ") for found in others)
    assert [found.hint.split(" ")[0] for found in others] == ["add", "sudo", "sudo"]


def test_what_was_asked_for_and_cannot_be_had_is_a_fault_with_its_commands() -> None:
    found = examine("cuda", BARE, "kind")
    assert len(found) == 3
    assert not any(each.is_good for each in found)
    assert all(each.hint for each in found)


def test_asked_for_without_any_hardware_is_one_fault() -> None:
    (found,) = examine("cuda", NOTHING, "kind")
    assert (found.is_good, found.detail) == (False, "no NVIDIA device is in this machine")
    (metal,) = examine("metal", NOTHING, "local")
    assert not metal.is_good
    assert "Linux x86_64" in metal.detail


def test_a_lesser_accelerator_is_not_told_of_where_a_better_one_is_taken() -> None:
    both = replace(READY, vulkan=Vulkan(("/dev/dri/renderD128",), None))
    assert len(examine("auto", both, "local")) == 1


def test_the_processor_asked_for_is_not_argued_with() -> None:
    (found,) = examine("cpu", BARE, "kind")
    assert (found.is_good, found.detail) == (True, "CPU: asked for in the settings")


def test_what_the_cluster_lacks_is_told_too() -> None:
    found = examine("auto", READY, "kind", ClusterOffer(node_has_devices=False, plugin_is_ready=False))
    assert [each.hint.split(":")[0] for each in found[1:]] == [
        "make the cluster anew, nothing is lost",
        "kubectl -n kube-system describe daemonset nvidia-device-plugin",
    ]
