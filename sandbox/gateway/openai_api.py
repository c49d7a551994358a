"""OpenAI's dialect: ``/v1/models``, ``/v1/chat/completions``, ``/v1/completions``."""

from __future__ import annotations

import json
import secrets
import time
from contextlib import aclosing

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from sandbox.gateway.door import door_of
from sandbox.gateway.live import LiveReply, Write, sse
from sandbox.gateway.pipeline import Ask, Way
from sandbox.wire import openai as wire
from sandbox.wire.console import ModelRow
from sandbox.wire.neutral import Delta


async def models(request: Request) -> JSONResponse:
    """List the models that can be asked."""
    door = door_of(request)
    await door.identify(request)
    rows = await door.engines.rows()
    return JSONResponse({"object": "list", "data": [_model_body(row) for row in rows]})


async def model(request: Request) -> JSONResponse:
    """Tell one model."""
    door = door_of(request)
    await door.identify(request)
    served = await door.engines.find(request.path_params["model"])
    return JSONResponse(_model_body(served.row))


def _model_body(row: ModelRow) -> dict[str, object]:
    return {"id": row.id, "object": "model", "created": 0, "owned_by": "sandbox"}


async def chat_completions(request: Request) -> LiveReply:
    """Answer a conversation."""
    return await _answer(request, wire.ChatRequest)


async def completions(request: Request) -> LiveReply:
    """Continue a text."""
    return await _answer(request, wire.CompletionRequest)


async def _answer(request: Request, kind: type[wire.ChatRequest] | type[wire.CompletionRequest]) -> LiveReply:
    door = door_of(request)
    who = await door.identify(request)
    body = wire.parse(kind, await request.body())
    ask = await door.ask(who, body.question(), request.url.path)
    writer = wire.ReplyWriter(
        is_chat=kind is wire.ChatRequest,
        reply_id=secrets.token_hex(12),
        model=body.model,
        created=int(time.time()),
    )

    async def work(write: Write) -> None:
        if body.is_stream:
            await _stream(door.way, ask, writer, write, wants_usage=body.wants_usage)
        else:
            await _whole(door.way, ask, writer, write)

    return LiveReply(work, is_stream=body.is_stream)


async def _whole(way: Way, ask: Ask, writer: wire.ReplyWriter, write: Write) -> None:
    pieces: list[str] = []
    async with aclosing(way(ask)) as events:
        async for event in events:
            if isinstance(event, Delta):
                pieces.append(event.text)
            else:
                await write(json.dumps(writer.whole("".join(pieces), event), ensure_ascii=False).encode())


async def _stream(way: Way, ask: Ask, writer: wire.ReplyWriter, write: Write, *, wants_usage: bool) -> None:
    is_open = False
    async with aclosing(way(ask)) as events:
        async for event in events:
            if not is_open:
                is_open = True
                await write(sse(writer.opening()))
            if isinstance(event, Delta):
                await write(sse(writer.delta(event.text)))
                continue
            await write(sse(writer.closing(event)))
            if wants_usage:
                await write(sse(writer.usage(event)))
            await write(b"data: [DONE]\n\n")


ROUTES = [
    Route("/v1/models", models),
    Route("/v1/models/{model}", model),
    Route("/v1/chat/completions", chat_completions, methods=["POST"]),
    Route("/v1/completions", completions, methods=["POST"]),
]
