"""Which of the sandbox's own files go into which image: what its programs import, and no more."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from sandbox import catalogue
from sandbox.cluster.images import imports

ROOT = Path(__file__).parents[3]
"""Where the packages ``sandbox`` and ``ui`` lie: the checkout, or the folder of installed packages."""
SELF = "sandbox"
PROGRAMS = {
    "gateway": ("sandbox.gateway.__main__", "sandbox.steward.__main__"),
    "agent": ("sandbox.isolation.__main__",),
}
PAGE = "ui"


@dataclass(frozen=True, slots=True)
class Source:
    """One file of an image."""

    file: Path
    place: str
    """Where it goes, below the image's folder of code."""


def of(name: str) -> list[Source]:
    """List the files of one image, in the order of their places."""
    if name == "page":
        page = [path for path in (ROOT / PAGE).rglob("*") if _counts(path)]
        entries = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in page if path.suffix == ".py"]
    else:
        page, entries = [], list(PROGRAMS[name])
    modules = imports.reached(ROOT, entries, SELF)
    found = [*page, *modules.values(), *_data(modules)]
    sources = [Source(path, path.relative_to(ROOT).as_posix()) for path in found]
    if "sandbox.catalogue" in modules:
        place = catalogue.INSTALLED.relative_to(ROOT)
        sources += [Source(path, (place / path.name).as_posix()) for path in catalogue.folder().glob("*.yaml")]
    return sorted(sources, key=lambda source: source.place)


def copy(sources: list[Source], into: Path) -> None:
    """Lay the files out as the image has them."""
    for source in sources:
        path = into / source.place
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source.file, path)


def parts(sources: list[Source]) -> list[str | Path]:
    """Name everything about the files that decides the image's content."""
    return [part for source in sources for part in (source.place, source.file)]


def _data(modules: dict[str, Path]) -> list[Path]:
    """Find the files beside the modules of a package that it reads at run time."""
    packages = {file.parent for file in modules.values() if file.name == "__init__.py"}
    return [path for folder in packages for path in folder.iterdir() if _counts(path) and path.suffix != ".py"]


def _counts(path: Path) -> bool:
    return path.is_file() and path.suffix != ".pyc" and not path.name.startswith(".")
