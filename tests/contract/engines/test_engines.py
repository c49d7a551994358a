"""What every engine does, the fake included: the contract of ``sandbox.engine.protocol.Engine``."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable

import anyio
import anyio.to_thread
import jsonschema  # type: ignore[import-untyped]  # its stubs are a package of their own
import pytest

from sandbox.engine.protocol import Engine, EngineKind
from sandbox.errors import ContextOverflow, EngineBroke, EngineUnavailable, InvalidRequest
from sandbox.wire.neutral import (
    ChatPrompt,
    Delta,
    Event,
    Finished,
    JsonOutput,
    Message,
    Question,
    Sampling,
    TextPrompt,
)
from tests.contract.engines import harness
from tests.contract.engines.harness import Running

pytestmark = pytest.mark.anyio

CAPITAL = ChatPrompt((Message("user", "What is the capital of France? Answer with one word."),))
STORY = TextPrompt("This is a very long story about a little dog. Once upon a time there was a little dog who")
CITY = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 20}, "rivers": {"type": "integer"}},
    "required": ["city", "rivers"],
    "additionalProperties": False,
}


def ask(prompt: ChatPrompt | TextPrompt = CAPITAL, *, output: JsonOutput | None = None, **sampling: object) -> Question:
    chosen = {"temperature": 0.0, "seed": 7, "max_tokens": 48, **sampling}
    return Question("smollm2", prompt, Sampling(**chosen), output)  # type: ignore[arg-type]  # see each call


async def hear(engine: Engine, question: Question) -> tuple[str, list[Event]]:
    events = [event async for event in engine.answer(question)]
    return "".join(event.text for event in events if isinstance(event, Delta)), events


def end_of(events: list[Event]) -> Finished:
    assert [type(event) for event in events].count(Finished) == 1
    assert isinstance(events[-1], Finished)
    return events[-1]


async def test_a_chat_is_answered(engine: Engine) -> None:
    text, events = await hear(engine, ask())
    assert "Paris" in text
    assert end_of(events).reason == "stop"


async def test_the_answer_comes_in_pieces(engine: Engine) -> None:
    _, events = await hear(engine, ask())
    assert len([event for event in events if isinstance(event, Delta)]) > 1


async def test_plain_text_is_continued(engine: Engine) -> None:
    text, events = await hear(engine, ask(TextPrompt("The capital of France is"), max_tokens=12))
    assert text.strip()
    assert end_of(events).usage.prompt_tokens in range(4, 8)


async def test_a_stop_word_ends_the_answer_and_is_not_shown(engine: Engine) -> None:
    whole, _ = await hear(engine, ask())
    stop = whole[len(whole) // 2 :][:3]
    text, events = await hear(engine, ask(stop=(stop,)))
    assert text == whole[: whole.index(stop)]
    assert end_of(events).reason == "stop"


async def test_a_limit_ends_the_answer_and_is_counted(running: Running) -> None:
    engine = running.connect_for_story()
    try:
        _, events = await hear(engine, ask(STORY, max_tokens=8))
    finally:
        await engine.close()
    assert end_of(events).reason == "length"
    assert 1 <= end_of(events).usage.completion_tokens <= 8


async def test_counts_are_plausible(engine: Engine) -> None:
    text, events = await hear(engine, ask())
    usage = end_of(events).usage
    assert 5 <= usage.prompt_tokens <= 80
    assert 0 < usage.completion_tokens <= len(text.encode()) + 1
    assert 0 <= usage.cached_prompt_tokens <= usage.prompt_tokens


async def test_the_same_question_gets_the_same_answer_when_seed_and_temperature_are_fixed(running: Running) -> None:
    engine = running.connect_for_story()
    try:
        first, _ = await hear(engine, ask(STORY, max_tokens=24))
        second, _ = await hear(engine, ask(STORY, max_tokens=24))
    finally:
        await engine.close()
    assert first == second


async def test_an_answer_follows_its_json_schema(engine: Engine) -> None:
    text, events = await hear(engine, ask(output=JsonOutput(CITY), max_tokens=120))
    assert end_of(events).reason == "stop"
    jsonschema.validate(json.loads(text), CITY)


async def test_an_answer_is_a_json_object_when_no_schema_is_given(engine: Engine) -> None:
    prompt = ChatPrompt((Message("user", 'Answer with this JSON and nothing else: {"city": "Paris"}'),))
    text, events = await hear(engine, ask(prompt, output=JsonOutput(), max_tokens=200))
    assert end_of(events).reason == "stop"
    assert isinstance(json.loads(text), dict)


async def test_a_schema_that_makes_no_sense_is_refused(engine: Engine, running: Running) -> None:
    with pytest.raises(InvalidRequest):
        await hear(engine, ask(output=JsonOutput({"type": "nonsense"})))


async def test_a_prompt_longer_than_the_context_is_refused(engine: Engine) -> None:
    long = ChatPrompt((Message("user", "hello brave new world " * 500),))
    with pytest.raises(ContextOverflow, match=r"\d"):
        await hear(engine, ask(long))


async def test_a_long_chat_of_short_turns_is_refused_and_not_shortened(engine: Engine) -> None:
    turns = tuple(Message("user" if n % 2 == 0 else "assistant", "hello brave new world " * 25) for n in range(21))
    with pytest.raises(ContextOverflow):
        await hear(engine, ask(ChatPrompt(turns)))


async def test_a_closed_answer_frees_the_only_slot(running: Running) -> None:
    engine = running.connect_for_story()
    try:
        answer = engine.answer(ask(STORY, max_tokens=900))
        begun = time.monotonic()
        for _ in range(6):
            assert isinstance(await anext(answer), Delta)
        whole_s = (time.monotonic() - begun) / 6 * 900
        await answer.aclose()
        with anyio.fail_after(max(whole_s / 3, 2.0)):
            _, events = await hear(engine, ask(max_tokens=4))
    finally:
        await engine.close()
    assert end_of(events).usage.completion_tokens <= 4


async def test_a_cancelled_asker_frees_the_only_slot(running: Running) -> None:
    engine = running.connect_for_story()
    try:
        with anyio.move_on_after(0.5):
            await hear(engine, ask(STORY, max_tokens=900))
        begun = time.monotonic()
        _, events = await hear(engine, ask(max_tokens=4))
    finally:
        await engine.close()
    assert time.monotonic() - begun < 5
    assert end_of(events).usage.completion_tokens <= 4


async def test_nobody_listening_is_told_apart(running: Running) -> None:
    engine = running.connect_to_nobody()
    try:
        assert not await engine.is_ready()
        with pytest.raises(EngineUnavailable):
            await hear(engine, ask())
    finally:
        await engine.close()


async def test_an_engine_that_answers_is_ready(engine: Engine) -> None:
    assert await engine.is_ready()


@pytest.mark.parametrize("kind", [pytest.param(kind, marks=pytest.mark.engine(kind)) for kind in harness.REAL_KINDS])
async def test_an_engine_killed_in_the_middle_of_an_answer_broke(
    kind: EngineKind, start: Callable[[EngineKind], Running]
) -> None:
    running = await anyio.to_thread.run_sync(start, kind)
    assert running.pid is not None
    engine = running.connect()
    try:
        answer = engine.answer(ask(STORY, max_tokens=900))
        await anext(answer)
        if kind == "ollama":
            harness.kill_group(running.pid)
        else:
            os.kill(running.pid, signal.SIGKILL)
        with pytest.raises(EngineBroke):
            async for _ in answer:
                pass
    finally:
        await engine.close()
