"""Every fake, written once; the contract suites hold each to what the real thing does."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Iterator, Mapping
from typing import Any

import anyio

from sandbox import plan
from sandbox.errors import ContextOverflow, EngineBroke, EngineUnavailable, InvalidRequest
from sandbox.wire.neutral import ChatPrompt, Delta, Event, Finished, FinishReason, Question, Usage

MIB = 1024 * 1024


def engine_plan(
    model_id: str, context_tokens: int, *, slots: int, threads: int, cache_ram_mib: int, memory_mib: int = 700
) -> plan.EnginePlan:
    """Make a plan of plain numbers, as no model and host would give it."""
    return plan.EnginePlan(
        model_id,
        context_tokens,
        slots,
        threads,
        cache_ram_mib,
        memory=plan.Memory(memory_mib * MIB, 0, 0, 0, 0),
    )


ANSWER = ("The ", "capital ", "of ", "France ", "is ", "Paris.")


class FakeEngine:
    """An engine that says what it was told to; a word is a token."""

    def __init__(
        self,
        deltas: tuple[str, ...] = ANSWER,
        *,
        context_words: int = 1000,
        slots: int = 1,
        break_after: int | None = None,
        delay_s: float = 0.0,
        is_down: bool = False,
    ) -> None:
        """Script one answer.

        Args:
            deltas: the answer, one token each.
            context_words: words of prompt that no longer fit.
            break_after: pieces after which the engine dies.
            delay_s: pause before each piece.
            is_down: nobody listens.
        """
        self.deltas = deltas
        self.context_words = context_words
        self.break_after = break_after
        self.delay_s = delay_s
        self.is_down = is_down
        self.busy = 0
        """Answers that are being streamed now."""
        self.questions: list[Question] = []
        """Everything that was asked."""
        self._slots = anyio.Semaphore(slots)

    async def answer(self, question: Question) -> AsyncGenerator[Event, None]:
        self.questions.append(question)
        if self.is_down:
            raise EngineUnavailable("no engine answers: this fake is down", hint="none")
        words = len(_prompt_text(question).split())
        if words >= self.context_words:
            raise ContextOverflow(f"the prompt has {words} tokens, a slot holds {self.context_words}", hint="none")
        deltas = self._script(question)
        async with self._slots:
            self.busy += 1
            try:
                async for event in self._stream(question, deltas, words):
                    yield event
            finally:
                self.busy -= 1

    async def _stream(self, question: Question, deltas: tuple[str, ...], words: int) -> AsyncGenerator[Event, None]:
        limit = question.sampling.max_tokens
        reason: FinishReason = "stop" if limit is None or limit >= len(deltas) else "length"
        said = 0
        for text in _until_stop(deltas[:limit], question.sampling.stop):
            if said == self.break_after:
                raise EngineBroke("this fake broke as it was told to", hint="none")
            await anyio.sleep(self.delay_s)
            said += 1
            yield Delta(text)
        if said < len(deltas[:limit]):
            reason = "stop"
        yield Finished(reason, Usage(prompt_tokens=words, completion_tokens=said))

    def _script(self, question: Question) -> tuple[str, ...]:
        if question.output is None:
            return self.deltas
        text = json.dumps(_instance(question.output.schema or {"type": "object"}))
        return tuple(text[at : at + 4] for at in range(0, len(text), 4))

    async def is_ready(self) -> bool:
        return not self.is_down

    async def close(self) -> None:
        return None


def _prompt_text(question: Question) -> str:
    if isinstance(question.prompt, ChatPrompt):
        return "\n".join(turn.content for turn in question.prompt.messages)
    return question.prompt.text


def _until_stop(deltas: tuple[str, ...], stop: tuple[str, ...]) -> Iterator[str]:
    """Yield pieces up to the first stop word, which may lie across two of them."""
    whole = "".join(deltas)
    end = min((at for word in stop if (at := whole.find(word)) >= 0), default=len(whole))
    begun = 0
    for text in deltas:
        if begun >= end:
            return
        yield text[: end - begun]
        begun += len(text)


def _instance(schema: Mapping[str, Any]) -> Any:
    """Make the plainest value of a schema."""
    if "enum" in schema:
        return schema["enum"][0]
    plain = {"string": "Paris", "integer": 2, "number": 2.5, "boolean": True, "null": None, "array": []}
    kind = schema.get("type")
    if kind == "object":
        return {name: _instance(inner) for name, inner in schema.get("properties", {}).items()}
    if kind not in plain:
        raise InvalidRequest(f"JSON schema error: unknown type {kind!r}", hint="none")
    return plain[kind]
