"""Reads pods and namespaces; a pod that cannot be read stays unknown, and so without a network."""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from sandbox.isolation.model import ContainerPort, Namespace, Pod, Protocol
from sandbox.isolation.spans import Address

FINISHED = frozenset({"Succeeded", "Failed"})


def read_namespace(written: Mapping[str, Any]) -> Namespace:
    """Read a Namespace as the API server gives it."""
    metadata = written["metadata"]
    return Namespace(metadata["name"], dict(metadata.get("labels") or {}))


def read_pod(written: Mapping[str, Any]) -> Pod | None:
    """Read a Pod as the API server gives it.

    Returns:
        None where policies do not apply: finished, without an address, or on the host's network.
    """
    metadata, spec, status = written["metadata"], written.get("spec") or {}, written.get("status") or {}
    if spec.get("hostNetwork") or status.get("phase") in FINISHED:
        return None
    addresses = _addresses(status)
    if not addresses:
        return None
    return Pod(
        namespace=metadata["namespace"],
        name=metadata["name"],
        node=spec.get("nodeName") or "",
        labels=dict(metadata.get("labels") or {}),
        addresses=addresses,
        ports=tuple(_ports(spec)),
        started_s=max(_starts(status), default=0),
    )


def _addresses(status: Mapping[str, Any]) -> tuple[Address, ...]:
    texts = [entry.get("ip") for entry in status.get("podIPs") or ()] or [status.get("podIP")]
    try:
        return tuple(ipaddress.ip_address(text) for text in texts if text)
    except ValueError:
        return ()


def _starts(status: Mapping[str, Any]) -> Iterable[float]:
    told = [status.get("startTime")]
    for container in [*(status.get("containerStatuses") or ()), *(status.get("initContainerStatuses") or ())]:
        state = container.get("state") or {}
        told += [(state.get(kind) or {}).get("startedAt") for kind in ("running", "terminated")]
    for text in told:
        with contextlib.suppress(ValueError):
            yield datetime.fromisoformat(text or "").timestamp()


def _ports(spec: Mapping[str, Any]) -> Iterable[ContainerPort]:
    # init containers that restart always are sidecars: they serve as long as the pod does
    sidecars = [c for c in spec.get("initContainers") or () if c.get("restartPolicy") == "Always"]
    for container in [*sidecars, *(spec.get("containers") or ())]:
        for port in container.get("ports") or ():
            protocol = port.get("protocol") or "TCP"
            if port.get("name") and protocol in Protocol.__members__:
                yield ContainerPort(port["name"], Protocol[protocol], int(port["containerPort"]))
