"""The kind program: the one that is configured or installed, or else one built from its pinned module."""

from __future__ import annotations

import platform
import re
import shutil
from pathlib import Path

from sandbox.cluster.images import commands, finished, golang
from sandbox.cluster.images.commands import Say
from sandbox.cluster.images.golang import Programs
from sandbox.errors import BuildFailed

VERSION = "v0.33.0"
LEAST = (0, 24)
"""The first release whose node images enforce network policies by themselves."""
KIND = Programs(
    name="kind",
    folder="kind",
    module="sigs.k8s.io/kind",
    packages={"kind": "sigs.k8s.io/kind"},
    system=platform.system().lower(),
)
_HINT = f"install kind {VERSION} (https://kind.sigs.k8s.io), or name one: SANDBOX_CLUSTER_KIND=/path/to/kind"


def provide(cache: Path, configured: Path | None, say: Say) -> Path:
    """Find a kind that is recent enough, or build it into the cache.

    Args:
        configured: the one that the settings name; it is taken or refused, never passed over.

    Raises:
        BuildFailed: the configured one does not do, or there is none and no Go to build it with.
    """
    if configured is not None:
        return _checked(configured)
    on_path = shutil.which("kind")
    if on_path and is_recent(version := _version(Path(on_path))):
        return Path(on_path)
    if on_path:
        say(f"{on_path} is kind {version or 'of no version'}: too old, another is taken")
    built = KIND.recipe().folder(cache) / "kind"
    if built.is_file():
        return built
    try:
        golang.find("kind")
    except BuildFailed as error:
        raise BuildFailed(f"no kind on PATH, and none can be built: {error.message}", hint=_HINT) from error
    return finished.provide(KIND.recipe(), cache, say, lambda into: golang.build(KIND, into, say)) / "kind"


def is_recent(version: tuple[int, int] | None) -> bool:
    """Say whether a version of kind, major and minor, is one that the sandbox works with."""
    return version is not None and version >= LEAST


def parse_version(text: str) -> tuple[int, int] | None:
    """Read major and minor out of what ``kind version`` says; nothing where it is something else."""
    found = re.search(r"\bv(\d+)\.(\d+)\.\d+", text)
    return (int(found[1]), int(found[2])) if found else None


def _checked(program: Path) -> Path:
    found = _version(program)
    if not is_recent(found):
        wanted = ".".join(map(str, LEAST))
        said = "no kind at all" if found is None else "kind " + ".".join(map(str, found))
        raise BuildFailed(f"{program} is {said}; wanted is {wanted} or later", hint=_HINT)
    return program


def _version(program: Path) -> tuple[int, int] | None:
    try:
        return parse_version(commands.run([str(program), "version"], hint=_HINT))
    except BuildFailed:
        return None
