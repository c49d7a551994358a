"""Everything that looking for accelerators asks of the machine, behind one small port."""

from __future__ import annotations

import glob
import platform
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

LONGEST_TEXT = 100_000
"""Characters of a file or of a program's output that are looked at."""


@dataclass(frozen=True, slots=True)
class Printed:
    """What a program said, and how it ended."""

    status: int
    out: str
    complaint: str = ""
    """What it said on its error output."""


class Probe(Protocol):
    """A machine that can be asked."""

    @property
    def system(self) -> str:
        """Name of the operating system: ``Linux``, ``Darwin``."""
        ...

    @property
    def machine(self) -> str:
        """Name of the processor's family: ``x86_64``, ``arm64``."""
        ...

    def which(self, name: str) -> str | None:
        """Find a program on PATH."""
        ...

    def exists(self, path: str) -> bool:
        """Say whether something is there."""
        ...

    def matching(self, pattern: str) -> tuple[str, ...]:
        """Name what is there, in alphabetical order: ``/dev/dri/renderD*``."""
        ...

    def read(self, path: str) -> str:
        """Read a text file; empty where there is none, or none that this user may read."""
        ...

    def run(self, argv: Sequence[str], *, deadline_s: float) -> Printed | None:
        """Run a program; nothing where it could not be run or did not end in time."""
        ...


class ThisMachine:
    """The machine that this runs on."""

    @property
    def system(self) -> str:
        """Name of the operating system."""
        return platform.system()

    @property
    def machine(self) -> str:
        """Name of the processor's family."""
        return platform.machine()

    def which(self, name: str) -> str | None:
        """Find a program on PATH."""
        return shutil.which(name)

    def exists(self, path: str) -> bool:
        """Say whether something is there."""
        try:
            return Path(path).exists()
        except OSError:
            return False

    def matching(self, pattern: str) -> tuple[str, ...]:
        """Name what is there, in alphabetical order."""
        return tuple(sorted(glob.glob(pattern)))  # noqa: PTH207  # Path.glob takes no absolute pattern

    def read(self, path: str) -> str:
        """Read a text file; empty where there is none."""
        try:
            with Path(path).open(encoding="utf-8", errors="replace") as file:
                return file.read(LONGEST_TEXT)
        except OSError:
            return ""

    def run(self, argv: Sequence[str], *, deadline_s: float) -> Printed | None:
        """Run a program, and end it when it takes too long: a hung driver must not hang the sandbox."""
        try:
            done = subprocess.run(
                argv,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                timeout=deadline_s,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return Printed(done.returncode, done.stdout[:LONGEST_TEXT], done.stderr[:LONGEST_TEXT])
