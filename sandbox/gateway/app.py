"""The gateway as an ASGI application."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager

import anyio
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from sandbox.errors import NotFound, SandboxError
from sandbox.gateway import console_api, openai_api
from sandbox.gateway.door import Door, door_of
from sandbox.gateway.front import Front
from sandbox.gateway.replies import error_reply, internal_error

log = logging.getLogger(__name__)


async def health(_: Request) -> Response:
    """Say that the process is alive."""
    return PlainTextResponse("ok")


async def ready(request: Request) -> Response:
    """Say whether a question would be answered: an engine is ready and the record can be read."""
    door = door_of(request)
    rows = await door.engines.rows()
    waiting = [f"{row.id} is {row.state}" for row in rows if row.state != "ready"]
    await door.records.count()
    is_ready = bool(rows) and len(waiting) < len(rows)
    return JSONResponse({"ready": is_ready, "waiting": waiting}, status_code=200 if is_ready else 503)


async def metrics(request: Request) -> Response:
    """Tell figures to Prometheus."""
    return PlainTextResponse(door_of(request).metrics.text(), media_type="text/plain; version=0.0.4")


async def _expected(_: Request, error: Exception) -> Response:
    assert isinstance(error, SandboxError)  # noqa: S101  # registered for that class alone
    return error_reply(error)


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101  # registered for that class alone
    if error.status_code == 405:
        message = f"{request.method} is not possible on {request.url.path[:200]}"
    else:
        message = f"there is nothing at {request.url.path[:200]}"
    reply = error_reply(NotFound(message, hint="see docs/api.md"))
    reply.status_code = error.status_code
    return reply


async def _bug(request: Request, error: Exception) -> Response:
    log.error("%s %s failed in a way nobody expected", request.method, request.url.path, exc_info=error)
    return error_reply(internal_error())


def build(
    door: Door,
    *,
    hosts: Iterable[str],
    max_body_bytes: int,
    on_start: Iterable[Callable[[], Awaitable[None]]] = (),
) -> ASGIApp:
    """Put the endpoints behind the front; ``on_start`` runs before the first request is taken."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[None, None]:
        left = await door.records.recover()
        await door.chats.recover()
        if left:
            log.warning("%d requests were interrupted when the gateway stopped last", left)
        for prepare in on_start:
            await prepare()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(door.watch.keep)
            yield
            tasks.cancel_scope.cancel()
        await door.engines.close()
        door.records.close()

    app = Starlette(
        routes=[
            Route("/health", health),
            Route("/ready", ready),
            Route("/metrics", metrics),
            *openai_api.ROUTES,
            *console_api.ROUTES,
        ],
        exception_handlers={SandboxError: _expected, HTTPException: _http, Exception: _bug},
        lifespan=lifespan,
    )
    app.state.door = door
    return Front(app, hosts=hosts, max_body_bytes=max_body_bytes)
