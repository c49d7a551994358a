"""A scripted gateway behind a real page: it says what a test wants a model to say, and streams it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import AsyncGenerator, Generator

import anyio
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from sandbox.wire import console as wire
from tests.ui.fake_console import FakeConsole

SESSION_KEY = "session-key-of-the-scripted-gateway"
WAIT_S = 0.25
SOON_EXPIRES_AT = 4_000_000_000.0


class ScriptedGateway:
    """Serves a fake console over HTTP, one piece of an answer at a time."""

    def __init__(self, console: FakeConsole, *, piece_s: float = 0.02, first_piece_s: float = 0.1) -> None:
        self.console = console
        self.piece_s = piece_s
        self.first_piece_s = first_piece_s
        self.tickets = {f"ticket-number-{number}" for number in range(50)}
        self.sent_pieces = 0
        self.stopped_turns = 0

    def app(self) -> Starlette:
        base = "/sandbox/v1"
        chat = base + "/chats/{chat_id}"
        routes = [
            Route(base + "/sessions", self._session, methods=["POST"]),
            Route(base + "/sessions/current", self._nothing, methods=["DELETE"]),
            Route(base + "/status", self._status),
            Route(base + "/cluster", self._cluster),
            Route(base + "/models", self._models),
            Route(base + "/keys", self._keys, methods=["GET", "POST"]),
            Route(base + "/keys/{key_id}", self._revoke, methods=["DELETE"]),
            Route(base + "/chats", self._chats, methods=["GET", "POST"]),
            Route(chat, self._chat, methods=["GET", "PATCH", "DELETE"]),
            Route(chat + "/export", self._export),
            Route(chat + "/turns", self._turn, methods=["POST"]),
        ]
        return Starlette(routes=routes)

    async def _session(self, request: Request) -> Response:
        body = await request.body()
        if body:
            ticket = wire.RedeemTicket.model_validate_json(body).ticket
            if ticket not in self.tickets:
                return _refusal()
            self.tickets.remove(ticket)
        elif request.headers.get("authorization") != "Bearer a-good-key-of-a-person":
            return _refusal()
        issued = wire.IssuedKey(
            id="s1",
            name="page",
            kind="session",
            owner="local",
            created_at=0,
            expires_at=SOON_EXPIRES_AT,
            key=SESSION_KEY,
        )
        return _json(issued)

    async def _nothing(self, request: Request) -> Response:
        return Response(status_code=204)

    async def _status(self, request: Request) -> Response:
        return self._checked(request) or _json(self.console.status())

    async def _cluster(self, request: Request) -> Response:
        told = self.console.cluster(float(request.query_params["since"]))
        return self._checked(request) or Response(told.model_dump_json(), media_type="application/json")

    async def _models(self, request: Request) -> Response:
        rows = [row.model_dump(mode="json") for row in self.console.models()]
        return self._checked(request) or JSONResponse({"models": rows})

    async def _keys(self, request: Request) -> Response:
        if request.method == "POST":
            return _json(self.console.new_key(wire.NewKey.model_validate_json(await request.body()).name))
        rows = self.console.key_rows
        return JSONResponse({"keys": [row.model_dump(mode="json") for row in rows]})

    async def _revoke(self, request: Request) -> Response:
        self.console.revoke_key(request.path_params["key_id"])
        return Response(status_code=204)

    async def _chats(self, request: Request) -> Response:
        refused = self._checked(request)
        if refused:
            return refused
        if request.method == "POST":
            return _json(self.console.new_chat(wire.NewChat.model_validate_json(await request.body())))
        rows = self.console.chats(request.query_params.get("q", ""))
        return JSONResponse({"chats": [row.model_dump(mode="json") for row in rows]})

    async def _chat(self, request: Request) -> Response:
        chat_id = request.path_params["chat_id"]
        if chat_id not in self.console.kept:
            return JSONResponse({"error": {"message": "there is no such chat", "code": "not_found"}}, 404)
        if request.method == "PATCH":
            return _json(self.console.change_chat(chat_id, wire.ChatChange.model_validate_json(await request.body())))
        if request.method == "DELETE":
            self.console.delete_chat(chat_id)
            return Response(status_code=204)
        return _json(self.console.chat(chat_id))

    async def _export(self, request: Request) -> Response:
        as_json = request.query_params["format"] == "json"
        return PlainTextResponse(self.console.export_chat(request.path_params["chat_id"], as_json=as_json))

    async def _turn(self, request: Request) -> Response:
        turn = wire.Turn.model_validate_json(await request.body())
        return StreamingResponse(self._events(request.path_params["chat_id"], turn), media_type="text/event-stream")

    async def _events(self, chat_id: str, turn: wire.Turn) -> AsyncGenerator[str, None]:
        question, answer = self.console.open_turn(chat_id, turn)
        pieces: list[str] = []
        try:
            yield _event(wire.TurnEvent(type="started", question=question, answer=answer))
            waited_s = 0.0
            while waited_s < self.first_piece_s:
                await anyio.sleep(min(WAIT_S, self.first_piece_s))
                waited_s += WAIT_S
                yield _event(wire.TurnEvent(type="wait"))
            for piece in self.console.answer(question.content):
                await anyio.sleep(self.piece_s)
                pieces.append(piece)
                self.sent_pieces += 1
                yield _event(wire.TurnEvent(type="delta", text=piece))
        except (anyio.get_cancelled_exc_class(), GeneratorExit):
            self.stopped_turns += 1
            self.console.settle(chat_id, answer.id, "".join(pieces), state="stopped")
            raise
        settled = self.console.settle(chat_id, answer.id, "".join(pieces), state="done", finish_reason="stop")
        yield _event(wire.TurnEvent(type="done", answer=settled))

    def _checked(self, request: Request) -> Response | None:
        return None if request.headers.get("authorization") == f"Bearer {SESSION_KEY}" else _refusal()


@contextlib.contextmanager
def serving(app: Starlette, port: int) -> Generator[str, None, None]:
    """Serve an application on loopback in a thread."""
    config = uvicorn.Config(app, host="127.0.0.1", port=port, log_level="warning", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(timeout=10)


def _json(body: wire._Body) -> Response:
    return Response(body.model_dump_json(), media_type="application/json")


def _event(event: wire.TurnEvent) -> str:
    return f"data: {event.model_dump_json(exclude_unset=True)}\n\n"


def _refusal() -> Response:
    return JSONResponse({"error": {"message": "this key is not valid", "code": "invalid_api_key"}}, 401)
