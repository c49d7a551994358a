"""Pods of one engine → how it is, in words; pure."""

from __future__ import annotations

from collections.abc import Sequence

from lightkube.models.core_v1 import ContainerState, ContainerStatus
from lightkube.resources.core_v1 import Pod

from sandbox.cluster.evidence import OUT_OF_MEMORY, is_ready, statuses, told_end
from sandbox.plan import EnginePlan
from sandbox.steward.starter import Condition
from sandbox.units import show_bytes
from sandbox.wire.console import ModelState

NO_IMAGE = frozenset({"ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName"})
NO_CONTAINER = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError"})
TRIED_AGAIN = "CrashLoopBackOff"
LAST_LINES = 3
MOST_CHARS = 400


def condition_of(pods: Sequence[Pod], plan: EnginePlan, *, was_ready: bool, hint: str = "") -> Condition:
    """Say how an engine is.

    Args:
        pods: those made for its present specification, in any order, those on their way out included.
        was_ready: whether it has been ready before, so that it is coming back.
        hint: what else is known where the pod itself says nothing: an event, or why no pod can be made.
    """
    coming: ModelState = "restarting" if was_ready or restarts_of(pods) else "starting"
    staying = [pod for pod in pods if pod.metadata and pod.metadata.deletionTimestamp is None]
    if not staying:
        return (
            Condition("failed", f"no pod can be made: {hint}") if hint else Condition(coming, "its pod is on the way")
        )
    pod = newest(staying)
    if is_ready(pod):
        return Condition("ready")
    return _failure_of(pod, plan) or Condition(coming, _progress_of(pod, plan) or hint or "its pod is on the way")


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
        if condition.type == "PodScheduled" and condition.status != "True" and condition.reason == "Unschedulable":
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
        if reason == TRIED_AGAIN and end is not None:
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
        return "its health does not answer" if engine.started else "it loads the model"
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
    told = " | ".join(told_end(state).strip().splitlines()[-LAST_LINES:])[-MOST_CHARS:]
    if ended.reason == OUT_OF_MEMORY:
        limit, parts = show_bytes(plan.memory_bytes), plan.memory.told()
        return f"out of memory, exit {ended.exitCode}: its limit is {limit}, as planned ({parts})"
    return told
