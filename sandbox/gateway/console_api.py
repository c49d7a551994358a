"""The sandbox's own API, ``/sandbox/v1``: what the page and the command line use."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from sandbox import __version__
from sandbox.errors import Forbidden, InvalidRequest
from sandbox.gateway import chats as trees
from sandbox.gateway.door import door_of
from sandbox.gateway.live import LiveReply
from sandbox.gateway.turns import TurnWork
from sandbox.wire import console as wire
from sandbox.wire.observed import moment
from sandbox.wire.openai import explain

Body = TypeVar("Body", bound=BaseModel)

MAX_RECORDS = 500


async def _parse(request: Request, kind: type[Body]) -> Body:
    try:
        return kind.model_validate_json(await request.body())
    except ValidationError as error:
        raise InvalidRequest(explain(error), hint="see the fields that are taken: docs/api.md") from error


def _reply(body: BaseModel, status: int = 200) -> JSONResponse:
    return JSONResponse(body.model_dump(mode="json"), status_code=status, headers={"Cache-Control": "no-store"})


def _list(name: str, rows: list[BaseModel]) -> JSONResponse:
    return JSONResponse({name: [row.model_dump(mode="json") for row in rows]}, headers={"Cache-Control": "no-store"})


async def me(request: Request) -> Response:
    """Tell whose key this is."""
    who = await door_of(request).identify(request)
    return _reply(wire.Me(owner=who.owner, kind=who.kind, name=who.name))


async def status(request: Request) -> Response:
    """Tell how the whole sandbox is."""
    door = door_of(request)
    await door.identify(request)
    return _reply(
        wire.Status(
            version=__version__,
            backend=door.backend,
            isolation=door.watch.isolation,
            page=door.page_url,
            api=door.api_url,
            models=tuple(await door.engines.rows()),
            records=await door.records.count(),
            uptime_s=time.monotonic() - door.started,
        )
    )


async def cluster(request: Request) -> Response:
    """Tell how every pod or process runs, and the figures after a moment."""
    door = door_of(request)
    await door.identify(request)
    try:
        since = moment(request.query_params.get("since", "0"))
    except ValueError as error:
        raise InvalidRequest(f"since: {error}", hint="?since=0") from error
    return _reply(await door.watch.observed(since))


async def models(request: Request) -> Response:
    """List the served models."""
    door = door_of(request)
    await door.identify(request)
    return _list("models", list(await door.engines.rows()))


async def records(request: Request) -> Response:
    """List the newest requests on record."""
    door = door_of(request)
    await door.identify(request)
    limit = request.query_params.get("limit", "50")
    if not limit.isdigit() or not 1 <= int(limit) <= MAX_RECORDS:
        raise InvalidRequest(f"limit: must be a number from 1 to {MAX_RECORDS}", hint="?limit=50")
    rows = await door.records.recent(int(limit))
    return JSONResponse({"records": [asdict(row) for row in rows]}, headers={"Cache-Control": "no-store"})


async def keys(request: Request) -> Response:
    """List keys, or make one."""
    door = door_of(request)
    who = await door.identify(request)
    if request.method == "GET":
        return _list("keys", list(await door.keys.rows(who.owner)))
    new = await _parse(request, wire.NewKey)
    return _reply(await door.keys.issue(name=new.name, owner=who.owner), 201)


async def key(request: Request) -> Response:
    """Revoke a key."""
    door = door_of(request)
    who = await door.identify(request)
    await door.keys.revoke(request.path_params["key_id"], who.owner)
    return Response(status_code=204)


async def tickets(request: Request) -> Response:
    """Make a one-time sign-in."""
    door = door_of(request)
    who = await door.identify(request)
    return _reply(await door.keys.new_ticket(who.owner), 201)


async def sessions(request: Request) -> Response:
    """Open a session: for a ticket, or for the owner of a key."""
    door = door_of(request)
    if await request.body():
        ticket = await _parse(request, wire.RedeemTicket)
        return _reply(await door.keys.redeem(ticket.ticket), 201)
    who = await door.identify(request)
    return _reply(await door.keys.open_session(who.owner), 201)


async def current_session(request: Request) -> Response:
    """Close the session whose key this is."""
    door = door_of(request)
    who = await door.identify(request)
    if who.kind != "session":
        raise Forbidden("this key is no session", hint="revoke keys with: sandbox key revoke ID")
    await door.keys.revoke(who.key_id, who.owner)
    return Response(status_code=204)


async def chats(request: Request) -> Response:
    """List chats, or make one."""
    door = door_of(request)
    who = await door.identify(request)
    if request.method == "GET":
        return _list("chats", list(await door.chats.rows(who.owner, request.query_params.get("q", ""))))
    new = await _parse(request, wire.NewChat)
    return _reply(await door.chats.create(who.owner, new), 201)


async def chat(request: Request) -> Response:
    """Read, change or delete a chat."""
    door = door_of(request)
    who = await door.identify(request)
    chat_id = request.path_params["chat_id"]
    if request.method == "PATCH":
        change = await _parse(request, wire.ChatChange)
        return _reply(await door.chats.change(who.owner, chat_id, change))
    if request.method == "DELETE":
        await door.chats.delete(who.owner, chat_id)
        return Response(status_code=204)
    return _reply(await door.chats.read(who.owner, chat_id))


async def export(request: Request) -> Response:
    """Write a chat as Markdown or JSON."""
    door = door_of(request)
    who = await door.identify(request)
    found = await door.chats.read(who.owner, request.path_params["chat_id"])
    match request.query_params.get("format", "markdown"):
        case "markdown":
            return PlainTextResponse(trees.as_markdown(found), media_type="text/markdown")
        case "json":
            return PlainTextResponse(trees.as_json(found), media_type="application/json")
        case _:
            raise InvalidRequest("format: must be markdown or json", hint="?format=markdown")


async def turns(request: Request) -> LiveReply:
    """Ask within a chat."""
    door = door_of(request)
    who = await door.identify(request)
    turn = await _parse(request, wire.Turn)
    return LiveReply(TurnWork(door, who, request.path_params["chat_id"], turn), is_stream=True)


ROUTES = [
    Route("/sandbox/v1/me", me),
    Route("/sandbox/v1/status", status),
    Route("/sandbox/v1/cluster", cluster),
    Route("/sandbox/v1/models", models),
    Route("/sandbox/v1/records", records),
    Route("/sandbox/v1/keys", keys, methods=["GET", "POST"]),
    Route("/sandbox/v1/keys/{key_id}", key, methods=["DELETE"]),
    Route("/sandbox/v1/tickets", tickets, methods=["POST"]),
    Route("/sandbox/v1/sessions", sessions, methods=["POST"]),
    Route("/sandbox/v1/sessions/current", current_session, methods=["DELETE"]),
    Route("/sandbox/v1/chats", chats, methods=["GET", "POST"]),
    Route("/sandbox/v1/chats/{chat_id}", chat, methods=["GET", "PATCH", "DELETE"]),
    Route("/sandbox/v1/chats/{chat_id}/export", export),
    Route("/sandbox/v1/chats/{chat_id}/turns", turns, methods=["POST"]),
]
