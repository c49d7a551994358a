"""Keeps the engine of one model running.

State machine::

    starting ──► ready ──► restarting ──► ready …     an engine that dies comes back, each time a little later
        └──────────┴─────► failed ──► restarting …    it cannot be started; tried again after the back-off

An engine that its cluster starts again by itself is not dropped when it ends: the keeper looks on, and tells.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import anyio

from sandbox.engine.protocol import EngineAddress
from sandbox.errors import SandboxError
from sandbox.facts import ModelCard
from sandbox.plan import EnginePlan
from sandbox.steward.starter import Condition, RunningEngine, Starter, TendedEngine
from sandbox.wire.console import ModelRow, ModelState
from sandbox.wire.fleet import Address, Entry

log = logging.getLogger(__name__)

FIRST_BACKOFF_S = 0.2
LONGEST_BACKOFF_S = 30.0
STABLE_S = 30.0
"""An engine that has run this long starts over with the shortest back-off."""
POLL_S = 0.1
MUTE_S = 30.0
"""How long a living engine may leave its health unanswered before it is replaced."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to wait before the next try: doubling, from short to long."""

    wait_s: float = FIRST_BACKOFF_S

    def after(self, lived_s: float) -> Backoff:
        """Decide the next wait from how long the engine lived."""
        if lived_s >= STABLE_S:
            return Backoff()
        return Backoff(min(self.wait_s * 2, LONGEST_BACKOFF_S))


class Keeper:
    """Looks after the engine of one model until told to stop."""

    def __init__(
        self,
        card: ModelCard,
        starter: Starter,
        *,
        start_timeout_s: float,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        self._card = card
        self._starter = starter
        self._start_timeout_s = start_timeout_s
        self._sleep = sleep
        self._state: ModelState = "starting"
        self._detail = ""
        self._restarts = 0
        self._last_exit = ""
        self._engine: RunningEngine | None = None

    async def keep(self) -> None:
        """Start the engine, and start it again whenever it ends; returns only by cancellation."""
        backoff, is_first = Backoff(), True
        while True:
            begun = time.monotonic()
            try:
                self._engine = (await self._starter.adopt() if is_first else None) or await self._starter.start()
                is_first = False
                if isinstance(self._engine, TendedEngine):
                    await self._look_on(self._engine)
                else:
                    await self._look_after(self._engine)
            except SandboxError as error:
                self._tell("failed", f"{error.message} — {error.hint}")
            except (OSError, ValueError) as error:
                log.exception("the engine of %s could not be looked after", self._card.id)
                self._tell("failed", f"it could not be started: {error}")
            await self._drop()
            await self._sleep(backoff.wait_s)
            backoff = backoff.after(time.monotonic() - begun)
            self._restarts += 1

    async def stop(self) -> None:
        """End the engine for good."""
        await self._drop()

    def entry(self) -> Entry:
        """Tell how the model is, and where its engine is once it is ready."""
        engine = self._engine
        return Entry(
            row=self._row(engine.memory_bytes() if engine else None),
            address=_told(engine.address) if engine and self._state == "ready" else None,
        )

    async def _look_after(self, engine: RunningEngine) -> None:
        await self._until_ready(engine)
        self._tell("ready", "")
        await self._until_gone(engine)
        self._last_exit = engine.last_words()
        self._tell("restarting", f"it ended by itself; its last words: {self._last_exit}")

    async def _look_on(self, engine: TendedEngine) -> None:
        """Tell how an engine is until it is no longer what was asked for; it comes back by itself until then."""
        seen_well = time.monotonic()
        while engine.is_alive():
            condition, now = await engine.condition(), time.monotonic()
            seen_well = now if condition.state == "ready" else seen_well
            if condition.state in ("starting", "restarting") and now - seen_well > self._start_timeout_s:
                late = f"not ready after {self._start_timeout_s:.0f} s"
                condition = Condition("failed", f"{late}: {condition.detail}" if condition.detail else late)
            if (condition.state, condition.detail) != (self._state, self._detail):
                self._tell(condition.state, condition.detail)
            self._last_exit = engine.last_exit or self._last_exit
            await self._sleep(POLL_S)
        self._tell("restarting", f"it is not in the cluster as it should be: {engine.last_words()}; applying it anew")

    async def _until_ready(self, engine: RunningEngine) -> None:
        with anyio.move_on_after(self._start_timeout_s):
            while engine.is_alive():
                if await engine.is_ready():
                    return
                await self._sleep(POLL_S)
            raise _failed(f"it ended while starting; its last words: {engine.last_words()}")
        raise _failed(f"not ready after {self._start_timeout_s:.0f} s; its last words: {engine.last_words()}")

    async def _until_gone(self, engine: RunningEngine) -> None:
        heard = looked = time.monotonic()
        while engine.is_alive():
            now = time.monotonic()
            if now - looked >= 1.0:
                looked = now
                heard = now if await engine.is_ready() else heard
                if now - heard > MUTE_S:
                    raise _failed(f"its health has not answered for {MUTE_S:.0f} s; it is replaced")
            await self._sleep(POLL_S)

    async def _drop(self) -> None:
        engine, self._engine = self._engine, None
        if engine is not None:
            self._restarts += _restarts_of(engine)
            await engine.stop()

    def _tell(self, state: ModelState, detail: str) -> None:
        self._state, self._detail = state, detail
        log.info("%s is %s%s", self._card.id, state, f": {detail}" if detail else "")

    def _row(self, memory_bytes: int | None) -> ModelRow:
        try:
            plan: EnginePlan | None = self._starter.plan()
        except SandboxError:
            plan = None  # why is in the detail, put there by the failed start
        return ModelRow(
            id=self._card.id,
            title=self._card.title,
            state=self._state,
            detail=self._detail,
            licence=self._card.licence,
            sha256=self._card.sha256,
            size_bytes=self._card.size_bytes,
            context_tokens=plan.context_tokens if plan else 0,
            slots=plan.slots if plan else 0,
            threads=plan.threads if plan else 0,
            engine=self._starter.describe(),
            restarts=self._restarts + _restarts_of(self._engine),
            last_exit=self._last_exit,
            is_chat=self._card.is_chat,
            memory_bytes=memory_bytes,
            planned_bytes=plan.memory_bytes if plan else None,
            why=plan.why if plan else (),
        )


def _restarts_of(engine: RunningEngine | None) -> int:
    return engine.restarts if isinstance(engine, TendedEngine) else 0


def _failed(message: str) -> SandboxError:
    return SandboxError(message, hint="sandbox logs MODEL")


def _told(address: EngineAddress) -> Address:
    return Address(
        kind=address.kind,
        url=address.url,
        model_name=address.model_name,
        key=address.key,
        context_tokens=address.context_tokens,
    )
