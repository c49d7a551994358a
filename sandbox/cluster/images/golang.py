"""Builds programs out of Go modules whose every checksum is pinned.

A recipe folder holds a ``go.mod`` that requires one module, and a ``go.sum`` with the checksums of that
module and its siblings alone. Everything else is pinned by the ``go.sum`` that the module itself carries,
which is trusted because the module's own checksum has been verified. Whatever needs a checksum that is in
neither is not built.
"""

from __future__ import annotations

import json
import platform
import re
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sandbox.cluster.images import commands, contents
from sandbox.cluster.images.commands import Say
from sandbox.engine.recipes import Recipe
from sandbox.errors import BuildFailed

LEAST_GO = (1, 24)
ARCHITECTURES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}
PACKAGES_PER_LINE = 250
"""After how many compiled packages a sign of life is given."""


@dataclass(frozen=True, slots=True)
class Programs:
    """Programs built out of one module."""

    name: str
    folder: str
    """Which recipe folder holds the ``go.mod``."""
    module: str
    """The required module, whose own ``go.sum`` pins what it needs; empty where nothing is required."""
    packages: dict[str, str] = field(hash=False)
    """Program name to package."""
    settings: tuple[str, ...] = ()
    """Variables set at link time, as ``package.variable=value``."""
    system: str = "linux"
    """Which system the programs run on, as Go names it."""

    @property
    def ldflags(self) -> str:
        """What the linker is told: no debug tables, and the settings."""
        return " ".join(["-s", "-w", *(f"-X {setting}" for setting in self.settings)])

    def outputs(self, into: Path) -> list[tuple[str, list[str]]]:
        """Group the packages by how they can be built: all at once into a folder where go names them as we do.

        At once one program is linked while the next is compiled; one after the other the second core idles.
        """
        if all(package.rsplit("/", 1)[-1] == program for program, package in self.packages.items()):
            return [(f"{into}/", list(self.packages.values()))]
        return [(str(into / program), [package]) for program, package in self.packages.items()]

    def recipe(self) -> Recipe:
        """Name the build after everything that decides what comes out, the compiler's version excepted."""
        packages = [f"{program}={package}" for program, package in sorted(self.packages.items())]
        folder = contents.key(contents.folder(self.folder))
        return Recipe(self.name, (folder, self.system, architecture(), self.ldflags, *packages))


def architecture() -> str:
    """Name this machine's architecture as Go and container images do.

    Raises:
        BuildFailed: it is not one that the images are built for.
    """
    machine = platform.machine().lower()
    if machine not in ARCHITECTURES:
        raise BuildFailed(
            f"images are built for {' and '.join(sorted(set(ARCHITECTURES.values())))}; this machine is {machine}",
            hint="run without a cluster here: SANDBOX_BACKEND=local",
        )
    return ARCHITECTURES[machine]


def find(wanted_by: str) -> str:
    """Find a Go that is recent enough.

    Raises:
        BuildFailed: there is none; the message names the version wanted.
    """
    wanted = ".".join(map(str, LEAST_GO))
    hint = f"install Go {wanted} or later from your package source, and see that `go version` works"
    go = shutil.which("go")
    if go is None:
        raise BuildFailed(f"{wanted_by} is built with Go {wanted} or later, and no go is on PATH", hint=hint)
    found = commands.run([go, "env", "GOVERSION"], hint=hint).strip()
    version = parse_version(found)
    if version is None or version < LEAST_GO:
        raise BuildFailed(
            f"{wanted_by} is built with Go {wanted} or later, and {go} is {found or 'unknown'}", hint=hint
        )
    return go


def parse_version(text: str) -> tuple[int, int] | None:
    """Read major and minor out of ``go1.26.8`` or ``devel go1.27-abc``; nothing where they are not there."""
    found = re.search(r"\bgo(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else None


def build(programs: Programs, into: Path, say: Say) -> None:
    """Compile the programs of one module, statically, into a folder.

    Raises:
        BuildFailed: no Go, a checksum that does not match or is not pinned, or a compile error.
    """
    go = find(programs.name)
    with tempfile.TemporaryDirectory(prefix=f"sandbox-{programs.name}-") as scratch_name:
        scratch = Path(scratch_name)
        shutil.copytree(contents.folder(programs.folder), scratch, dirs_exist_ok=True)
        if programs.module:
            say(f"{programs.name}: fetching the sources")
            _pin(go, programs, scratch)
        say(f"{programs.name}: compiling {', '.join(programs.packages)}")
        for output, packages in programs.outputs(into):
            _go(
                go,
                ["build", "-v", "-trimpath", "-ldflags", programs.ldflags, "-o", output, *packages],
                scratch,
                system=programs.system,
                heard=_Counting(programs.name, say),
            )


def module_source(programs: Programs) -> Path:
    """Fetch the module of a recipe, verify its checksum, and say where its source lies.

    Raises:
        BuildFailed: no Go, or a checksum that does not match.
    """
    go = find(programs.name)
    with tempfile.TemporaryDirectory(prefix=f"sandbox-{programs.name}-") as scratch:
        shutil.copytree(contents.folder(programs.folder), scratch, dirs_exist_ok=True)
        return _download(go, programs.module, Path(scratch))


def _download(go: str, module: str, scratch: Path) -> Path:
    """Fetch the required module; go compares it with the ``go.sum`` in the folder."""
    said = _go(go, ["mod", "download", "-json", module], scratch)
    return Path(str(json.loads(said)["Dir"]))


def unpinned(used: str, *pinned: str) -> list[str]:
    """List the checksums that were used and are in none of the pinned lists."""
    known = {line for text in pinned for line in text.splitlines()}
    return [line for line in used.splitlines() if line.strip() and line not in known]


def _pin(go: str, programs: Programs, scratch: Path) -> None:
    """Complete ``go.sum`` out of the verified module, resolve everything, and refuse what is not in it."""
    sums = scratch / "go.sum"
    committed = sums.read_text(encoding="utf-8")
    carried = (_download(go, programs.module, scratch) / "go.sum").read_text(encoding="utf-8")
    sums.write_text(committed + carried, encoding="utf-8")
    _go(go, ["list", "-deps", *programs.packages.values()], scratch, system=programs.system)
    if extra := unpinned(sums.read_text(encoding="utf-8"), committed, carried):
        raise BuildFailed(
            f"{programs.name} needs what no checksum is pinned for:\n" + "\n".join(extra[: commands.OUTPUT_LINES]),
            hint=f"find out why, then add the lines to clusters/images/{programs.folder}/go.sum",
        )


def _go(go: str, arguments: Sequence[str], scratch: Path, *, system: str = "linux", heard: Say | None = None) -> str:
    environment = {
        "CGO_ENABLED": "0",
        "GOOS": system,
        "GOARCH": architecture(),
        "GOFLAGS": "-mod=mod -buildvcs=false",
        "GOWORK": "off",
    }
    return commands.run(
        [go, *arguments],
        cwd=scratch,
        environment=environment,
        heard=heard,
        hint="the lines above say what failed; the same command tries again and keeps what is compiled",
    )


class _Counting:
    """Gives a sign of life while packages are compiled."""

    def __init__(self, name: str, say: Say) -> None:
        self._name, self._say, self._count = name, say, 0

    def __call__(self, line: str) -> None:
        if line.startswith("go: "):
            return
        self._count += 1
        if self._count % PACKAGES_PER_LINE == 0:
            self._say(f"{self._name}: {self._count} packages compiled")
