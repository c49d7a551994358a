"""What an image is made of, and the name that follows from it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from sandbox.errors import ConfigError

CHECKOUT = Path(__file__).parents[3] / "clusters" / "images"
INSTALLED = Path(__file__).parents[2] / "clusters_data" / "images"


def folder(name: str) -> Path:
    """Find the recipe of an image: in the checkout, or beside an installed package."""
    for root in (CHECKOUT, INSTALLED):
        if (root / name).is_dir():
            return root / name
    raise ConfigError(
        f"the recipe of image {name} is missing: no folder {CHECKOUT / name}", hint="run from a checkout of the sandbox"
    )


def key(*parts: str | Path) -> str:
    """Twelve hexadecimal digits over texts, files and folders: another content, another name.

    A folder counts with the relative path, the executable bit and the content of each of its files, so
    that the place of the checkout does not matter.
    """
    digest = hashlib.sha256()
    for part in parts:
        for name, content in _pieces(part):
            # Lengths first, so that no two lists of pieces run together to the same bytes.
            digest.update(f"{len(name)} {name} {len(content)}\n".encode())
            digest.update(content)
    return digest.hexdigest()[:12]


def _pieces(part: str | Path) -> Iterator[tuple[str, bytes]]:
    if isinstance(part, str):
        yield "text", part.encode()
        return
    if part.is_file():
        yield "file", part.read_bytes()
        return
    for path in sorted(part.rglob("*")):
        if path.is_file():
            is_program = bool(path.stat().st_mode & 0o100)
            yield f"{path.relative_to(part).as_posix()} {is_program}", path.read_bytes()
