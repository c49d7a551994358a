"""Modules are found by the import statements that lead to them."""

from __future__ import annotations

from pathlib import Path

import pytest

from sandbox.cluster.images.imports import reached

FILES = {
    "own/__init__.py": "",
    "own/door.py": "import own.parts.one\nimport json\n",
    "own/parts/__init__.py": "from own import shared\n",
    "own/parts/one.py": "def late():\n    from own.parts import two\n",
    "own/parts/two.py": "from own.values import NAME\n",
    "own/parts/three.py": "from . import two\nfrom ..values import NAME\n",
    "own/shared.py": "",
    "own/values.py": "NAME = 1\n",
    "own/unused.py": "import own.door\n",
    "page/app.py": "from own.values import NAME\n",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def test_everything_on_the_way_is_reached_and_nothing_else(root: Path) -> None:
    names = ["own", "own.door", "own.parts", "own.parts.one", "own.parts.two", "own.shared", "own.values"]
    assert list(reached(root, ["own.door"], "own")) == names


def test_relative_imports_lead_on(root: Path) -> None:
    found = reached(root, ["own.parts.three"], "own")
    assert {"own.parts.two", "own.values", "own.shared"} <= found.keys()
    assert found["own.values"] == root / "own/values.py"


def test_modules_of_another_package_lead_on_without_being_listed(root: Path) -> None:
    assert list(reached(root, ["page.app"], "own")) == ["own", "own.values"]


def test_what_is_not_there_is_left_out(root: Path) -> None:
    assert reached(root, ["own.gone"], "own") == {}
