"""Pods of one engine → how it is, in words; pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from lightkube.models.core_v1 import ContainerState, ContainerStatus
from lightkube.resources.core_v1 import Pod

from sandbox.cluster.evidence import OUT_OF_MEMORY, is_ready, statuses
from sandbox.plan import EnginePlan
from sandbox.steward.starter import Condition
from sandbox.units import show_bytes
from sandbox.wire.console import ModelState

NO_IMAGE = frozenset({"ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName"})
NO_CONTAINER = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError"})
TRIED_AGAIN = "CrashLoopBackOff"
PAUSE = re.compile(r"back-off (?:(\d+)m)?(?:(\d+)s)?")
PATIENCE_S = 20
"""A pause between tries up to this long is no failure yet: a question waits as long in the gateway."""
ON_THE_WAY = "its pod is on the way"
LAST_LINES = 3
MOST_CHARS = 400


@dataclass(frozen=True, slots=True)
class Hints:
    """What only others tell."""

    no_pod: str = ""
    """Why no pod can be made, from the Deployment."""
    warning: str = ""
    """The last warning about the pod, from its events."""


def condition_of(pods: Sequence[Pod], plan: EnginePlan, *, was_ready: bool, hints: Hints | None = None) -> Condition:
    """Say how an engine is.

    Args:
        pods: those made for its present specification, in any order, those on their way out included.
        was_ready: whether it has been ready before, so that it is coming back.
    """
    hints = hints or Hints()
    coming: ModelState = "restarting" if was_ready or restarts_of(pods) else "starting"
    staying = [pod for pod in pods if pod.metadata and pod.metadata.deletionTimestamp is None]
    if not staying:
        if hints.no_pod:
            return Condition("failed", f"no pod can be made: {hints.no_pod}")
        return Condition(coming, ON_THE_WAY)
    pod = newest(staying)
    if is_ready(pod):
        return Condition("ready")
    return _failure_of(pod, plan) or Condition(coming, _progress_of(pod, plan) or hints.warning or ON_THE_WAY)


def newest(pods: Sequence[Pod]) -> Pod:
    """Find the pod that was made last."""
    return max(pods, key=lambda pod: str((pod.metadata and pod.metadata.creationTimestamp) or ""))


def restarts_of(pods: Sequence[Pod]) -> int:
    """Count how often containers of these pods have been started again."""
    return sum(status.restartCount for pod in pods for status in statuses(pod))


def last_end_of(pods: Sequence[Pod], plan: EnginePlan) -> str:
    """Say how a container ended last; empty where none has."""
    ends = [
        (state.terminated.finishedAt, _told_end(state, plan))
        for pod in pods
        for status in statuses(pod)
        if status.name == "engine"
        for state in (status.state, status.lastState)
        if state and state.terminated and state.terminated.finishedAt
    ]
    return max(ends, key=lambda end: str(end[0]))[1] if ends else ""


def _failure_of(pod: Pod, plan: EnginePlan) -> Condition | None:
    """Say what a person has to mend."""
    for condition in (pod.status and pod.status.conditions) or []:
        is_waiting_for_volume = "unbound immediate PersistentVolumeClaims" in (condition.message or "")
        is_unplaced = condition.type == "PodScheduled" and condition.status != "True"
        if is_unplaced and condition.reason == "Unschedulable" and not is_waiting_for_volume:
            return Condition("failed", f"no node has room for {show_bytes(plan.memory_bytes)}: {condition.message}")
    for status in statuses(pod):
        waiting = status.state and status.state.waiting
        reason, message = (waiting.reason or "", waiting.message or "") if waiting else ("", "")
        if reason in NO_IMAGE:
            return Condition("failed", f"its image cannot be had ({reason}): {message}")
        if reason in NO_CONTAINER:
            return Condition("failed", f"its container cannot be made ({reason}): {message}")
        end = _end_of(status)
        if status.name == "verify" and end is not None:
            mend = f"sandbox models fetch {plan.model_id} --replace"
            return Condition("failed", f"the model's file is not the reviewed one: {_told_end(end, plan)}; {mend}")
        if reason == TRIED_AGAIN and end is not None and _pause_s(message) > PATIENCE_S:
            return Condition("failed", f"{_told_end(end, plan)}; it is tried again, each time later")
    return None


def _progress_of(pod: Pod, plan: EnginePlan) -> str:
    """Say where a start is, and why it is one."""
    status_of = {status.name: status for status in statuses(pod)}
    engine = status_of.get("engine")
    if pod.status and pod.status.phase == "Failed":
        return f"its pod was ended ({pod.status.reason}): {pod.status.message}"
    if engine is not None and (end := _end_of(engine)) is not None:
        return f"{_told_end(end, plan)}; it is started again"
    if engine is not None and engine.state and engine.state.running:
        return "it runs, and its health does not answer yet" if engine.started else "it loads the model"
    verify = status_of.get("verify")
    return "the model's file is being verified" if verify and verify.state and verify.state.running else ""


def _end_of(status: ContainerStatus) -> ContainerState | None:
    """Find how a container ended that should be running, or should have ended well."""
    now, before = status.state, status.lastState
    if now and now.terminated:
        return now if now.terminated.exitCode != 0 or status.name == "engine" else None
    return before if before and before.terminated else None


def _told_end(state: ContainerState, plan: EnginePlan) -> str:
    ended = state.terminated
    if ended is None:
        return "it runs"
    if ended.reason == OUT_OF_MEMORY:
        limit, parts = show_bytes(plan.memory_bytes), plan.memory.told()
        mend = (
            "SANDBOX_ENGINE_CONTEXT_TOKENS, SANDBOX_ENGINE_SLOTS or SANDBOX_ENGINE_CACHE_RAM_MIB set lower needs less"
        )
        return f"out of memory, exit {ended.exitCode}: its limit is {limit}, as planned ({parts}); {mend}"
    said = " | ".join((ended.message or "").strip().splitlines()[-LAST_LINES:])[-MOST_CHARS:]
    told = "it was told to end" if ended.exitCode == 0 else f"{ended.reason or 'it ended'}, exit {ended.exitCode}"
    return f"{told}, having said: {said}" if said else told


def _pause_s(message: str) -> int:
    """Read how long the node waits before the next try: ``back-off 1m20s restarting failed container``."""
    found = PAUSE.search(message)
    return int(found[1] or 0) * 60 + int(found[2] or 0) if found else 0
