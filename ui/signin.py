"""Signing in to the page: a one-time link or a key becomes a session cookie."""

from __future__ import annotations

import html
import re
import time
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from string import Template
from typing import Protocol, TypeVar
from urllib.parse import parse_qs

from anyio import to_thread
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from sandbox import errors
from sandbox.wire.console import IssuedKey
from ui.guard import COOKIE, session_of

Answer = TypeVar("Answer")

MAX_FORM_BYTES = 4096
_SECRET = re.compile(r"[\x21-\x7e]{1,200}")
"""What a ticket or key can look like at all; nothing else is carried to the gateway."""


class Gate(Protocol):
    """What signing in asks of the gateway."""

    def redeem(self, ticket: str) -> IssuedKey:
        """Exchange a one-time ticket for a session."""
        ...

    def open_session(self) -> IssuedKey:
        """Make a session for the owner of the key."""
        ...

    def close_session(self) -> None:
        """Revoke the session whose key this is."""
        ...

    def close(self) -> None:
        """Give back connections."""
        ...


class SignIn:
    """The few pages that are served without a session."""

    def __init__(self, gate: Callable[[str], Gate]) -> None:
        """Take the way to the gateway.

        Args:
            gate: makes a client with a key; empty for redeeming a ticket.
        """
        self._gate = gate

    def routes(self) -> list[Route]:
        """List the routes to put before the page's own."""
        return [
            Route("/signin", self.enter, methods=["GET"]),
            Route("/signin", self.enter_with_key, methods=["POST"]),
            Route("/signout", _ask_to_leave, methods=["GET"]),
            Route("/signout", self.leave, methods=["POST"]),
            Route("/healthz", _healthy, methods=["GET"]),
            Route("/favicon.svg", _favicon, methods=["GET"]),
        ]

    async def enter(self, request: Request) -> Response:
        """Redeem the link's ticket, or ask for a key where there is none."""
        ticket = request.query_params.get("ticket", "")
        if not ticket:
            return _form("Sign in to use the models on this machine.", HTTPStatus.OK)
        if not _SECRET.fullmatch(ticket):
            return _form("This link is not complete.", HTTPStatus.BAD_REQUEST)
        return await self._signed_in("", lambda gate: gate.redeem(ticket), refused="This link was used or is too old.")

    async def enter_with_key(self, request: Request) -> Response:
        """Make a session for a pasted key."""
        body = b""
        async for piece in request.stream():
            body += piece
            if len(body) > MAX_FORM_BYTES:
                return _form("That is too long for a key.", HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        key = parse_qs(body.decode("utf-8", "replace")).get("key", [""])[0].strip()
        if not _SECRET.fullmatch(key):
            return _form("That does not look like a key.", HTTPStatus.BAD_REQUEST)
        return await self._signed_in(key, lambda gate: gate.open_session(), refused="This key is not valid.")

    async def leave(self, request: Request) -> Response:
        """Revoke the session and forget it."""
        key = session_of(request.headers)
        if key is not None:
            try:
                await self._asked(key, lambda gate: gate.close_session())
            except errors.Unauthenticated:
                pass  # it was revoked or has expired already
            except errors.SandboxError as error:
                return _form(f"You are not signed out: {error.message}", error.http_status)
        reply = _form("You are signed out.", HTTPStatus.OK)
        reply.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict")
        return reply

    async def _signed_in(self, key: str, ask: Callable[[Gate], IssuedKey], *, refused: str) -> Response:
        try:
            session = await self._asked(key, ask)
        except (errors.Unauthenticated, errors.NotFound, errors.InvalidRequest, errors.Forbidden):
            return _form(refused, HTTPStatus.UNAUTHORIZED)
        except errors.SandboxError as error:
            return _form(f"{error.message}.", error.http_status)
        # The browser goes on by itself from a page of ours: after a redirect it would hold back a strict
        # cookie if the link was opened from another site, and the person would seem not signed in.
        reply = HTMLResponse(_GO_ON)
        lifetime_s = None if session.expires_at is None else max(1, int(session.expires_at - time.time()))
        reply.set_cookie(COOKIE, session.key, max_age=lifetime_s, path="/", httponly=True, samesite="strict")
        return reply

    async def _asked(self, key: str, ask: Callable[[Gate], Answer]) -> Answer:
        gate = self._gate(key)
        try:
            return await to_thread.run_sync(ask, gate)
        finally:
            gate.close()


async def _healthy(request: Request) -> Response:
    return PlainTextResponse("ok")


async def _favicon(request: Request) -> Response:
    return FileResponse(FAVICON, media_type="image/svg+xml")


async def _ask_to_leave(request: Request) -> Response:
    return HTMLResponse(_document("Sign out?", _LEAVE_FORM))


def _form(message: str, status: int) -> HTMLResponse:
    return HTMLResponse(_document(message, _KEY_FORM), status)


def _document(message: str, form: str) -> str:
    return _PAGE.substitute(message=html.escape(message), form=form)


FAVICON = Path(__file__).parent / "favicon.svg"

_GO_ON = """<!DOCTYPE html><html lang="en"><meta charset="utf-8"><title>Sandbox</title>
<meta http-equiv="refresh" content="0;url=/"><p><a href="/">Go on to the sandbox</a></p></html>"""

_KEY_FORM = """<p class="how">For a new link, run this in the project's folder and open what it prints:</p>
<pre>make up</pre>
<form method="post" action="/signin"><label for="key">Or paste a key</label>
<input id="key" name="key" type="password" autocomplete="off" required maxlength="200">
<button>Sign in</button></form>"""

_LEAVE_FORM = """<p class="how">Chats and keys stay. To come back, open a new link.</p>
<form method="post" action="/signout"><button>Sign out</button> <a href="/">Stay</a></form>"""

_PAGE = Template("""<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">
<title>Sandbox: sign in</title><link rel="icon" href="/favicon.svg"><style>
:root{--ink:#1c2726;--back:#f7f8f7;--card:#fff;--line:#d9dfdd;--accent:#0f766e}
@media(prefers-color-scheme:dark){:root{--ink:#e4ebe9;--back:#111716;--card:#19211f;--line:#33403d;--accent:#2a9d8f}}
body{margin:0;min-height:100vh;display:grid;place-items:center;background:var(--back);color:var(--ink);
font:16px/1.5 system-ui,sans-serif}
main{background:var(--card);border:1px solid var(--line);border-radius:12px;padding:2rem;width:min(26rem,84vw)}
h1{font-size:1.1rem;margin:0 0 1rem;color:var(--accent)} .message{font-size:1.15rem;margin:0 0 1rem}
.how{margin:.5rem 0} pre{background:var(--back);border:1px solid var(--line);border-radius:6px;padding:.6rem .8rem}
label{display:block;margin:1.2rem 0 .3rem} input{box-sizing:border-box;width:100%;padding:.55rem;font:inherit;
color:inherit;background:var(--back);border:1px solid var(--line);border-radius:6px}
button{margin:.8rem .8rem 0 0;padding:.5rem 1.2rem;font:inherit;color:#fff;background:var(--accent);border:0;
border-radius:6px;cursor:pointer} a{color:var(--accent)}
</style></head><body><main><h1>Sandbox</h1><p class="message">$message</p>$form</main></body></html>""")
