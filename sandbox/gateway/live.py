"""Replies whose work is cancelled when the client goes away."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
from starlette.types import Message, Receive, Scope, Send

from sandbox.errors import SandboxError
from sandbox.gateway.replies import error_reply, internal_error
from sandbox.wire.openai import error_body

Write = Callable[[bytes], Awaitable[None]]
Work = Callable[[Write], Awaitable[None]]

log = logging.getLogger(__name__)


class LiveReply:
    """An ASGI reply written while the work goes on.

    The status is decided by the first thing that happens: a write makes it 200, an error before that makes
    it the error's own. An error after it is written as one last event, since the status has left already.
    """

    def __init__(self, work: Work, *, is_stream: bool) -> None:
        self._work = work
        self._is_stream = is_stream
        self._has_begun = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the work next to a watch for the client's going."""
        async with anyio.create_task_group() as tasks:

            async def watch() -> None:
                while (await receive())["type"] != "http.disconnect":
                    pass
                tasks.cancel_scope.cancel()

            tasks.start_soon(watch)
            await self._run(scope, receive, send)
            tasks.cancel_scope.cancel()

    async def _run(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def write(body: bytes) -> None:
            if not self._has_begun:
                self._has_begun = True
                await send(self._start())
            await send({"type": "http.response.body", "body": body, "more_body": True})

        try:
            await self._work(write)
        except SandboxError as error:
            await self._fail(error, scope, receive, send)
        except Exception:  # the boundary: a bug is answered, and kept in the log
            log.exception("a request failed in a way nobody expected")
            await self._fail(internal_error(), scope, receive, send)
        else:
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _start(self) -> Message:
        kind = b"text/event-stream; charset=utf-8" if self._is_stream else b"application/json"
        headers = [(b"content-type", kind), (b"cache-control", b"no-store")]
        return {"type": "http.response.start", "status": 200, "headers": headers}

    async def _fail(self, error: SandboxError, scope: Scope, receive: Receive, send: Send) -> None:
        if not self._has_begun:
            await error_reply(error)(scope, receive, send)
            return
        await send({"type": "http.response.body", "body": sse(error_body(error)), "more_body": False})


def sse(body: Any) -> bytes:
    """Write one server-sent event with a JSON body."""
    return f"data: {json.dumps(body, separators=(',', ':'), ensure_ascii=False)}\n\n".encode()
