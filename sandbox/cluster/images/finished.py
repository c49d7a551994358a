"""Folders that exist only when they are complete."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from sandbox.cluster.images.commands import Say
from sandbox.engine.recipes import Recipe


def provide(recipe: Recipe, cache: Path, say: Say, make: Callable[[Path], None]) -> Path:
    """Make what a recipe names unless it is there, and return its folder.

    It is made in a folder beside its final one and renamed when it is complete, under a lock: an
    interrupted build leaves nothing that looks like a finished one.
    """
    folder = recipe.folder(cache)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(folder.name + ".lock")):
        if folder.is_dir():
            say(f"{recipe.name}: already built")
            return folder
        unfinished = folder.with_name(folder.name + ".unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
        try:
            make(unfinished)
            unfinished.rename(folder)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    return folder
