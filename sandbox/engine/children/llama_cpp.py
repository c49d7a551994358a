"""An engine process over ``llama-cpp-python`` that answers in the part of llama-server's dialect we speak.

    python -m sandbox.engine.children.llama_cpp --model FILE --port N …

Not the package's own ``llama_cpp.server``: in 0.3.36 it admits every web origin with credentials, gives
no token counts in a stream, ends a running answer when another question arrives, reports a long prompt
under another name, and needs four more packages.

One question at a time; the next ones wait. A client that goes away frees the model after the token, or
the piece of prompt, at hand. No signal handler is set: SIGTERM ends the process at once.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Callable, Generator, Mapping
from contextlib import closing, contextmanager
from typing import Any

import anyio
import anyio.to_thread
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from sandbox.engine.arguments import HOST
from sandbox.engine.children.generation import BadRequest, Job, Model, PromptTooLong
from sandbox.engine.children.spec import parse


class Answer:
    """A response that works through one job while somebody listens."""

    def __init__(self, model: Model, turn: anyio.Lock, job: Job, choice: Callable[[str], dict[str, Any]]) -> None:
        self._model = model
        self._turn = turn
        self._job = job
        self._choice = choice

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Stream the answer; stop when the client goes away, waiting for its turn or not."""
        del scope
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_cancel_when_gone, receive, tasks.cancel_scope)
            async with self._turn:
                await self._stream(send)
            tasks.cancel_scope.cancel()

    async def _stream(self, send: Send) -> None:
        head = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-store"), (b"connection", b"close")]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        # A thread hop for each token; cancellation waits for the hop at hand and then closes the work.
        with closing(self._model.work(self._job)) as work:
            while (piece := await anyio.to_thread.run_sync(next, work, None)) is not None:
                if piece:
                    await _send_event(send, {"choices": [{"index": 0, "finish_reason": None, **self._choice(piece)}]})
        last = {"index": 0, "finish_reason": self._job.finish_reason, **self._choice("")}
        await _send_event(send, {"choices": [last], "usage": _usage(self._job)})
        await send({"type": "http.response.body", "body": b"data: [DONE]\n\n", "more_body": False})


def _usage(job: Job) -> dict[str, Any]:
    return {
        "prompt_tokens": len(job.tokens),
        "completion_tokens": job.n_answered,
        "total_tokens": len(job.tokens) + job.n_answered,
        "prompt_tokens_details": {"cached_tokens": job.n_cached},
    }


async def _send_event(send: Send, event: Mapping[str, Any]) -> None:
    body = b"data: " + json.dumps(event).encode() + b"\n\n"
    await send({"type": "http.response.body", "body": body, "more_body": True})


async def _cancel_when_gone(receive: Receive, scope: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()


def application(model: Model, alias: str) -> Starlette:
    """Route the three paths that the sandbox's client asks for."""
    turn = anyio.Lock()

    async def health(request: Request) -> Response:
        del request
        return JSONResponse({"status": "ok"})

    async def models(request: Request) -> Response:
        del request
        return JSONResponse({"object": "list", "data": [{"id": alias, "object": "model"}]})

    async def chat(request: Request) -> Answer | Response:
        body = await _body(request)
        text = model.chat_text(_messages(body))
        job = await anyio.to_thread.run_sync(model.prepare, text, body)
        return Answer(model, turn, job, lambda piece: {"delta": {"content": piece}})

    async def complete(request: Request) -> Answer | Response:
        body = await _body(request)
        if not isinstance(body.get("prompt"), str):
            raise BadRequest("prompt must be text")
        job = await anyio.to_thread.run_sync(model.prepare, body["prompt"], body)
        return Answer(model, turn, job, lambda piece: {"text": piece})

    return Starlette(
        routes=[
            Route("/health", health),
            Route("/v1/models", models),
            Route("/v1/chat/completions", chat, methods=["POST"]),
            Route("/v1/completions", complete, methods=["POST"]),
        ],
        exception_handlers={BadRequest: _bad_request, PromptTooLong: _too_long},
    )


async def _body(request: Request) -> dict[str, Any]:
    try:
        body = await request.json()
    except ValueError as error:
        raise BadRequest(f"the body is no JSON: {error}") from error
    if not isinstance(body, dict) or body.get("stream") is not True:
        raise BadRequest("this engine only streams: the body must be an object with stream=true")
    return body


def _messages(body: Mapping[str, Any]) -> list[dict[str, str]]:
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise BadRequest("messages must be a list with at least one turn")
    try:
        return [{"role": str(turn["role"]), "content": str(turn["content"])} for turn in messages]
    except (KeyError, TypeError) as error:
        raise BadRequest("every message needs a role and a content") from error


async def _bad_request(request: Request, error: Exception) -> Response:
    del request
    return _error(400, "invalid_request_error", str(error))


async def _too_long(request: Request, error: Exception) -> Response:
    del request
    assert isinstance(error, PromptTooLong)  # noqa: S101  # Starlette hands over what the handler is registered for
    numbers = {"n_prompt_tokens": error.n_prompt_tokens, "n_ctx": error.n_ctx}
    return _error(400, "exceed_context_size_error", str(error), **numbers)


def _error(status: int, kind: str, message: str, **more: int) -> JSONResponse:
    return JSONResponse({"error": {"code": status, "message": message, "type": kind, **more}}, status_code=status)


class Locked:
    """Lets nobody in without the key, except to ask whether the engine is up."""

    def __init__(self, inside: ASGIApp, key: str) -> None:
        self._inside = inside
        self._wanted = f"Bearer {key}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer 401."""
        if scope["type"] == "http" and scope["path"] != "/health":
            shown = dict(scope["headers"]).get(b"authorization", b"")
            if not hmac.compare_digest(shown, self._wanted):
                await _error(401, "authentication_error", "Invalid API Key")(scope, receive, send)
                return
        await self._inside(scope, receive, send)


class Server(uvicorn.Server):
    """A server that leaves signals alone: the default of SIGTERM is what is wanted."""

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Capture none."""
        yield


def main() -> None:
    """Load the model and serve it until the process is ended."""
    spec = parse()
    locked = Locked(application(Model(spec), spec.alias), spec.key())
    Server(
        uvicorn.Config(locked, host=HOST, port=spec.port, log_level="warning", access_log=False, server_header=False)
    ).run()


if __name__ == "__main__":
    main()
