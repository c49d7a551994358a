"""The engine's image is made the way that runs, or it is said why none is."""

from __future__ import annotations

from pathlib import Path

import pytest

from sandbox.cluster.images import debian, engines
from sandbox.cluster.images.engines import Pins
from sandbox.errors import ImageUnavailable

CACHE = Path("/nowhere")
PIN = "registry.example/team/server@sha256:" + "a" * 64
BUILD = "registry.example/cuda/build@sha256:" + "b" * 64
RUN = "registry.example/cuda/run@sha256:" + "c" * 64


@pytest.mark.parametrize(
    ("system", "glibc", "dockerfile"),
    [
        pytest.param("Linux", (2, 36), "Dockerfile", id="this machine's build runs in the image"),
        pytest.param("Linux", (2, 28), "Dockerfile", id="an older C library"),
        pytest.param("Linux", (2, 39), "Dockerfile.source", id="a newer C library"),
        pytest.param("Linux", (0, 0), "Dockerfile.source", id="another C library"),
        pytest.param("Darwin", (0, 0), "Dockerfile.source", id="another system"),
    ],
)
def test_the_build_of_this_machine_is_copied_where_it_runs(
    system: str, glibc: tuple[int, int], dockerfile: str
) -> None:
    image = engines.image(CACHE, system=system, glibc=glibc)
    assert (image.dockerfile, image.base) == (dockerfile, debian.ref())


@pytest.mark.parametrize("accelerator", ["cpu", "cuda"])
def test_a_pinned_image_is_taken(accelerator: engines.Accelerator) -> None:
    pins = Pins(server_cuda=PIN) if accelerator == "cuda" else Pins(server_cpu=PIN)
    image = engines.image(CACHE, accelerator, pins)
    assert (image.dockerfile, image.base) == ("Dockerfile.upstream", PIN)


def test_cuda_is_compiled_on_one_image_and_runs_on_another() -> None:
    image = engines.image(CACHE, "cuda", Pins(cuda_build=BUILD, cuda_run=RUN))
    given = dict(image.arguments)
    assert (image.dockerfile, image.base, given["BUILD_BASE"]) == ("Dockerfile.source", RUN, BUILD)
    assert "-DGGML_CUDA=ON" in given["FLAGS"].split()


def test_cuda_without_a_pinned_image_is_refused_with_a_way_out() -> None:
    with pytest.raises(ImageUnavailable, match="none is pinned") as refused:
        engines.image(CACHE, "cuda")
    assert "SANDBOX_ENGINE_ACCELERATOR=cpu" in refused.value.hint


@pytest.mark.parametrize(
    "pin", ["registry.example/server:latest", PIN[:-1], PIN + " --privileged", "@sha256:" + "a" * 64]
)
def test_an_image_without_its_digest_is_refused(pin: str) -> None:
    with pytest.raises(ImageUnavailable, match="not pinned by digest"):
        engines.image(CACHE, "cpu", Pins(server_cpu=pin))


def test_each_way_gives_another_name() -> None:
    ways = [
        engines.image(CACHE, system="Linux", glibc=(2, 36)),
        engines.image(CACHE, system="Darwin", glibc=(0, 0)),
        engines.image(CACHE, "cpu", Pins(server_cpu=PIN)),
        engines.image(CACHE, "cuda", Pins(cuda_build=BUILD, cuda_run=RUN)),
        engines.image(CACHE, "cuda", Pins(cuda_build=PIN, cuda_run=RUN)),
    ]
    assert len({way.ref for way in ways}) == len(ways)
