"""Sees the sandbox's processes of this machine."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import psutil

from sandbox import processes
from sandbox.home import Home
from sandbox.processes import Process
from sandbox.steward.observe import Kept, Rates, Sight
from sandbox.wire.console import ModelRow
from sandbox.wire.observed import Component, Exit, Happening, Unit

SERVICES: tuple[Component, ...] = ("gateway", "steward", "page")
BY_ITSELF = "it ended by itself"
"""All that is known of how an engine's process ended; what it said last may tell more."""
REMEMBERED = 50
"""Happenings that are told."""


@dataclass(frozen=True, slots=True)
class _Usage:
    """What one process uses."""

    memory_bytes: int | None = None
    cpu_cores: float | None = None


class LocalObserver:
    """Looks at what the data folder says runs, and at what each keeper says of its engine."""

    def __init__(self, home: Home, keepers: Sequence[Kept], *, now: Callable[[], float] = time.time) -> None:
        self._home = home
        self._keepers = keepers
        self._now = now
        self._at = 0.0
        """When this look began."""
        self._rates = Rates()
        self._last: dict[str, Unit] = {}
        self._happened: deque[Happening] = deque(maxlen=REMEMBERED)

    async def look(self) -> Sight:
        """See how each process is."""
        self._at = self._now()
        units = [self._service(name) for name in SERVICES]
        rows = [keeper.entry().row for keeper in self._keepers]
        units += [self._engine(row) for row in rows]
        last_words = {row.id: row.last_exit for row in rows}
        for unit in units:
            self._happened.extendleft(
                _between(self._last.get(unit.name), unit, self._at, last_words.get(unit.name, ""))
            )
        self._last = {unit.name: unit for unit in units}
        self._rates.forget_all_but({_run_of(unit.name, unit.started_at) for unit in units})
        return Sight(tuple(units), tuple(self._happened))

    def _service(self, name: Component) -> Unit:
        process = processes.read(self._home.process(name))
        used = self._usage(name, process)
        return Unit(
            kind="process",
            name=name,
            component=name,
            phase="running" if process else "gone",
            is_ready=process is not None,
            started_at=process.started_at if process else None,
            memory_bytes=used.memory_bytes,
            cpu_cores=used.cpu_cores,
            detail=f"process {process.pid}" if process else "it does not run; start it: make up",
        )

    def _engine(self, row: ModelRow) -> Unit:
        process = processes.read(self._home.run / "engines" / f"{row.id}.process.json")
        used = self._usage(row.id, process)
        return Unit(
            kind="process",
            name=row.id,
            component="engine",
            model=row.id,
            phase=row.state,
            is_ready=row.state == "ready",
            restarts=row.restarts,
            last_exit=self._last_exit(row),
            started_at=process.started_at if process else None,
            image=row.engine,
            memory_bytes=used.memory_bytes,
            memory_limit_bytes=row.planned_bytes,
            cpu_cores=used.cpu_cores,
            cpu_planned=row.threads or None,
            detail=row.detail or (f"process {process.pid}" if process else ""),
        )

    def _last_exit(self, row: ModelRow) -> Exit | None:
        """Say how the engine ended before the one that runs now."""
        known = self._last.get(row.id)
        if known is not None and known.restarts == row.restarts:
            return known.last_exit
        return Exit(reason=BY_ITSELF, at=self._at) if row.restarts else None

    def _usage(self, name: str, process: Process | None) -> _Usage:
        if process is None:
            return _Usage()
        try:
            times = psutil.Process(process.pid).cpu_times()
        except psutil.Error:
            return _Usage()  # it ended between two looks at it
        cores = self._rates.cores(_run_of(name, process.started_at), times.user + times.system, self._at)
        return _Usage(process.memory_bytes, cores)


def _run_of(name: str, started_at: float | None) -> str:
    return f"{name}@{started_at}"


def _between(before: Unit | None, after: Unit, now: float, last_words: str) -> list[Happening]:
    """Say what must have happened to a process between two looks: the gravest of it."""
    if before is None:
        return []

    def happened(reason: str, message: str, *, is_warning: bool = False) -> Happening:
        return Happening(at=now, about=after.name, reason=reason, message=message, is_warning=is_warning)

    is_new = after.started_at is not None and after.started_at != before.started_at
    if after.restarts > before.restarts:
        said = f"; its last words: {last_words}" if last_words else ""
        return [happened("restarted", f"{BY_ITSELF}{said}", is_warning=True)]
    if after.phase != before.phase and after.phase in ("gone", "failed"):
        return [happened(after.phase, after.detail, is_warning=True)]
    if is_new:
        return [happened("started", after.detail)]
    if after.is_ready and not before.is_ready:
        return [happened("ready", "it takes questions")]
    return []
