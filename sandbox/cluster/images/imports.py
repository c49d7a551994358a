"""Which modules of a package a program reaches by its import statements."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterable, Iterator
from pathlib import Path


def reached(root: Path, entries: Iterable[str], package: str) -> dict[str, Path]:
    """Follow the imports of modules inside one package, those within functions too.

    Args:
        root: the folder that the package lies in.
        entries: modules to begin with; they may lie in another package below the same root.

    Returns:
        File of each module of the package, by its name; the packages on the way to a module count as reached.
    """
    found: dict[str, Path] = {}
    seen: set[str] = set()
    waiting = list(entries)
    while waiting:
        name = waiting.pop()
        file = _file(root, name)
        if name in seen or file is None:
            continue
        seen.add(name)
        if name.split(".")[0] == package:
            found[name] = file
        waiting.extend(_parents(name))
        package_of_it = name if file.name == "__init__.py" else name.rpartition(".")[0]
        waiting.extend(_imported(file, package_of_it, file.stat().st_mtime_ns))
    return dict(sorted(found.items()))


def _file(root: Path, name: str) -> Path | None:
    """Find the file of a module; nothing for one of another package or for a name inside a module."""
    path = root.joinpath(*name.split("."))
    for file in (path / "__init__.py", path.with_name(path.name + ".py")):
        if file.is_file():
            return file
    return None


def _parents(name: str) -> Iterator[str]:
    while "." in name:
        name = name.rpartition(".")[0]
        yield name


@functools.lru_cache(maxsize=1024)
def _imported(file: Path, package: str, changed_ns: int) -> tuple[str, ...]:
    """Name whatever a file imports; of ``from a import b`` both ``a`` and ``a.b``, as either may be the module.

    Args:
        changed_ns: when the file was last changed, so that one is read again only then.
    """
    del changed_ns
    found: list[str] = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"), filename=str(file))):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")
            above = parts[: len(parts) - node.level + 1] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            found += [module, *(f"{module}.{alias.name}" for alias in node.names)]
    return tuple(found)
