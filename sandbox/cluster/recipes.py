"""Where the cluster's recipes lie: manifests and Dockerfiles, inside the installed package or in a checkout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from sandbox.errors import ConfigError

INSTALLED = Path(__file__).parent.parent / "clusters_data"
CHECKOUT = Path(__file__).parents[2] / "clusters"


def folder() -> Path:
    """Say where the recipes lie.

    Raises:
        ConfigError: they are not there.
    """
    for place in (INSTALLED, CHECKOUT):
        if place.is_dir():
            return place
    raise ConfigError(
        f"neither {INSTALLED} nor {CHECKOUT} is there", hint="install the package anew, or use a checkout"
    )


def objects(name: str) -> list[dict[str, Any]]:
    """Read the objects of one folder, in the order of its kustomization."""
    where = folder() / name
    listed = yaml.safe_load((where / "kustomization.yaml").read_text(encoding="utf-8"))["resources"]
    found: list[dict[str, Any]] = []
    for file in listed:
        found += filter(None, yaml.safe_load_all((where / file).read_text(encoding="utf-8")))
    return found
