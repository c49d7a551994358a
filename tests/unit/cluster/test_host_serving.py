"""A model's engine comes out of the cluster onto this machine, and goes back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from sandbox import catalogue, plan
from sandbox.cluster import host_serving
from sandbox.cluster.host_engine import HostAddress
from sandbox.cluster.host_process import HostEngine
from sandbox.engine.discover import EngineProgram
from sandbox.engine.manifests import Object, engine_objects
from sandbox.errors import StartFailed
from sandbox.facts import Host
from sandbox.units import GIB

CARD = catalogue.load()["smollm2-135m-instruct"]
PLAN = plan.make(CARD, Host(cores=4, memory_bytes=16 * GIB), plan.Limits())
BRIDGE = HostAddress("172.18.0.1", "172.18.0.1")
PROGRAM = EngineProgram("llama-server", Path("/bin/llama-server"), "this test", "1")
OF_PODS = engine_objects(CARD, PLAN, image="docker.io/sandbox/engine@sha256:" + "0" * 64)
NAME = OF_PODS[0]["metadata"]["name"]


@dataclass
class FakeRegistry:
    """What is in a cluster, by kind and name; applying keeps a selector that was there, as the API server does."""

    there: dict[tuple[str, str], Object] = field(default_factory=dict)

    def service(self, namespace: str, name: str) -> Object | None:
        del namespace
        return self.there.get(("Service", name))

    def apply(self, objects: Sequence[Mapping[str, Any]]) -> None:
        for each in objects:
            at = (each["kind"], each["metadata"]["name"])
            before = self.there.get(at, {}).get("spec", {})
            kept = {"selector": before["selector"]} if "selector" in before else {}
            self.there[at] = {**each, "spec": {**each.get("spec", {}), **kept}}

    def delete(self, kind: str, namespace: str, name: str) -> None:
        del namespace
        self.there.pop((kind, name), None)


class FakeEngine(HostEngine):
    """An engine that starts at once, or not."""

    def __init__(self, *, starts: bool = True) -> None:
        self.starts = starts
        self.is_running = False

    def ensure(self, *_: Any, **__: Any) -> int:
        if not self.starts:
            raise StartFailed("it ended", hint="none")
        self.is_running = True
        return 40001

    def stop(self) -> None:
        self.is_running = False


def serve(engine: HostEngine, registry: FakeRegistry) -> int:
    return host_serving.serve(
        engine, CARD, PLAN, registry, program=PROGRAM, model_path=Path("/m"), address=BRIDGE, key="a-key"
    )


def in_pods() -> FakeRegistry:
    registry = FakeRegistry()
    registry.apply(OF_PODS)
    return registry


def test_the_pods_engine_goes_and_this_machines_comes() -> None:
    registry = in_pods()
    assert serve(FakeEngine(), registry) == 40001
    assert set(registry.there) == {
        ("Service", NAME),
        ("EndpointSlice", f"{NAME}-on-host"),
        ("NetworkPolicy", f"to-{NAME}-on-host"),
    }
    assert "selector" not in registry.there["Service", NAME]["spec"]


def test_serving_twice_is_serving_once() -> None:
    registry = FakeRegistry()
    serve(FakeEngine(), registry)
    before = dict(registry.there)
    serve(FakeEngine(), registry)
    assert registry.there == before


def test_an_engine_that_does_not_start_leaves_the_pods_one() -> None:
    registry = in_pods()
    with pytest.raises(StartFailed):
        serve(FakeEngine(starts=False), registry)
    assert registry.there == in_pods().there


def test_what_was_registered_is_taken_away_again() -> None:
    engine, registry = FakeEngine(), FakeRegistry()
    serve(engine, registry)
    host_serving.withdraw(engine, CARD, registry)
    assert (registry.there, engine.is_running) == ({}, False)


def test_taking_away_leaves_an_engine_in_pods_alone() -> None:
    registry = in_pods()
    host_serving.withdraw(FakeEngine(), CARD, registry)
    assert registry.there == in_pods().there
