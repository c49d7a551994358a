"""The way of one question: stages around the engine, each seeing every event of the answer.

A stage takes the ask and the rest of the way, and yields events; policy decisions, guards and budgets slot
in as further stages. A stage that cannot decide, scan or record raises, and nothing reaches the engine.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass

import anyio

from sandbox.audit import Begun, Ended, EndState, Records
from sandbox.engine.protocol import Engine
from sandbox.errors import EngineUnavailable, SandboxError
from sandbox.gateway.keys import Identity
from sandbox.gateway.metrics import Metrics
from sandbox.wire.console import AnswerStats
from sandbox.wire.neutral import Delta, Event, Finished, Question

RETRY_S = 20.0
RETRY_PAUSE_S = 0.1
END_DEADLINE_S = 10.0
"""How long the end of a cancelled request may take to reach the disk."""


@dataclass(slots=True)
class Ask:
    """One request on its way, and what is learnt on the way."""

    who: Identity
    question: Question
    path: str
    engine: Engine
    engine_kind: str
    model_sha256: str
    chat_id: str | None = None
    record_id: str | None = None
    stats: AnswerStats | None = None
    finish_reason: str | None = None


Way = Callable[[Ask], AsyncGenerator[Event, None]]
Stage = Callable[[Ask, Way], AsyncGenerator[Event, None]]


def compose(stages: Sequence[Stage]) -> Way:
    """Put stages one inside the other, the first outermost, around the engine."""
    way: Way = _ask_engine
    for stage in reversed(stages):
        way = _inside(stage, way)
    return way


def _inside(stage: Stage, way: Way) -> Way:
    return lambda ask: stage(ask, way)


async def _ask_engine(ask: Ask) -> AsyncGenerator[Event, None]:
    async with aclosing(ask.engine.answer(ask.question)) as events:
        async for event in events:
            yield event


def patient(find: Callable[[str], Awaitable[Engine]]) -> Stage:
    """Make the stage that asks again while an engine is coming back, as long as nothing has been answered.

    Args:
        find: finds the engine of a model anew, waiting for it within bounds.
    """

    async def stage(ask: Ask, way: Way) -> AsyncGenerator[Event, None]:
        deadline = time.monotonic() + RETRY_S
        while True:
            has_begun = False
            try:
                async with aclosing(way(ask)) as events:
                    async for event in events:
                        has_begun = True
                        yield event
                return
            except EngineUnavailable:
                if has_begun or time.monotonic() >= deadline:
                    raise
            await anyio.sleep(RETRY_PAUSE_S)
            ask.engine = await find(ask.question.model)

    return stage


@dataclass(slots=True)
class _Seen:
    """What has been seen of one answer."""

    started: float
    digest: hashlib._Hash
    first: float | None = None
    last: float | None = None
    pieces: int = 0

    def piece(self, text: str) -> None:
        self.last = time.monotonic()
        self.first = self.first or self.last
        self.pieces += 1
        self.digest.update(text.encode())

    @property
    def first_token_s(self) -> float | None:
        return None if self.first is None else self.first - self.started

    def stats(self, finished: Finished) -> AnswerStats:
        tokens = finished.usage.completion_tokens
        span_s = (self.last or 0) - (self.first or 0)
        return AnswerStats(
            prompt_tokens=finished.usage.prompt_tokens,
            completion_tokens=tokens,
            first_token_s=self.first_token_s,
            tokens_per_s=(tokens - 1) / span_s if tokens > 1 and span_s > 0 else None,
            duration_s=time.monotonic() - self.started,
        )


def recorded(records: Records, metrics: Metrics) -> Stage:
    """Make the stage that puts a request on record before it starts and when it ends, however it ends."""

    async def stage(ask: Ask, way: Way) -> AsyncGenerator[Event, None]:
        seen = _Seen(time.monotonic(), hashlib.sha256())
        ask.record_id = await records.begin(_begun(ask))
        ended: Ended | None = None
        metrics.began(ask.question.model)
        try:
            async with aclosing(way(ask)) as events:
                async for event in events:
                    if isinstance(event, Delta):
                        seen.piece(event.text)
                        metrics.said(ask.question.model)
                    else:
                        metrics.said(ask.question.model, event.usage.completion_tokens - seen.pieces)
                        ask.stats, ask.finish_reason = seen.stats(event), event.reason
                        ended = _ended_well(seen, ask.stats, event)
                        await records.end(ask.record_id, ended)  # on disk before the last event leaves
                    yield event
        except SandboxError as error:
            if ended is None:
                ended = _cut(seen, "failed", error.code)
                await records.end(ask.record_id, ended)
            raise
        except Exception:
            ended = ended or _cut(seen, "failed", "internal")
            await records.end(ask.record_id, ended)
            raise
        finally:
            metrics.left(ask.question.model)
            if ended is None:  # the client went away, in whatever stage of the answer
                ended = _cut(seen, "cancelled", None)
                with anyio.move_on_after(END_DEADLINE_S, shield=True):
                    await records.end(ask.record_id, ended)
            metrics.ended(ask.question.model, ask.path, ended)

    return stage


def _begun(ask: Ask) -> Begun:
    return Begun(
        owner=ask.who.owner,
        key_id=ask.who.key_id,
        path=ask.path,
        model=ask.question.model,
        model_sha256=ask.model_sha256,
        engine=ask.engine_kind,
        chat_id=ask.chat_id,
        prompt_sha256=hashlib.sha256(_canonical(asdict(ask.question.prompt)).encode()).hexdigest(),
        sampling=_canonical({k: v for k, v in asdict(ask.question.sampling).items() if v not in (None, ())}),
    )


def _ended_well(seen: _Seen, stats: AnswerStats, finished: Finished) -> Ended:
    return Ended(
        state="done",
        answer_sha256=seen.digest.hexdigest(),
        duration_s=stats.duration_s,
        prompt_tokens=stats.prompt_tokens,
        completion_tokens=stats.completion_tokens,
        first_token_s=stats.first_token_s,
        finish_reason=finished.reason,
    )


def _cut(seen: _Seen, state: EndState, error_code: str | None) -> Ended:
    return Ended(
        state=state,
        answer_sha256=seen.digest.hexdigest(),
        duration_s=time.monotonic() - seen.started,
        first_token_s=seen.first_token_s,
        error_code=error_code,
    )


def _canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
