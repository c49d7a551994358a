"""One image of the sandbox: what it is made of, the name that follows, and the folder it is built from."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sandbox.cluster.docker import Docker, Say
from sandbox.cluster.images import contents
from sandbox.errors import BuildFailed

FILES = "rootfs"
"""Folder beside the Dockerfile whose content goes to the root of the image."""
MADE_S = 315_532_800
"""Time that every file of an image carries, seconds since 1970: the start of 1980, so that no build differs by its
hour. The Dockerfiles set it too, on what they write."""

Fill = Callable[[Path, Say], None]


@dataclass(frozen=True, slots=True)
class Image:
    """An image by one of our Dockerfiles."""

    name: str
    recipe: str
    """Folder of its Dockerfile, below ``clusters/images``."""
    base: str
    inputs: tuple[str | Path, ...]
    """What decides its content beside its recipe, its base and its arguments."""
    fill: Fill
    """Puts into the folder of files whatever the Dockerfile copies."""
    dockerfile: str = "Dockerfile"
    arguments: tuple[tuple[str, str], ...] = ()
    ref: str = field(init=False)
    """Its name, the same for the same content; read once, so that a file changed meanwhile changes no name."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "ref", self._named())

    def _named(self) -> str:
        given = [text for pair in self.arguments for text in pair]
        key = contents.key(self.base, contents.folder(self.recipe), self.dockerfile, *given, *self.inputs)
        return f"docker.io/sandbox/{self.name}:{key}"

    def build(self, docker: Docker, cache: Path, say: Say) -> None:
        """Build it unless it is there; its base has to be.

        Raises:
            BuildFailed: with the end of what was said; or its files were changed while they were read, and the name
                would be that of another content.
        """
        if docker.image_id(self.ref) is not None:
            return
        with tempfile.TemporaryDirectory(prefix=f"{self.name}-", dir=scratch(cache)) as name:
            context = Path(name)
            shutil.copytree(contents.folder(self.recipe), context, dirs_exist_ok=True)
            (context / FILES).mkdir()
            self.fill(context / FILES, say)
            settle(context)
            if self._named() != self.ref:
                raise BuildFailed(f"files of {self.ref} were changed while they were read", hint="try again")
            say(f"{self.name}: building the image")
            arguments: Mapping[str, str] = {"BASE": self.base, **dict(self.arguments)}
            docker.build(context, self.ref, arguments=arguments, say=_silent, dockerfile=self.dockerfile)


def scratch(cache: Path) -> Path:
    """Say where the folders of builds under way lie; not in a system's folder that may be kept in memory."""
    folder = cache / "contexts"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def clear(cache: Path) -> None:
    """Remove what killed builds have left; only while nobody builds."""
    for left in scratch(cache).iterdir():
        shutil.rmtree(left, ignore_errors=True)


def settle(folder: Path) -> None:
    """Give all files one time, and rights that do not depend on whose they are here."""
    for path in [*folder.rglob("*"), folder]:
        if not path.is_symlink():
            is_program = path.is_dir() or bool(path.stat().st_mode & 0o100)
            path.chmod(0o755 if is_program else 0o644)
        os.utime(path, (MADE_S, MADE_S), follow_symlinks=False)


def _silent(line: str) -> None:
    """Keep the builder's own words for the error."""
    del line
