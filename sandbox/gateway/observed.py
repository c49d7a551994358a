"""Watches how much each model is asked, and keeps what the steward sees beside it."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable

import anyio

from sandbox.errors import NotRunning
from sandbox.gateway.engines import Engines
from sandbox.gateway.metrics import Metrics
from sandbox.wire.observed import PERIOD_S, History, ModelFigures, Observed, Sample

log = logging.getLogger(__name__)

FRESH_S = 1.0
"""How long what the steward told is taken as still so."""
PATIENCE_S = 2.0
"""How long a steward may take to answer: whoever looks at a sandbox that is not well must not wait for it."""


class Watch:
    """Samples the flow of every served model, and remembers half an hour of it and of what the steward told."""

    def __init__(
        self,
        engines: Engines,
        metrics: Metrics,
        *,
        backend: str,
        patience_s: float = PATIENCE_S,
        now: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        self._engines = engines
        self._metrics = metrics
        self._patience_s = patience_s
        self._now = now
        self._sleep = sleep
        self._slots: dict[str, int] = {}
        """Of every served model, as last known."""
        self._told = Observed(backend=backend)
        self._asked_at = 0.0
        self._is_away = False
        self._steward_until = 0.0
        """The moment of the newest sample that the steward gave, by its clock."""
        self._tokens: dict[str, int] = {}
        self._sampled_at = 0.0
        self._history = History()
        self._lock = anyio.Lock()

    @property
    def isolation(self) -> str:
        """Who enforces network policies, as the steward told last."""
        return self._told.isolation

    async def keep(self) -> None:
        """Sample again and again; returns only by cancellation."""
        while True:
            await self.sample()
            await self._sleep(PERIOD_S)

    async def sample(self) -> None:
        """Note the flow of this moment, and what the steward sees."""
        with anyio.move_on_after(self._patience_s):
            self._slots = {row.id: row.slots for row in await self._engines.rows()}
        now = self._now()
        models = {model: self._figures(model, slots, now - self._sampled_at) for model, slots in self._slots.items()}
        self._sampled_at = now
        if models:
            self._history.add([Sample(at=now, models=models)])
        await self._ask()

    async def observed(self, since: float) -> Observed:
        """Tell how everything runs, and the samples after a moment; with the steward away, as last known."""
        if not self._is_away:  # one that is away is asked again by the next sample, not by everybody who looks
            await self._ask()
        return self._told.model_copy(update={"history": self._history.since(since)})

    def _figures(self, model: str, slots: int, span_s: float) -> ModelFigures:
        flow = self._metrics.flow(model)
        new_tokens = max(0, flow.tokens - self._tokens.get(model, 0))
        self._tokens[model] = flow.tokens
        running = min(flow.running, slots) if slots else flow.running
        return ModelFigures(
            running=running,
            queued=flow.running - running,
            slots=slots,
            tokens_per_s=new_tokens / span_s if span_s > 0 else 0.0,
        )

    async def _ask(self) -> None:
        """Ask the steward, unless somebody has done so a moment ago."""
        async with self._lock:
            if self._now() - self._asked_at < FRESH_S:
                return
            self._asked_at = self._now()
            told, why = None, f"the steward does not answer within {self._patience_s:.3g} s"
            try:
                with anyio.move_on_after(self._patience_s):
                    told = await self._engines.observed(self._steward_until)
            except NotRunning as error:
                why = error.message
            self._is_away = told is None
            if told is None:
                self._say_away(why)
                return
            self._history.add(told.history)
            self._steward_until = max([self._steward_until, *(sample.at for sample in told.history)])
            self._told = told.model_copy(update={"backend": self._told.backend, "history": ()})

    def _say_away(self, why: str) -> None:
        problems = (f"{why}; this is how it was when it last did",)
        if problems != self._told.problems:
            log.warning("%s", why)
        self._told = self._told.model_copy(update={"problems": problems})
