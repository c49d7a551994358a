"""How the engine's image comes about: our own build copied, compiled in a container, or llama.cpp's own image."""

from __future__ import annotations

import platform
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sandbox.cluster.docker import Say
from sandbox.cluster.images import contents, debian
from sandbox.cluster.images.image import Image
from sandbox.engine import build, recipes
from sandbox.errors import ImageUnavailable

NAME = "engine"
PROGRAMS = Path("opt/engine")
"""Where the engine lies in the image; its libraries lie beside the program."""
GLIBC = (2, 36)
"""C library of the base image: a program built against a newer one does not start there."""

CUDA_FLAGS = ("-DGGML_CUDA=ON", "-DCMAKE_EXE_LINKER_FLAGS=-Wl,--allow-shlib-undefined")
"""For all of NVIDIA's GPUs, unlike a build on the host: a builder's container sees none. The driver's own library is
put into a container when it starts, so nothing can be linked against it here."""

Accelerator = Literal["cpu", "cuda"]


@dataclass(frozen=True, slots=True)
class Pins:
    """Images of others that an engine's image may stand on, each as ``name@sha256:…``; empty where none is pinned.

    They are empty here: a digest is pinned by whoever has looked at what is behind it. An engine of llama.cpp's own
    has to understand the arguments that ``sandbox.engine.arguments`` writes, so it should be of the same release as
    the source in ``sandbox.engine.recipes``.
    """

    server_cpu: str = ""
    """llama.cpp's image with its server, for processors."""
    server_cuda: str = ""
    """llama.cpp's image with its server, for NVIDIA's GPUs."""
    cuda_build: str = ""
    """An image with NVIDIA's compiler, on Debian or Ubuntu."""
    cuda_run: str = ""
    """The image with the same release's libraries alone."""


NO_PINS = Pins()
PINNED = re.compile(r"^[a-z0-9][a-z0-9.:/_-]*@sha256:[0-9a-f]{64}$")


def image(
    cache: Path,
    accelerator: Accelerator = "cpu",
    pins: Pins = NO_PINS,
    *,
    system: str | None = None,
    glibc: tuple[int, int] | None = None,
) -> Image:
    """Choose how the engine's image is made on this machine.

    An image that is pinned is taken. Otherwise the engine that was built on this machine is copied, where it can
    run in the image; otherwise the same source is compiled in a container.

    Args:
        cache: folder of builds.
        system: stands in for this machine's, as ``platform.system()`` says it.
        glibc: stands in for this machine's C library; ``(0, 0)`` for another than GNU's.

    Raises:
        ImageUnavailable: what is asked for needs an image that is not pinned, or one is pinned without a digest.
    """
    system = system or platform.system()
    glibc = glibc or _glibc()
    if server := pins.server_cuda if accelerator == "cuda" else pins.server_cpu:
        return _of_others(_checked(server))
    if accelerator == "cuda":
        if not (pins.cuda_build and pins.cuda_run):
            raise ImageUnavailable(
                "an engine for CUDA needs llama.cpp's own image or NVIDIA's images to compile it, and none is pinned",
                hint="pin one as name@sha256:… in sandbox/cluster/images/engines.py, or compute on the processor: "
                "SANDBOX_ENGINE_ACCELERATOR=cpu",
            )
        return _compiled(_checked(pins.cuda_run), _checked(pins.cuda_build), CUDA_FLAGS)
    if system == "Linux" and (0, 0) < glibc <= GLIBC:
        return _copied(cache)
    return _compiled(debian.ref(), debian.ref(), ())


def _copied(cache: Path) -> Image:
    def fill(files: Path, say: Say) -> None:
        built = build.build("llama-server", cache, say)
        shutil.copytree(built / "bin", files / PROGRAMS / "bin", symlinks=True)
        _canary(files)

    return Image(NAME, NAME, debian.ref(), (build.recipe_of("llama-server").key,), fill)


def _compiled(base: str, build_base: str, more_flags: tuple[str, ...]) -> Image:
    def fill(files: Path, say: Say) -> None:
        # The archive is unpacked beside the files; only llama.cpp itself is handed to the builder.
        unpacked = files.parent / "unpacked"
        unpacked.mkdir()
        source = build.fetch_source(unpacked, say)
        (source / "vendor" / "llama.cpp").rename(files.parent / "source")
        shutil.rmtree(unpacked)
        _canary(files)
        say("engine: compiling in a container, some minutes")

    flags = " ".join((*recipes.llama_cpp_flags(platform.machine()), *more_flags))
    targets = " ".join(recipes.LLAMA_CPP_TARGETS)
    given = (("BUILD_BASE", build_base), ("FLAGS", flags), ("TARGETS", targets))
    return Image(NAME, NAME, base, (recipes.LLAMA_CPP_PYTHON_SHA256,), fill, "Dockerfile.source", given)


def _of_others(base: str) -> Image:
    def fill(files: Path, say: Say) -> None:
        del say
        _canary(files)

    return Image(NAME, NAME, base, (), fill, "Dockerfile.upstream")


def _canary(files: Path) -> None:
    shutil.copy(contents.folder(NAME) / "canary", files / "canary")


def _checked(pin: str) -> str:
    if PINNED.match(pin) is None:
        raise ImageUnavailable(f"{pin!r} is not pinned by digest", hint="write it as name@sha256:…, 64 digits")
    return pin


def _glibc() -> tuple[int, int]:
    name, version = platform.libc_ver()
    numbers = re.match(r"(\d+)\.(\d+)", version)
    return (int(numbers[1]), int(numbers[2])) if name == "glibc" and numbers else (0, 0)
