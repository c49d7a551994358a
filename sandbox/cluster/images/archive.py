"""Image archives of single static programs, written without a container engine.

The layout is the one of ``docker save``: one layer and one configuration per image, each named by its
digest, and a list of them. Nothing in it depends on when or by whom it was written.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
MADE_AT = "1970-01-01T00:00:00Z"


@dataclass(frozen=True, slots=True)
class StaticImage:
    """An image that is one statically linked program."""

    ref: str
    program: Path
    folder: str = "usr/local/bin"
    """Where in the image it lies; empty for the root."""

    @property
    def entrypoint(self) -> str:
        """Say how the program is started."""
        return f"/{self.folder}/{self.program.name}" if self.folder else f"/{self.program.name}"


def write(images: Sequence[StaticImage], architecture: str, into: Path) -> Path:
    """Write several images into one archive.

    Args:
        architecture: as container images name it: ``amd64``.
    """
    listed: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(dir=into.parent) as scratch, tarfile.open(into, "w") as archive:
        for image in images:
            layer = Path(scratch) / "layer.tar"
            _write_layer(image, layer)
            digest = _digest(layer)
            configuration = _configuration(image, architecture, digest)
            name = hashlib.sha256(configuration).hexdigest()
            with layer.open("rb") as file:
                archive.addfile(_entry(f"{digest}/layer.tar", layer.stat().st_size), file)
            archive.addfile(_entry(f"{name}.json", len(configuration)), io.BytesIO(configuration))
            listed.append({"Config": f"{name}.json", "RepoTags": [image.ref], "Layers": [f"{digest}/layer.tar"]})
        manifest = json.dumps(listed).encode()
        archive.addfile(_entry("manifest.json", len(manifest)), io.BytesIO(manifest))
    return into


def _write_layer(image: StaticImage, into: Path) -> None:
    with tarfile.open(into, "w") as tar:
        for parent in reversed(Path(image.entrypoint).parents[:-1]):
            folder = _entry(str(parent).lstrip("/"), 0, mode=0o755)
            folder.type = tarfile.DIRTYPE
            tar.addfile(folder)
        with image.program.open("rb") as file:
            tar.addfile(_entry(image.entrypoint.lstrip("/"), image.program.stat().st_size, mode=0o755), file)


def _configuration(image: StaticImage, architecture: str, digest: str) -> bytes:
    configuration = {
        "architecture": architecture,
        "os": "linux",
        "created": MADE_AT,
        "config": {"Env": [f"PATH={PATH}"], "Entrypoint": [image.entrypoint]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
        "history": [{"created": MADE_AT, "created_by": f"one program: {image.program.name}"}],
    }
    return json.dumps(configuration, sort_keys=True).encode()


def _entry(name: str, size_bytes: int, mode: int = 0o644) -> tarfile.TarInfo:
    """Describe one file of an archive: nobody's, of no time."""
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode, entry.mtime = size_bytes, mode, 0
    return entry


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
