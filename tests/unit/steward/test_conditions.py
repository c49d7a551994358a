"""What is told of an engine's pods."""

from __future__ import annotations

from typing import Any

import pytest
from lightkube.resources.core_v1 import Pod

from sandbox import catalogue, plan
from sandbox.facts import Host
from sandbox.steward.conditions import Hints, condition_of, last_end_of, restarts_of
from sandbox.units import GIB
from tests.fake_kubernetes import container, ended, ready_status, unready_status

CARD = catalogue.load()["smollm2-135m-instruct"]
PLAN = plan.make(CARD, Host(cores=2, memory_bytes=16 * GIB), plan.Limits())
RUNNING = {"running": {"startedAt": "2026-01-01T00:00:00Z"}}


def pod(status: dict[str, Any], *, at: int = 0, is_ending: bool = False) -> Pod:
    metadata = {"name": f"p{at}", "uid": f"u{at}", "creationTimestamp": f"2026-01-01T00:00:{at:02d}Z"}
    ending = {"deletionTimestamp": "2026-01-01T00:01:00Z"} if is_ending else {}
    made = Pod.from_dict({"metadata": metadata | ending, "spec": {"containers": []}, "status": status})
    assert isinstance(made, Pod)
    return made


def waiting(reason: str, message: str = "") -> dict[str, Any]:
    return {"waiting": {"reason": reason, "message": message}}


UNPLACED = {
    "phase": "Pending",
    "conditions": [
        {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "1 Insufficient memory"}
    ],
}
SAID = ended(1, message="loading\nsegmentation fault")
OUT_OF_MEMORY = ended(137, reason="OOMKilled")
FOREIGN = ended(1, message="/models/sha256-ab: FAILED\nsha256sum: WARNING: 1 computed checksum did NOT match")


@pytest.mark.parametrize(
    ("status", "state", "words"),
    [
        pytest.param(ready_status(), "ready", "", id="ready"),
        pytest.param({"phase": "Pending"}, "starting", "its pod is on the way", id="not placed yet"),
        pytest.param(UNPLACED, "failed", "no node has room for 349 MiB: 1 Insufficient memory", id="no room"),
        pytest.param(
            unready_status(waiting("PodInitializing"), verify=RUNNING),
            "starting",
            "the model's file is being verified",
            id="verifying",
        ),
        pytest.param(
            unready_status(waiting("PodInitializing"), verify=FOREIGN),
            "failed",
            "not the reviewed one: Error, exit 1, having said: /models/sha256-ab: FAILED | sha256sum: WARNING",
            id="another file",
        ),
        pytest.param(unready_status(RUNNING), "starting", "it loads the model", id="loading"),
        pytest.param(
            unready_status(waiting("ErrImageNeverPull", "image not present")),
            "failed",
            "its image cannot be had (ErrImageNeverPull): image not present",
            id="no image",
        ),
        pytest.param(
            unready_status(waiting("CreateContainerConfigError", 'secret "engine-key" not found')),
            "failed",
            'its container cannot be made (CreateContainerConfigError): secret "engine-key" not found',
            id="no key",
        ),
        pytest.param(
            unready_status(SAID),
            "starting",
            "Error, exit 1, having said: loading | segmentation fault; it is started again",
            id="just ended",
        ),
        pytest.param(
            unready_status(RUNNING, last=SAID, restarts=1),
            "restarting",
            "segmentation fault; it is started again",
            id="running again",
        ),
        pytest.param(
            unready_status(waiting("CrashLoopBackOff", "back-off 10s restarting failed"), last=SAID, restarts=1),
            "restarting",
            "segmentation fault; it is started again",
            id="a short pause",
        ),
        pytest.param(
            unready_status(waiting("CrashLoopBackOff", "back-off 1m20s restarting failed"), last=SAID, restarts=4),
            "failed",
            "segmentation fault; it is tried again, each time later",
            id="ends again and again",
        ),
        pytest.param(
            unready_status(RUNNING, last=OUT_OF_MEMORY, restarts=1),
            "restarting",
            "out of memory, exit 137: its limit is 349 MiB, as planned (weights 93.8 MiB, context 180 MiB",
            id="out of memory",
        ),
        pytest.param(
            {"phase": "Failed", "reason": "Evicted", "message": "the node was low on memory"},
            "starting",
            "its pod was ended (Evicted): the node was low on memory",
            id="evicted",
        ),
    ],
)
def test_a_pod_is_told_in_words(status: dict[str, Any], state: str, words: str) -> None:
    told = condition_of([pod(status)], PLAN, was_ready=False)
    assert told.state == state
    assert words in told.detail
    assert bool(words) == bool(told.detail)


def test_an_engine_that_was_ready_before_is_coming_back() -> None:
    assert condition_of([], PLAN, was_ready=False).state == "starting"
    assert condition_of([], PLAN, was_ready=True).state == "restarting"
    assert condition_of([pod(unready_status(RUNNING))], PLAN, was_ready=True).state == "restarting"


def test_a_ready_pod_that_is_ending_takes_no_more_questions() -> None:
    told = condition_of([pod(ready_status(), is_ending=True)], PLAN, was_ready=True)
    assert told.state == "restarting"


def test_the_newest_pod_is_what_counts() -> None:
    old, new = pod(ready_status(), at=1, is_ending=True), pod(ready_status(), at=2)
    assert condition_of([new, old], PLAN, was_ready=True).state == "ready"
    failed, coming = pod({"phase": "Failed", "reason": "Evicted", "message": ""}, at=1), pod({"phase": "Pending"}, at=2)
    assert condition_of([coming, failed], PLAN, was_ready=True).detail == "its pod is on the way"


def test_why_no_pod_can_be_made_is_told() -> None:
    told = condition_of([], PLAN, was_ready=False, hints=Hints(no_pod='pods "x" is forbidden: models: not reviewed'))
    assert (told.state, told.detail) == ("failed", 'no pod can be made: pods "x" is forbidden: models: not reviewed')


def test_an_event_is_told_where_the_pod_says_nothing() -> None:
    stuck = unready_status(waiting("ContainerCreating"))
    hints = Hints(warning="FailedMount: no claim")
    assert condition_of([pod(stuck)], PLAN, was_ready=False, hints=hints).detail == "FailedMount: no claim"
    assert condition_of([], PLAN, was_ready=False, hints=hints).state == "starting"


def test_restarts_and_the_last_end_are_read_from_the_pods() -> None:
    pods = [pod(unready_status(RUNNING, last=SAID, restarts=2)), pod(ready_status(restarts=1), at=1)]
    assert restarts_of(pods) == 3
    assert last_end_of(pods, PLAN).endswith("segmentation fault")
    assert last_end_of([pod(ready_status())], PLAN) == ""


def test_a_check_that_ended_well_is_no_end() -> None:
    verified = container("verify", {"terminated": {"exitCode": 0}}, last=FOREIGN, restarts=1)
    done = {"phase": "Running", "conditions": [], "containerStatuses": [], "initContainerStatuses": [verified]}
    assert condition_of([pod(done)], PLAN, was_ready=False).state == "restarting"
