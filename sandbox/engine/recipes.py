"""What the engines are built from: pinned sources, fixed flags, and the folder each result lies in; pure.

One source gives two engines. The source distribution of llama-cpp-python carries llama.cpp with its
server; compiled once with shared libraries it serves both the ``llama-server`` program and the Python
binding, which is itself plain Python over those libraries.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

LLAMA_CPP_PYTHON_VERSION = "0.3.36"
LLAMA_CPP_PYTHON_SHA256 = "832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e"
OLLAMA_MODULE = "github.com/ollama/ollama@v0.6.5"  # the latest that builds from the module proxy alone

LLAMA_CPP_FLAGS = (
    "-DCMAKE_BUILD_TYPE=Release",
    "-DBUILD_SHARED_LIBS=ON",
    # Libraries are found beside the program, so that the finished folder may be moved.
    "-DCMAKE_BUILD_RPATH_USE_ORIGIN=ON",
    "-DGGML_NATIVE=OFF",
    # One library less, and none to tune. It does not make the engine bear busy neighbours: see the
    # figures in launch.py.
    "-DGGML_OPENMP=OFF",
    "-DLLAMA_CURL=OFF",
    # Engines speak on loopback or inside a pod. Left on, they would link whatever OpenSSL this machine happens
    # to have, which no key of the build names and a small image lacks.
    "-DLLAMA_OPENSSL=OFF",
    # It would fetch the latest page of a model hub at build time, unpinned; the engine shows no page.
    "-DLLAMA_USE_PREBUILT_UI=OFF",
    "-DLLAMA_BUILD_TESTS=OFF",
    "-DLLAMA_BUILD_EXAMPLES=OFF",
)
X86_64_FLAGS = ("-DGGML_AVX=ON", "-DGGML_AVX2=ON", "-DGGML_FMA=ON", "-DGGML_F16C=ON", "-DGGML_BMI2=ON")
CUDA_FLAGS = (
    "-DGGML_CUDA=ON",
    # For the GPUs of this machine: for all of NVIDIA's it would take hours, and only this machine runs it.
    "-DCMAKE_CUDA_ARCHITECTURES=native",
    # The driver's own library has another name when it is linked than when it is loaded.
    "-DCMAKE_EXE_LINKER_FLAGS=-Wl,--allow-shlib-undefined",
)
LLAMA_CPP_TARGETS = ("llama-server", "llama", "mtmd")

BINDING_REQUIREMENTS = (
    "diskcache==5.6.3",
    "jinja2==3.1.6",
    "markupsafe==3.0.4",
    "numpy==2.4.6",
    "typing-extensions==4.16.0",
)
TOOL_REQUIREMENTS = ("cmake==4.1.2", "ninja==1.13.0")
"""Fetched only where no cmake or ninja is on PATH."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """One thing to build, named after everything that decides what comes out."""

    name: str
    inputs: tuple[str, ...]

    @property
    def key(self) -> str:
        """Twelve hexadecimal digits over all inputs: another input, another folder."""
        return hashlib.sha256("\n".join(self.inputs).encode()).hexdigest()[:12]

    def folder(self, cache: Path) -> Path:
        """Where the finished build lies; it exists only when it is complete."""
        return cache / "builds" / f"{self.name}-{self.key}"


def is_x86_64(machine: str) -> bool:
    """Say whether ``platform.machine()`` names a 64-bit x86."""
    return machine.lower() in {"x86_64", "amd64"}


def llama_cpp_flags(machine: str) -> tuple[str, ...]:
    """List the cmake flags for one machine type; AVX2 and its like only where they exist."""
    return LLAMA_CPP_FLAGS + (X86_64_FLAGS if is_x86_64(machine) else ())


def llama_server(system: str, machine: str) -> Recipe:
    """Name the build of llama-server with its libraries."""
    inputs = (LLAMA_CPP_PYTHON_SHA256, system, machine, *llama_cpp_flags(machine), *LLAMA_CPP_TARGETS)
    return Recipe("llama-server", inputs)


def llama_server_cuda(system: str, machine: str) -> Recipe:
    """Name the build of llama-server that computes on NVIDIA's GPUs."""
    return Recipe("llama-server-cuda", (*llama_server(system, machine).inputs, *CUDA_FLAGS))


def llama_cpp_python(system: str, machine: str, python: str) -> Recipe:
    """Name the build of the Python binding.

    Args:
        python: interpreter version as ``3.11``; numpy is compiled for one of them.
    """
    native = llama_server(system, machine)
    return Recipe("llama-cpp-python", (native.key, python, *BINDING_REQUIREMENTS))


def ollama(system: str, machine: str) -> Recipe:
    """Name the build of Ollama."""
    return Recipe("ollama", (OLLAMA_MODULE, system, machine))


def llama_server_program(folder: Path) -> Path:
    """Say where llama-server lies inside its build."""
    return folder / "bin" / "llama-server"


def binding_path(folder: Path) -> Path:
    """Say which folder of its build has to be on the path for ``import llama_cpp``."""
    return folder / "python"


def ollama_program(folder: Path) -> Path:
    """Say where Ollama lies inside its build."""
    return folder / "bin" / "ollama"
