"""Finds an engine on this machine: a configured program, one on PATH, one built here, or a Python package.

Whatever is asked of the machine goes through ``Machine``; the environment is not read here.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import assert_never

from sandbox.engine import arguments, build, recipes
from sandbox.engine.protocol import EngineKind
from sandbox.errors import EngineNotFound
from sandbox.facts import Accelerator

PROBE_S = 20.0
"""How long a program may take to print its help or version."""


@dataclass(frozen=True, slots=True)
class EngineProgram:
    """An engine that can be started."""

    kind: EngineKind
    path: Path | None
    """The program; for ``llama-cpp-python`` the folder to import it from; ``None`` when Python imports it by itself."""
    found_in: str
    """Where it was found, in words."""
    version: str


def _run(argv: Sequence[str]) -> str:
    """Return what a program prints on both outputs; empty when it cannot be run."""
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PROBE_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout + done.stderr


def _is_importable(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


@dataclass(frozen=True, slots=True)
class Machine:
    """What discovery asks of the machine."""

    which: Callable[[str], str | None] = shutil.which
    exists: Callable[[Path], bool] = Path.exists
    is_importable: Callable[[str], bool] = _is_importable
    version_of: Callable[[str], str] = importlib.metadata.version
    run: Callable[[Sequence[str]], str] = _run
    built_folder: Callable[[str, Path], Path] = lambda name, cache: build.recipe_of(name).folder(cache)


@dataclass(slots=True)
class _Search:
    """One search: where it may look, and what it has said no to so far."""

    machine: Machine
    cache: Path
    configured: Path | None
    wants_cuda: bool = False
    refused: list[str] = field(default_factory=list)

    def llama_server(self) -> EngineProgram | None:
        if self.configured is not None:
            # What a person named is used or refused, never replaced by something else.
            return self._checked(self.configured, "the settings") or self._fail("llama-server")
        if self.wants_cuda:
            with_cuda = recipes.llama_server_program(self.machine.built_folder("llama-server-cuda", self.cache))
            if found := self._checked(with_cuda, "the build cache"):
                return found
        if (on_path := self.machine.which("llama-server")) is None:
            self.refused.append("no llama-server on PATH")
        elif found := self._checked(Path(on_path), "PATH"):
            return found
        built = recipes.llama_server_program(self.machine.built_folder("llama-server", self.cache))
        return self._checked(built, "the build cache")

    def _checked(self, path: Path, found_in: str) -> EngineProgram | None:
        if not self.machine.exists(path):
            self.refused.append(f"{path} ({found_in}) does not exist")
            return None
        missing = arguments.unsupported(self.machine.run([str(path), "--help"]))
        if missing:
            named = "any flag" if len(missing) == len(arguments.ALLOWED) else ", ".join(missing)
            self.refused.append(f"{path} ({found_in}) does not know {named}")
            return None
        return EngineProgram("llama-server", path, found_in, _version(self.machine.run([str(path), "--version"])))

    def xllamacpp(self) -> EngineProgram | None:
        if not self.machine.is_importable("xllamacpp"):
            self.refused.append("the package xllamacpp is not installed")
            return None
        return EngineProgram("xllamacpp", None, "the package xllamacpp", self.machine.version_of("xllamacpp"))

    def llama_cpp_python(self) -> EngineProgram | None:
        if self.machine.is_importable("llama_cpp"):
            version = self.machine.version_of("llama-cpp-python")
            return EngineProgram("llama-cpp-python", None, "the package llama-cpp-python", version)
        self.refused.append("the package llama-cpp-python is not installed")
        built = recipes.binding_path(self.machine.built_folder("llama-cpp-python", self.cache))
        if self.machine.exists(built):
            return EngineProgram("llama-cpp-python", built, "the build cache", recipes.LLAMA_CPP_PYTHON_VERSION)
        self.refused.append(f"{built} (the build cache) does not exist")
        return None

    def ollama(self) -> EngineProgram | None:
        places = [(self.configured, "the settings")] if self.configured else self._ollama_places()
        for path, found_in in places:
            if path is not None and self.machine.exists(path):
                return EngineProgram("ollama", path, found_in, _version(self.machine.run([str(path), "--version"])))
            self.refused.append(f"{path or 'ollama'} ({found_in}) does not exist")
        return None

    def _ollama_places(self) -> list[tuple[Path | None, str]]:
        on_path = self.machine.which("ollama")
        built = recipes.ollama_program(self.machine.built_folder("ollama", self.cache))
        return [(Path(on_path) if on_path else None, "PATH"), (built, "the build cache")]

    def _fail(self, wanted: str) -> EngineProgram:
        raise EngineNotFound(
            f"no usable engine ({wanted}): {'; '.join(self.refused)}",
            hint="pip install 'model-sandbox[engine]', or build one: python -m sandbox.engine.build llama-server",
        )


def discover(
    kind: EngineKind | None,
    *,
    cache: Path,
    configured: Path | None = None,
    machine: Machine | None = None,
    accelerator: Accelerator = "cpu",
) -> EngineProgram:
    """Find the engine to start.

    Args:
        kind: which engine; ``None`` takes llama-server, or else the xllamacpp wheel.
        cache: folder that ``sandbox.engine.build`` builds into.
        configured: a program that the settings name; llama-server and Ollama only.
        accelerator: with ``cuda``, the llama-server that was built for it comes first.

    Raises:
        EngineNotFound: naming every place looked at and why it would not do.
    """
    search = _Search(machine or Machine(), cache, configured, wants_cuda=accelerator == "cuda")
    match kind:
        case None:
            found = search.llama_server() or search.xllamacpp()
        case "llama-server":
            found = search.llama_server()
        case "xllamacpp":
            found = search.xllamacpp()
        case "llama-cpp-python":
            found = search.llama_cpp_python()
        case "ollama":
            found = search.ollama()
        case _:
            assert_never(kind)
    return found or search._fail(kind or "llama-server or xllamacpp")


def _version(printed: str) -> str:
    """Take the line that names a version, else say that none does."""
    for line in printed.splitlines():
        if "version" in line and "could not connect" not in line:
            return line.split("version", 1)[1].removeprefix(" is").strip(" :") or line.strip()
    return "unknown"
