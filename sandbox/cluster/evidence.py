"""Why something in the cluster is not ready, in words: container states, exit codes, events, last log lines."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from lightkube.models.core_v1 import ContainerState, ContainerStatus
from lightkube.resources.core_v1 import Event, Pod

from sandbox.cluster.api import Kube
from sandbox.errors import ClusterFailed
from sandbox.ports import Clock

POLL_S = 0.2
EVENTS = 5
LOG_LINES = 8
OUT_OF_MEMORY = "OOMKilled"


def wait(
    is_so: Callable[[], bool],
    *,
    clock: Clock,
    deadline_s: float,
    what: str,
    kube: Kube,
    namespace: str,
    labels: Mapping[str, str] | None = None,
) -> None:
    """Wait until something is so; when it is not in time, fail with the evidence.

    Raises:
        ClusterFailed: naming what did not come to be, and what the cluster says of it.
    """
    deadline = clock.monotonic() + deadline_s
    while not is_so():
        if clock.monotonic() > deadline:
            told = gather(kube, namespace, labels)
            raise ClusterFailed(
                f"{what} after {deadline_s:.0f} s:\n{told}",
                hint="sandbox status; or take more time: SANDBOX_CLUSTER_READY_TIMEOUT_S=600 make up",
            )
        clock.sleep(POLL_S)


def gather(kube: Kube, namespace: str, labels: Mapping[str, str] | None = None) -> str:
    """Say what is known of the pods of a namespace: states, events, the end of their logs."""
    try:
        pods, events = kube.pods(namespace, labels), kube.events(namespace)
    except ClusterFailed as error:
        return f"  nothing is known: {error.message}"
    lines: list[str] = []
    if not pods:
        lines.append(f"  no pod in {namespace}")
    for pod in pods:
        lines += [f"  {line}" for line in about(pod)]
        if not is_ready(pod):
            lines += [f"    | {line}" for line in _last_lines(kube, pod)]
    lines += [f"  event: {told_event(event)}" for event in events if event.type == "Warning"][-EVENTS:]
    return "\n".join(lines)


def _last_lines(kube: Kube, pod: Pod) -> list[str]:
    lines: list[str] = []
    for status in statuses(pod):
        lines += kube.log(namespace_of(pod), name_of(pod), status.name, lines=LOG_LINES)
    return lines[-LOG_LINES:]


def about(pod: Pod) -> list[str]:
    """Say how a pod is: one line, and one more for each container that is not well."""
    phase = (pod.status and pod.status.phase) or "unknown"
    lines = [f"{name_of(pod)}: {'ready' if is_ready(pod) else phase}"]
    for condition in (pod.status and pod.status.conditions) or []:
        if condition.type == "PodScheduled" and condition.status != "True":
            lines.append(f"  not placed: {condition.message}")
    for status in statuses(pod):
        told = told_container(status)
        if told:
            lines.append(f"  {status.name}: {told}")
    return lines


def told_container(status: ContainerStatus) -> str:
    """Say why a container is not running, and why it ended last; empty when all is well."""
    parts = []
    state, before = status.state, status.lastState
    if state and state.waiting:
        parts.append(f"waiting: {state.waiting.reason or 'no reason given'} {state.waiting.message or ''}".strip())
    if state and state.terminated and state.terminated.exitCode:
        parts.append(told_end(state))
    if status.restartCount:
        last = f", last: {told_end(before)}" if before and before.terminated else ""
        parts.append(f"restarted {status.restartCount} times{last}")
    return "; ".join(parts)


def told_end(state: ContainerState) -> str:
    """Say how a container ended."""
    ended = state.terminated
    if ended is None:
        return "it runs"
    why = "out of memory" if ended.reason == OUT_OF_MEMORY else (ended.reason or "ended")
    return f"{why}, exit {ended.exitCode}{': ' + ended.message.strip() if ended.message else ''}"


def told_event(event: Event) -> str:
    """Write an event as one line."""
    what = event.involvedObject
    count = f" ({event.count} times)" if event.count and event.count > 1 else ""
    return f"{what.kind or ''} {what.name or ''}: {event.reason or ''}: {(event.message or '').strip()}{count}"


def statuses(pod: Pod) -> list[ContainerStatus]:
    """List the states of a pod's containers, those that run first thing included."""
    if pod.status is None:
        return []
    return [*(pod.status.initContainerStatuses or []), *(pod.status.containerStatuses or [])]


def is_ready(pod: Pod) -> bool:
    """Say whether a pod would take a request, and is not on its way out."""
    if pod.metadata is None or pod.metadata.deletionTimestamp is not None or pod.status is None:
        return False
    return any(each.type == "Ready" and each.status == "True" for each in pod.status.conditions or [])


def name_of(pod: Pod) -> str:
    """Name a pod."""
    return str(pod.metadata and pod.metadata.name)


def namespace_of(pod: Pod) -> str:
    """Name the namespace of a pod."""
    return str(pod.metadata and pod.metadata.namespace)
