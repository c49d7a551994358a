"""Pods and events as Kubernetes tells them → units and happenings; pure."""

from __future__ import annotations

from datetime import datetime
from typing import cast, get_args

from lightkube.models.core_v1 import ContainerStatus
from lightkube.resources.core_v1 import Event, Pod
from lightkube.utils.quantity import parse_quantity

from sandbox.cluster.api import COMPONENT, INSTANCE, PART_OF
from sandbox.cluster.evidence import is_ready, name_of, namespace_of, statuses
from sandbox.wire.observed import Component, Exit, Happening, Unit

CANARY = "canary"
STARTING = "Startup probe failed"
"""What Kubernetes warns of at each start that takes longer than a moment; it is what startup probes are for."""
MODEL = "sandbox/model"
"""Annotation that names the model an engine's pod runs."""
WAITING_WELL = frozenset({"ContainerCreating", "PodInitializing"})
"""Reasons for waiting that every start goes through."""


def is_ours(pod: Pod) -> bool:
    """Say whether a pod is a part of the sandbox."""
    labels = (pod.metadata and pod.metadata.labels) or {}
    return all(labels.get(name) == value for name, value in PART_OF.items())


def unit_of(pod: Pod) -> Unit:
    """Say how a pod is, without its figures."""
    restarts = sum(status.restartCount for status in statuses(pod))
    return Unit(
        kind="pod",
        namespace=namespace_of(pod),
        name=name_of(pod),
        component=_component(pod),
        model=_model(pod),
        phase=_phase(pod),
        is_ready=is_ready(pod),
        restarts=restarts,
        last_exit=_last_exit(pod) if restarts else None,
        node=(pod.spec and pod.spec.nodeName) or "",
        started_at=_started_at(pod),
        image=_image(pod),
        memory_limit_bytes=_memory_limit_bytes(pod),
        detail=_detail(pod),
    )


def happening_of(event: Event) -> Happening | None:
    """Say what an event tells; nothing where it does not say when it was."""
    series = event.series
    at = event.lastTimestamp or (series and series.lastObservedTime) or event.eventTime or event.firstTimestamp
    if at is None:
        return None
    message = (event.message or "").strip()
    return Happening(
        at=at.timestamp(),
        about=event.involvedObject.name or event.involvedObject.kind or "",
        reason=event.reason or "",
        message=message,
        count=(series and series.count) or event.count or 1,
        is_warning=event.type == "Warning" and not message.startswith(STARTING),
    )


def _component(pod: Pod) -> Component:
    labels = (pod.metadata and pod.metadata.labels) or {}
    if labels.get(INSTANCE) == CANARY:
        return "canary"
    name = labels.get(COMPONENT, "")
    return cast(Component, name) if name in get_args(Component) else "other"


def _model(pod: Pod) -> str:
    if _component(pod) != "engine" or pod.metadata is None:
        return ""
    labels, annotations = pod.metadata.labels or {}, pod.metadata.annotations or {}
    return str(annotations.get(MODEL) or labels.get(INSTANCE, ""))


def _phase(pod: Pod) -> str:
    if pod.metadata is not None and pod.metadata.deletionTimestamp is not None:
        return "ending"
    phase = ((pod.status and pod.status.phase) or "unknown").lower()
    return "starting" if phase == "running" and not is_ready(pod) else phase


def _last_exit(pod: Pod) -> Exit | None:
    """Say how the container that ended last did."""
    ended = [
        status.lastState.terminated for status in statuses(pod) if status.lastState and status.lastState.terminated
    ]
    if not ended:
        return None
    last = max(ended, key=lambda each: _seconds(each.finishedAt) or 0.0)
    return Exit(reason=last.reason or "", code=last.exitCode, at=_seconds(last.finishedAt))


def _started_at(pod: Pod) -> float | None:
    """Say since when its main container runs; before it does, when the pod came to its node."""
    for status in (pod.status and pod.status.containerStatuses) or []:
        if status.state and status.state.running:
            return _seconds(status.state.running.startedAt)
    return _seconds(pod.status.startTime) if pod.status else None


def _seconds(moment: datetime | None) -> float | None:
    return moment.timestamp() if moment else None


def _image(pod: Pod) -> str:
    containers = (pod.spec and pod.spec.containers) or []
    return (containers[0].image or "") if containers else ""


def _memory_limit_bytes(pod: Pod) -> int | None:
    """Add up the limits of a pod's containers; one without a limit leaves the pod without one."""
    total = 0
    for container in (pod.spec and pod.spec.containers) or []:
        limits = (container.resources and container.resources.limits) or {}
        quantity = parse_quantity(limits.get("memory"))
        if quantity is None:
            return None
        total += int(quantity)
    return total or None


def _detail(pod: Pod) -> str:
    """Say why a pod is not as it should be; empty when all is well."""
    told = [
        f"not placed on a node: {condition.message or condition.reason or 'no reason given'}"
        for condition in (pod.status and pod.status.conditions) or []
        if condition.type == "PodScheduled" and condition.status != "True"
    ]
    told += [why for status in statuses(pod) if (why := _trouble(status))]
    if not told and pod.status is not None and pod.status.reason:
        told = [": ".join(filter(None, (pod.status.reason, pod.status.message)))]
    return "; ".join(told)


def _trouble(status: ContainerStatus) -> str:
    state = status.state
    if state and state.waiting and state.waiting.reason not in WAITING_WELL:
        return f"{status.name} waits: {': '.join(filter(None, (state.waiting.reason, state.waiting.message)))}"
    if state and state.terminated and state.terminated.exitCode:
        return f"{status.name} ended: {state.terminated.reason or 'Error'}, exit {state.terminated.exitCode}"
    return ""
