"""Objects of an engine: what they must never have, what changes them, and that the platform knows the same names."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from sandbox import catalogue, plan
from sandbox.engine import manifests
from sandbox.engine.manifests import Object, engine_objects, labels_of, name_of, spec_of
from sandbox.facts import Host
from sandbox.units import GIB, MIB

CARD = catalogue.load()["smollm2-135m-instruct"]
IMAGE = "docker.io/sandbox/engine@sha256:" + "0" * 64
PLATFORM = Path(__file__).parents[3] / "clusters" / "platform"


def planned(**limits: Any) -> plan.EnginePlan:
    return plan.make(CARD, Host(cores=4, memory_bytes=64 * GIB), plan.Limits(**limits))


def pod_of(objects: list[Object]) -> Object:
    found: Object = objects[0]["spec"]["template"]["spec"]
    return found


def containers_of(pod: Object) -> list[Object]:
    return [*pod["initContainers"], *pod["containers"]]


def test_the_same_is_written_the_same() -> None:
    first, second = (engine_objects(CARD, planned(), image=IMAGE) for _ in range(2))
    assert json.dumps(first) == json.dumps(second)
    first[0]["spec"]["template"]["spec"]["containers"][0]["securityContext"]["privileged"] = True
    assert engine_objects(CARD, planned(), image=IMAGE) == second


@pytest.mark.parametrize(
    "other",
    [
        engine_objects(CARD, planned(slots=3), image=IMAGE),
        engine_objects(CARD, planned(), image=IMAGE.replace("0", "1")),
        engine_objects(replace(CARD, sha256="1" * 64), planned(), image=IMAGE),
        engine_objects(CARD, planned(), image=IMAGE, key_id="other"),
        engine_objects(CARD, planned(), image=IMAGE, accelerator="cuda"),
    ],
    ids=["plan", "image", "model", "key", "accelerator"],
)
def test_whatever_is_asked_for_otherwise_has_another_digest(other: list[Object]) -> None:
    ours = engine_objects(CARD, planned(), image=IMAGE)
    assert spec_of(ours) != spec_of(other)
    assert ours[0]["spec"]["template"]["metadata"]["annotations"][manifests.SPEC] == spec_of(ours)


@given(st.integers(1, 16), st.integers(128, 8192), st.integers(0, 1024))
def test_the_limit_is_what_the_plan_says_and_all_of_it_is_asked_for(slots: int, context: int, cache: int) -> None:
    made = planned(slots=slots, context_tokens=context, cache_ram_mib=cache)
    for container in containers_of(pod_of(engine_objects(CARD, made, image=IMAGE))):
        limits, requests = container["resources"]["limits"], container["resources"]["requests"]
        assert limits == {"memory": f"{made.memory_bytes // MIB}Mi"}  # and none for processor time
        assert requests == {"memory": limits["memory"], "cpu": f"{made.threads * 500}m"}


def test_a_gpu_is_given_to_the_engine_alone() -> None:
    pod = pod_of(engine_objects(CARD, planned(accelerator="cuda"), image=IMAGE, accelerator="cuda"))
    verify, engine = containers_of(pod)
    assert pod["runtimeClassName"] == "nvidia"
    assert engine["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert "nvidia.com/gpu" not in verify["resources"]["limits"]
    assert "runtimeClassName" not in pod_of(engine_objects(CARD, planned(), image=IMAGE))


def test_no_container_has_a_variable_a_token_or_a_right() -> None:
    pod = pod_of(engine_objects(CARD, planned(), image=IMAGE))
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False
    for container in containers_of(pod):
        assert not container.keys() & {"env", "envFrom", "lifecycle"}
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert all(mount.get("readOnly") for mount in container["volumeMounts"] if mount["name"] != "tmp")


def test_a_name_is_one_that_a_service_may_have() -> None:
    assert name_of("qwen2.5-0.5b") == "engine-qwen2-5-0-5b"
    assert labels_of("qwen2.5-0.5b")["app.kubernetes.io/instance"] == "qwen2.5-0.5b"
    assert len(name_of("x" * 56)) == 63


def test_the_platform_has_what_is_named() -> None:
    objects = [found for path in PLATFORM.glob("*.yaml") for found in documents(path)]

    def there(kind: str, name: str, namespace: str | None = None) -> bool:
        return any(
            found["kind"] == kind
            and found["metadata"]["name"] == name
            and found["metadata"].get("namespace") == namespace
            for found in objects
        )

    assert there("Namespace", manifests.NAMESPACE)
    assert there("PriorityClass", manifests.PRIORITY)
    assert there("PersistentVolumeClaim", "models", manifests.NAMESPACE)


def documents(path: Path) -> Iterator[Any]:
    yield from (found for found in yaml.safe_load_all(path.read_text()) if found)
