"""What this host really offers to the sandbox."""

from __future__ import annotations

import os
from pathlib import Path

import psutil

from sandbox.facts import Host

CGROUP_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),  # version 2
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),  # version 1
)


def look() -> Host:
    """Measure cores and memory, as far as this process may use them."""
    return Host(cores=_cores(), memory_bytes=min([psutil.virtual_memory().total, *_cgroup_limits()]))


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _cgroup_limits() -> list[int]:
    limits = []
    for path in CGROUP_LIMITS:
        try:
            text = path.read_text(encoding="ascii").strip()
        except OSError:
            continue
        if text.isdigit():
            limits.append(int(text))
    return limits
