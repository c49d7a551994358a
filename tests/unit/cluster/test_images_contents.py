"""Content keys: what changes a name, and what does not."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from sandbox.cluster.images import contents
from sandbox.errors import ConfigError


def recipe(root: Path) -> Path:
    (root / "sub").mkdir(parents=True)
    (root / "Dockerfile").write_text("FROM scratch\n")
    (root / "sub" / "run.sh").write_text("true\n")
    return root


def test_a_key_does_not_depend_on_where_the_checkout_lies(tmp_path: Path) -> None:
    shutil.copytree(recipe(tmp_path / "here"), tmp_path / "there" / "deeper")
    assert contents.key(tmp_path / "here") == contents.key(tmp_path / "there" / "deeper")


def test_a_key_changes_with_content_name_and_executable_bit(tmp_path: Path) -> None:
    folder = recipe(tmp_path / "recipe")
    keys = [contents.key(folder)]
    (folder / "Dockerfile").write_text("FROM other\n")
    keys.append(contents.key(folder))
    (folder / "sub" / "run.sh").rename(folder / "sub" / "go.sh")
    keys.append(contents.key(folder))
    (folder / "sub" / "go.sh").chmod(0o755)
    keys.append(contents.key(folder))
    assert len(set(keys)) == 4


def test_texts_that_join_to_the_same_bytes_have_different_keys() -> None:
    assert contents.key("ab", "c") != contents.key("a", "bc")


def test_a_recipe_that_is_missing_is_named() -> None:
    with pytest.raises(ConfigError, match="no-such-image"):
        contents.folder("no-such-image")
