"""A synchronous client of the gateway, for the command line and the page."""

from __future__ import annotations

import json
from collections.abc import Generator
from typing import Any, TypeVar

import httpx
from pydantic import BaseModel

from sandbox import errors
from sandbox.wire import console as wire
from sandbox.wire.observed import Observed

Body = TypeVar("Body", bound=BaseModel)

CONNECT_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 60.0  # a turn sends a sign of life every quarter of a second


class Client:
    """Speaks ``/sandbox/v1`` with one person's key."""

    def __init__(self, base_url: str, key: str = "", *, transport: httpx.BaseTransport | None = None) -> None:
        """Point at a gateway.

        Args:
            base_url: the gateway's address without a path, ``http://127.0.0.1:8502``.
            key: the person's key; empty for the few calls that need none.
            transport: replaces the network in tests.
        """
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        timeout = httpx.Timeout(READ_TIMEOUT_S, connect=CONNECT_TIMEOUT_S)
        self._http = httpx.Client(
            base_url=base_url, headers=headers, timeout=timeout, transport=transport, trust_env=False
        )

    def close(self) -> None:
        """Give back connections."""
        self._http.close()

    # who

    def me(self) -> wire.Me:
        """Say whose key this is."""
        return self._get("/sandbox/v1/me", wire.Me)

    def redeem(self, ticket: str) -> wire.IssuedKey:
        """Exchange a one-time ticket for a session."""
        return self._post("/sandbox/v1/sessions", wire.RedeemTicket(ticket=ticket), wire.IssuedKey)

    def open_session(self) -> wire.IssuedKey:
        """Make a session for the owner of this key."""
        return self._post("/sandbox/v1/sessions", None, wire.IssuedKey)

    def close_session(self) -> None:
        """Revoke the session whose key this is."""
        self._request("DELETE", "/sandbox/v1/sessions/current")

    def new_ticket(self) -> wire.Ticket:
        """Make a one-time sign-in for the owner of this key."""
        return self._post("/sandbox/v1/tickets", None, wire.Ticket)

    def keys(self) -> list[wire.KeyRow]:
        """List keys, without their secrets."""
        rows = self._request("GET", "/sandbox/v1/keys").json()["keys"]
        return [wire.KeyRow.model_validate(row) for row in rows]

    def new_key(self, name: str) -> wire.IssuedKey:
        """Make a key; its secret is shown this once."""
        return self._post("/sandbox/v1/keys", wire.NewKey(name=name), wire.IssuedKey)

    def revoke_key(self, key_id: str) -> None:
        """Make a key invalid at once."""
        self._request("DELETE", f"/sandbox/v1/keys/{key_id}")

    # what

    def status(self) -> wire.Status:
        """Say how the whole sandbox is."""
        return self._get("/sandbox/v1/status", wire.Status)

    def models(self) -> list[wire.ModelRow]:
        """List the served models."""
        rows = self._request("GET", "/sandbox/v1/models").json()["models"]
        return [wire.ModelRow.model_validate(row) for row in rows]

    def cluster(self, since: float = 0.0) -> Observed:
        """Say how every pod or process runs, and what was sampled after a moment, seconds since the epoch."""
        reply = self._request("GET", "/sandbox/v1/cluster", params={"since": repr(since)})
        return Observed.model_validate_json(reply.content)

    # chats

    def chats(self, query: str = "") -> list[wire.ChatSummary]:
        """List chats, newest first; with a query, those whose title or messages contain it."""
        rows = self._request("GET", "/sandbox/v1/chats", params={"q": query} if query else None).json()["chats"]
        return [wire.ChatSummary.model_validate(row) for row in rows]

    def new_chat(self, new: wire.NewChat) -> wire.Chat:
        """Make an empty chat."""
        return self._post("/sandbox/v1/chats", new, wire.Chat)

    def chat(self, chat_id: str) -> wire.Chat:
        """Read a chat with all its branches."""
        return self._get(f"/sandbox/v1/chats/{chat_id}", wire.Chat)

    def change_chat(self, chat_id: str, change: wire.ChatChange) -> wire.Chat:
        """Rename a chat, or change its model, settings or shown branch."""
        reply = self._request("PATCH", f"/sandbox/v1/chats/{chat_id}", body=change)
        return wire.Chat.model_validate(reply.json())

    def delete_chat(self, chat_id: str) -> None:
        """Delete a chat for good."""
        self._request("DELETE", f"/sandbox/v1/chats/{chat_id}")

    def export_chat(self, chat_id: str, *, as_json: bool) -> str:
        """Write a chat as JSON (every branch) or as Markdown (the branch being shown)."""
        kind = "json" if as_json else "markdown"
        return self._request("GET", f"/sandbox/v1/chats/{chat_id}/export", params={"format": kind}).text

    def turn(self, chat_id: str, turn: wire.Turn) -> Generator[wire.TurnEvent, None, None]:
        """Ask within a chat; closing the generator stops the engine.

        Raises:
            SandboxError: the gateway refused, cannot be reached, or broke off.
        """
        url = f"/sandbox/v1/chats/{chat_id}/turns"
        try:
            with self._http.stream("POST", url, json=_dump(turn)) as reply:
                if reply.is_error:
                    reply.read()
                    raise _error_of(reply)
                for line in reply.iter_lines():
                    if line.startswith("data: "):
                        told = json.loads(line[len("data: ") :])
                        if "error" in told:
                            raise _error_in(told)
                        yield wire.TurnEvent.model_validate(told)
        except httpx.HTTPError as error:
            raise _unreachable(self._http.base_url, error) from error

    # transport

    def _get(self, path: str, body: type[Body]) -> Body:
        return body.model_validate(self._request("GET", path).json())

    def _post(self, path: str, given: BaseModel | None, body: type[Body]) -> Body:
        return body.model_validate(self._request("POST", path, body=given).json())

    def _request(
        self, method: str, path: str, *, body: BaseModel | None = None, params: dict[str, str] | None = None
    ) -> httpx.Response:
        try:
            reply = self._http.request(method, path, params=params, json=_dump(body) if body is not None else None)
        except httpx.HTTPError as error:
            raise _unreachable(self._http.base_url, error) from error
        if reply.is_error:
            raise _error_of(reply)
        return reply


def _dump(body: BaseModel) -> Any:
    return body.model_dump(mode="json", exclude_unset=True)


def _unreachable(base_url: httpx.URL, error: httpx.HTTPError) -> errors.NotRunning:
    return errors.NotRunning(
        f"the gateway at {base_url} does not answer: {str(error) or type(error).__name__}",
        hint="start it: make up; look why: sandbox logs gateway",
    )


def _error_of(reply: httpx.Response) -> errors.SandboxError:
    """Turn an error reply back into the exception it was made from."""
    try:
        return _error_in(reply.json())
    except (ValueError, KeyError, TypeError):
        message = f"the gateway answered {reply.status_code} without saying why"
        return errors.SandboxError(message, hint=DEFAULT_HINT)


def _error_in(body: Any) -> errors.SandboxError:
    told = body["error"]
    message, code = str(told["message"]), str(told["code"])
    kind = errors.by_code(code)
    return kind(message, hint=HINTS.get(code, DEFAULT_HINT))


DEFAULT_HINT = "see what happened: sandbox logs gateway"
HINTS = {
    "invalid_api_key": "make a new key: sandbox key new NAME; or sign in again with the link of: make up",
    "engine_unavailable": "see how the engine is: sandbox status",
    "engine_broke": "ask again: the engine is started anew by itself; sandbox logs MODEL says why it died",
    "context_length_exceeded": "start a new chat, or raise SANDBOX_ENGINE_CONTEXT_TOKENS and run make up",
    "not_found": "it may have been deleted; go back to the list",
}
