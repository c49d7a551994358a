"""Looks at how the sandbox runs every few seconds, and remembers half an hour of it."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

import anyio

from sandbox.errors import SandboxError
from sandbox.wire.fleet import Entry
from sandbox.wire.observed import PERIOD_S, Happening, History, Observed, Sample, Unit, UnitFigures

log = logging.getLogger(__name__)

FRESH_S = 1.0
"""How long what was seen is taken as still so."""


@dataclass(frozen=True, slots=True)
class Sight:
    """What one look found."""

    units: tuple[Unit, ...]
    happenings: tuple[Happening, ...] = ()
    """The newest first."""
    problems: tuple[str, ...] = ()
    """What could not be seen, and why."""


class Observer(Protocol):
    """Looks at every pod or process of the sandbox."""

    async def look(self) -> Sight:
        """See how each is at this moment.

        Raises:
            SandboxError: nothing can be seen.
        """
        ...


class Kept(Protocol):
    """One who keeps a model's engine and tells how it is; `sandbox.steward.keeper.Keeper` does."""

    def entry(self) -> Entry:
        """Tell how the model is."""
        ...


class Lookout:
    """Looks through an observer, whether somebody asks or not."""

    def __init__(
        self,
        observer: Observer,
        *,
        backend: str,
        isolation: Callable[[], str] = str,
        now: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        """Look with an observer's eyes.

        Args:
            observer: sees the processes or the pods.
            backend: where they run.
            isolation: says who enforces network policies; nothing where there are none.
            now: the time, seconds since the epoch.
            sleep: waits.
        """
        self._observer = observer
        self._backend = backend
        self._isolation = isolation
        self._now = now
        self._sleep = sleep
        self._sight = Sight(())
        self._looked_at = 0.0
        self._history = History()
        self._lock = anyio.Lock()

    async def keep(self) -> None:
        """Look again and again; returns only by cancellation."""
        while True:
            await self._look(PERIOD_S)
            await self._sleep(max(FRESH_S, self._looked_at + PERIOD_S - self._now()))

    async def observed(self, since: float = 0.0) -> Observed:
        """Tell how everything is, and the samples after a moment."""
        await self._look(FRESH_S)
        return Observed(
            backend=self._backend,
            isolation=self._isolation(),
            looked_at=self._looked_at,
            units=self._sight.units,
            happenings=self._sight.happenings,
            problems=self._sight.problems,
            history=self._history.since(since),
        )

    async def _look(self, fresh_s: float) -> None:
        """Look, unless somebody has done so a moment ago; where nothing can be seen, say so of what was."""
        async with self._lock:
            now = self._now()
            if now - self._looked_at < fresh_s:
                return
            self._looked_at = now
            try:
                sight = await self._observer.look()
            except SandboxError as error:
                self._take(Sight(self._sight.units, self._sight.happenings, (error.message,)))
                return
            self._take(sight)
            self._history.add([Sample(at=now, units={unit.name: _figures(unit) for unit in self._sight.units})])

    def _take(self, sight: Sight) -> None:
        """Hold a sight, and put what is newly hidden from it into the log."""
        for problem in sight.problems:
            if problem not in self._sight.problems:
                log.warning("%s", problem)
        self._sight = sight


def _figures(unit: Unit) -> UnitFigures:
    return UnitFigures(model=unit.model, memory_bytes=unit.memory_bytes, cpu_cores=unit.cpu_cores)


class Rates:
    """Turns the CPU time that each unit has used since its start into the cores it uses now."""

    def __init__(self) -> None:
        self._counted: dict[str, _Counted] = {}

    def cores(self, name: str, cpu_s: float, at: float) -> float | None:
        """Say how many cores were used since the last call for this name.

        Args:
            name: one run of one unit: another name for each start.
            cpu_s: CPU seconds since its start.
            at: when they were counted, seconds; the same moment as before gives the same answer.

        Returns:
            Nothing at the first call, and after a count that fell.
        """
        last = self._counted.get(name)
        if last is not None and at <= last.at:
            return last.cores
        cores = (cpu_s - last.cpu_s) / (at - last.at) if last is not None and cpu_s >= last.cpu_s else None
        self._counted[name] = _Counted(cpu_s, at, cores)
        return cores

    def forget_all_but(self, names: set[str]) -> None:
        """Forget those that are gone."""
        self._counted = {name: counted for name, counted in self._counted.items() if name in names}


@dataclass(frozen=True, slots=True)
class _Counted:
    cpu_s: float
    at: float
    cores: float | None
