"""The platform as a cluster gets it, read as a whole: a changed line is a changed promise."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from sandbox.cluster.platform import ApiServer, Filling, Object, objects

KIND = Filling(
    images={
        "engine": "docker.io/sandbox/engine@sha256:" + "3" * 64,
        "gateway": "docker.io/sandbox/gateway@sha256:" + "1" * 64,
        "page": "docker.io/sandbox/page@sha256:" + "2" * 64,
    },
    api_servers=[ApiServer("172.18.0.2", 6443)],
    node_addresses=["172.18.0.2"],
    pod_cidrs=["10.244.0.0/16"],
    settings={"SANDBOX_API_PORT": "18502", "SANDBOX_PAGE_PORT": "18501"},
    reviewed_images=["docker.io/sandbox/engine@sha256:" + "3" * 64],
    reviewed_models=["4" * 64, "5" * 64],
)
OTHER = replace(
    KIND,
    api_servers=[ApiServer("10.0.0.1", 443), ApiServer("10.0.0.2", 443), ApiServer("10.0.0.3", 6443)],
    node_addresses=["10.0.1.1", "10.0.1.2"],
    pod_cidrs=["10.32.0.0/14", "fd00:10:32::/56"],
    gateway_user=1000,
    has_node_ports=False,
    has_host_folders=False,
    models_bytes=10 * 1024**3,
    engines_memory_bytes=64 * 1024**3,
)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        pytest.param("platform_kind.yaml", objects(KIND), id="in kind, whole"),
        pytest.param(
            "platform_other.yaml",
            [each for each in objects(OTHER) if each not in objects(KIND)],
            id="in any other cluster, what differs",
        ),
    ],
)
def test_the_platform_is_these_objects(name: str, found: list[Object]) -> None:
    assert written(found) == Path(__file__).with_name(name).read_text()


def written(found: list[Object]) -> str:
    """Write objects as a person reads them; by way of JSON, which knows no two places of one thing."""
    return yaml.safe_dump_all(json.loads(json.dumps(found)), sort_keys=True, width=120, allow_unicode=True)
