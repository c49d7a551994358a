"""The HTTP client against a server that misbehaves on purpose."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import anyio
import pytest
from aiohttp import web

from sandbox.engine.http import HttpEngine
from sandbox.engine.protocol import Deadlines, EngineAddress
from sandbox.errors import EngineBroke, EngineTimeout, EngineUnavailable, SandboxError
from sandbox.processes import free_port
from sandbox.wire.neutral import Delta, Event, Finished, Question, TextPrompt, Usage

pytestmark = pytest.mark.anyio

Behave = Callable[[web.StreamResponse], Awaitable[None]]
TEXT = b'data: {"choices":[{"text":"Hi","finish_reason":null}]}\n\n'
END = b'data: {"choices":[{"text":"","finish_reason":"length"}]}\n\n'
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":1}}\n\n'
DONE = b"data: [DONE]\n\n"
QUESTION = Question("m", TextPrompt("x"))


@pytest.fixture
async def serve() -> AsyncIterator[Callable[[Behave], Awaitable[HttpEngine]]]:
    runners: list[web.AppRunner] = []
    engines: list[HttpEngine] = []

    async def begin(behave: Behave) -> HttpEngine:
        async def handle(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse()
            await response.prepare(request)
            await behave(response)
            return response

        app = web.Application()
        app.router.add_post("/v1/completions", handle)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        port = free_port()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        runners.append(runner)
        deadlines = Deadlines(connect_s=1, first_event_s=0.5, between_events_s=0.3)
        engines.append(HttpEngine(EngineAddress("llama-server", f"http://127.0.0.1:{port}", "m"), deadlines))
        return engines[-1]

    yield begin
    for engine in engines:
        await engine.close()
    for runner in runners:
        await runner.cleanup()


def says(*pieces: bytes) -> Behave:
    async def behave(response: web.StreamResponse) -> None:
        for piece in pieces:
            await response.write(piece)

    return behave


async def hear(engine: HttpEngine) -> list[Event]:
    return [event async for event in engine.answer(QUESTION)]


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param((TEXT, END, USAGE, DONE), id="one event a piece"),
        pytest.param((TEXT + END + USAGE + DONE,), id="all in one piece"),
        pytest.param((b": ping\n\n", TEXT[:9], TEXT[9:] + END, USAGE), id="cut anywhere, pings, no DONE"),
        pytest.param(((TEXT + END + USAGE).replace(b"\n", b"\r\n"),), id="carriage returns"),
    ],
)
async def test_an_answer_is_read_however_it_is_cut(
    serve: Callable[[Behave], Awaitable[HttpEngine]], pieces: tuple[bytes, ...]
) -> None:
    engine = await serve(says(*pieces))
    assert await hear(engine) == [Delta("Hi"), Finished("length", Usage(3, 1))]
    assert await hear(engine) == [Delta("Hi"), Finished("length", Usage(3, 1))]


@pytest.mark.parametrize(
    ("pieces", "wanted"),
    [
        pytest.param((TEXT,), EngineBroke, id="no end"),
        pytest.param((TEXT, END, DONE), EngineBroke, id="no counts"),
        pytest.param((), EngineBroke, id="nothing"),
        pytest.param((b"data: {nonsense\n\n",), EngineBroke, id="no json"),
        pytest.param((b"data: 7\n\n",), EngineBroke, id="no object"),
        pytest.param((b"data: " + b"x" * 2_000_000,), EngineBroke, id="endless event"),
        pytest.param((TEXT, b'data: {"error":{"code":500,"message":"oh"}}\n\n'), EngineBroke, id="error in a stream"),
        pytest.param((b'error: {"code":503,"message":"oh"}\n\n',), EngineUnavailable, id="error line"),
    ],
)
async def test_a_bad_answer_is_told(
    serve: Callable[[Behave], Awaitable[HttpEngine]], pieces: tuple[bytes, ...], wanted: type[SandboxError]
) -> None:
    with pytest.raises(wanted):
        await hear(await serve(says(*pieces)))


async def test_silence_is_told_when_only_pings_come(serve: Callable[[Behave], Awaitable[HttpEngine]]) -> None:
    async def ping(response: web.StreamResponse) -> None:
        await response.write(TEXT)
        for _ in range(20):
            await anyio.sleep(0.05)
            await response.write(b": ping\n\n")

    with pytest.raises(EngineTimeout, match="in the middle"):
        await hear(await serve(ping))


async def test_silence_is_told_when_nothing_comes(serve: Callable[[Behave], Awaitable[HttpEngine]]) -> None:
    async def sleep(response: web.StreamResponse) -> None:
        del response
        await anyio.sleep(2)

    with pytest.raises(EngineTimeout, match="before the first"):
        await hear(await serve(sleep))


async def test_the_connection_is_closed_when_the_answer_is(serve: Callable[[Behave], Awaitable[HttpEngine]]) -> None:
    is_gone = anyio.Event()

    async def talk(response: web.StreamResponse) -> None:
        try:
            while True:
                await response.write(TEXT)
                await anyio.sleep(0.01)
        except ConnectionError:
            is_gone.set()
            raise

    answer = (await serve(talk)).answer(QUESTION)
    assert await anext(answer) == Delta("Hi")
    await answer.aclose()
    with anyio.fail_after(2):
        await is_gone.wait()
