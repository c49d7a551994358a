"""What an engine is in a cluster, read as a whole: a changed line is a changed promise."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from sandbox import catalogue, plan
from sandbox.engine.manifests import ClusterAccelerator, Object, engine_objects
from sandbox.facts import Host
from sandbox.units import GIB

CARD = catalogue.load()["smollm2-135m-instruct"]
IMAGE = "docker.io/sandbox/engine@sha256:" + "0" * 64


@pytest.mark.parametrize("accelerator", ["cpu", "cuda"])
def test_an_engine_is_these_objects(accelerator: ClusterAccelerator) -> None:
    limits = plan.Limits(cache_ram_mib=256, accelerator=accelerator)
    made = plan.make(CARD, Host(cores=4, memory_bytes=8 * GIB), limits)
    objects = engine_objects(CARD, made, image=IMAGE, accelerator=accelerator, key_id="0123456789ab")
    stored = Path(__file__).with_name(f"engine_objects_{accelerator}.yaml")
    assert written(objects) == stored.read_text()


def written(objects: list[Object]) -> str:
    """Write objects as a person reads them; by way of JSON, which knows no two places of one thing."""
    return yaml.safe_dump_all(json.loads(json.dumps(objects)), sort_keys=True, width=120)
