"""The kind program: the one that is configured or installed, or else one built or fetched, pinned both ways.

Where there is Go it is built from its module; elsewhere the project's own release is fetched. Either way
what comes in is compared with a checksum that lies in this repository.
"""

from __future__ import annotations

import hashlib
import platform
import re
import shutil
from pathlib import Path

import httpx

from sandbox.cluster.images import commands, finished, golang
from sandbox.cluster.images.commands import Say
from sandbox.cluster.images.golang import Programs
from sandbox.engine.recipes import Recipe
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
RELEASE = "https://github.com/kubernetes-sigs/kind/releases/download"
RELEASED_SHA256 = {
    ("linux", "amd64"): "aee6151561422756b764a4ae28e7f44cda5af5a9eead3cc9985112b1de8d8e0d",
    ("linux", "arm64"): "20022bee6cfcd5086cb7234d218e3454e6090022f2a8f55d1fa7fcf42c3867a2",
    ("darwin", "amd64"): "5a99f26f57246dc9319dd294803313197a0f34d33c525b3ea8b655db5916ece0",
    ("darwin", "arm64"): "0c8c7dbe5e23594a198b786c4bc13dacc101fa6196b0cb0b23a1ca44e61f4b4f",
}
"""Digests of the released programs, as the release publishes them beside each."""
FETCH_S = 30
"""How long the release page may keep silent."""
_HINT = f"install kind {VERSION} (https://kind.sigs.k8s.io), or name one: SANDBOX_CLUSTER_KIND=/path/to/kind"


def provide(cache: Path, configured: Path | None, say: Say, *, transport: httpx.BaseTransport | None = None) -> Path:
    """Find a kind that is recent enough, or else build or fetch one into the cache.

    Args:
        configured: the one that the settings name; it is taken or refused, never passed over.
        transport: how the release is fetched; by default over the network.

    Raises:
        BuildFailed: the configured one does not do, or there is none and it can neither be built nor fetched.
    """
    if configured is not None:
        return _checked(configured)
    on_path = shutil.which("kind")
    if on_path and is_recent(version := _version(Path(on_path))):
        return Path(on_path)
    if on_path:
        say(f"{on_path} is kind {version or 'of no version'}: too old, another is taken")
    for kept in (KIND.recipe(), _release()):
        if (program := kept.folder(cache) / "kind").is_file():
            return program
    try:
        golang.find("kind")
    except BuildFailed as error:
        say(f"{error.message}: fetching its release")
        return finished.provide(_release(), cache, say, lambda into: _fetch(into / "kind", transport)) / "kind"
    return finished.provide(KIND.recipe(), cache, say, lambda into: golang.build(KIND, into, say)) / "kind"


def is_recent(version: tuple[int, int] | None) -> bool:
    """Say whether a version of kind, major and minor, is one that the sandbox works with."""
    return version is not None and version >= LEAST


def parse_version(text: str) -> tuple[int, int] | None:
    """Read major and minor out of what ``kind version`` says; nothing where it is something else."""
    found = re.search(r"\bv(\d+)\.(\d+)\.\d+", text)
    return (int(found[1]), int(found[2])) if found else None


def _release() -> Recipe:
    """Name what the release is for this machine."""
    return Recipe("kind-release", (VERSION, *_platform(), RELEASED_SHA256.get(_platform(), "")))


def _platform() -> tuple[str, str]:
    return platform.system().lower(), golang.architecture()


def _fetch(into: Path, transport: httpx.BaseTransport | None) -> None:
    """Fetch the released program for this machine, and keep it only if it has the pinned digest."""
    system, architecture = _platform()
    wanted = RELEASED_SHA256.get((system, architecture))
    if wanted is None:
        raise BuildFailed(f"no release of kind {VERSION} is pinned for {system} on {architecture}", hint=_HINT)
    address = f"{RELEASE}/{VERSION}/kind-{system}-{architecture}"
    try:
        with httpx.Client(transport=transport, follow_redirects=True, timeout=FETCH_S) as client:
            content = client.get(address).raise_for_status().content
    except httpx.HTTPError as error:
        raise BuildFailed(
            f"no kind on PATH, no Go to build it with, and {address} cannot be fetched: {error}", hint=_HINT
        ) from error
    found = hashlib.sha256(content).hexdigest()
    if found != wanted:
        raise BuildFailed(
            f"{address} has digest {found}, pinned is {wanted}",
            hint="do not use it; find out who answered in the project's name",
        )
    into.write_bytes(content)
    into.chmod(0o755)


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
