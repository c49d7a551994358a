"""Settling what engines compute on, on machines made up for the purpose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from sandbox.accelerators import Printed
from sandbox.config import EngineSettings
from sandbox.engine.accelerated import look_here, settle
from sandbox.engine.arguments import ALLOWED
from sandbox.engine.discover import Machine
from sandbox.errors import AcceleratorUnavailable

CACHE = Path("/cache")
BUILT = CACHE / "llama-server-cuda" / "bin" / "llama-server"
PROGRAMS = Machine(
    which=lambda name: None,
    exists=lambda path: path == BUILT,
    run=lambda argv: "\n".join(sorted(ALLOWED)),
    built_folder=lambda name, cache: cache / name,
)
NO_PROGRAMS = Machine(which=lambda name: None, exists=lambda path: False, built_folder=lambda name, cache: cache / name)


@dataclass(frozen=True)
class MadeUp:
    """A Linux machine that says what it was told to."""

    system: str = "Linux"
    machine: str = "x86_64"
    files: Mapping[str, str] = field(default_factory=dict)
    programs: Mapping[str, Printed] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def which(self, name: str) -> str | None:
        return name if name in self.programs else None

    def exists(self, path: str) -> bool:
        return path in self.files

    def matching(self, pattern: str) -> tuple[str, ...]:
        return tuple(path for path in self.files if fnmatchcase(path, pattern))

    def read(self, path: str) -> str:
        return self.files.get(path, "")

    def run(self, argv: Sequence[str], *, deadline_s: float) -> Printed | None:
        del deadline_s
        self.asked.append(argv[0])
        return self.programs.get(argv[0])


def with_gpu() -> MadeUp:
    return MadeUp(
        files={"/dev/nvidia0": ""},
        programs={
            "nvidia-smi": Printed(0, "0, 24564, 535.183.01, NVIDIA GeForce RTX 4090\n"),
            str(BUILT): Printed(0, "Available devices:\n  CUDA0: NVIDIA GeForce RTX 4090 (1 MiB, 1 MiB free)\n"),
        },
    )


def test_the_engine_built_for_cuda_is_asked_where_there_is_a_gpu() -> None:
    machine = with_gpu()
    found = look_here(EngineSettings(), CACHE, machine=machine, programs=PROGRAMS)
    assert (found.engine.program, found.engine.lists) == (str(BUILT), ("cuda",))
    assert machine.asked[-1] == str(BUILT)


def test_no_engine_is_asked_where_there_is_nothing_to_ask_about() -> None:
    machine = MadeUp(programs={str(BUILT): Printed(0, "")})
    assert look_here(EngineSettings(), CACHE, machine=machine, programs=PROGRAMS).engine.program is None
    assert machine.asked == []


def test_without_an_engine_the_hardware_is_told_all_the_same() -> None:
    found = look_here(EngineSettings(), CACHE, machine=with_gpu(), programs=NO_PROGRAMS)
    assert (found.engine.program, len(found.nvidia.gpus)) == (None, 1)


def test_auto_is_settled_and_what_cannot_be_had_is_refused() -> None:
    assert settle(EngineSettings(), CACHE, "local", machine=MadeUp()).kind == "cpu"
    with pytest.raises(AcceleratorUnavailable, match="no NVIDIA device"):
        settle(EngineSettings(accelerator="cuda"), CACHE, "local", machine=MadeUp())
