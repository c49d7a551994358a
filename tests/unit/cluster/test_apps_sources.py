"""An image holds what its programs import, and its packages are those that this code needs."""

from __future__ import annotations

import ast
import sys
from importlib import metadata
from pathlib import Path

import pytest

from sandbox.cluster.images import sites, sources
from sandbox.cluster.images.apps import SITE_OF

NEVER = {
    "gateway": ("sandbox/cli/", "sandbox/lifecycle/", "sandbox/wiring.py", "sandbox/cluster/docker.py", "ui/"),
    "agent": ("sandbox/gateway/", "sandbox/steward/", "sandbox/cluster/docker.py", "sandbox/store.py", "ui/"),
    "page": ("sandbox/gateway/", "sandbox/store.py", "sandbox/config.py", "sandbox/engine/", "sandbox/cluster/"),
}
NEEDED = {
    "gateway": ("sandbox/gateway/__main__.py", "sandbox/steward/__main__.py", "sandbox/errors.py"),
    "agent": ("sandbox/isolation/__main__.py",),
    "page": ("ui/__main__.py", "ui/page.css", "ui/pages/status.py", "sandbox/client.py"),
}


def _places(name: str) -> list[str]:
    return [source.place for source in sources.of(name)]


@pytest.mark.parametrize("name", SITE_OF)
def test_an_image_holds_its_programs_and_nothing_of_the_host(name: str) -> None:
    places = _places(name)
    assert places == sorted(set(places))
    assert set(NEEDED[name]) <= set(places)
    assert [place for place in places if place.startswith(NEVER[name])] == []
    assert not any("__pycache__" in place or place.endswith(".pyc") for place in places)


def test_the_steward_finds_the_catalogue_where_an_installed_package_has_it() -> None:
    assert "sandbox/catalogue_data/smollm2-135m-instruct.yaml" in _places("gateway")


@pytest.mark.parametrize("name", SITE_OF)
def test_every_package_that_the_code_imports_is_in_the_image(name: str) -> None:
    pinned = _pinned(sites.requirements(SITE_OF[name]))
    imported = {part for source in sources.of(name) if source.place.endswith(".py") for part in _imports(source.file)}
    others = imported - sys.stdlib_module_names - {"sandbox", "ui", *OPTIONAL[name]}
    packages = metadata.packages_distributions()
    assert {part for part in others if not {_normal(each) for each in packages.get(part, [])} & pinned} == set()


OPTIONAL = {"gateway": ("ollama",), "agent": (), "page": ()}
"""Imported by the steward for an engine that no cluster runs."""


def test_copying_lays_the_files_out(tmp_path: Path) -> None:
    file = tmp_path / "a.py"
    file.write_text("x = 1\n")
    sources.copy([sources.Source(file, "own/deep/b.py")], tmp_path / "made")
    assert (tmp_path / "made/own/deep/b.py").read_text() == "x = 1\n"


def _imports(file: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found


def _pinned(requirements: Path) -> set[str]:
    lines = requirements.read_text(encoding="utf-8").splitlines()
    return {_normal(line.split("==")[0]) for line in lines if "==" in line}


def _normal(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")
