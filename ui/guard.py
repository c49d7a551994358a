"""The wall around the page: whose requests are heard, what they may reach, what replies may load."""

from __future__ import annotations

import re
from collections.abc import Iterable
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE = "sandbox_session"
_COOKIE_SHAPE = re.compile(r"[A-Za-z0-9._~-]{16,200}")

CONTENT_POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self' 'unsafe-inline'",  # the page's style sheets are made in the browser (emotion)
        "img-src 'self' data: blob:",
        "font-src 'self' data:",
        "connect-src 'self'",
        "manifest-src 'self'",
        "object-src 'none'",
        "frame-src 'none'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
        "form-action 'self'",
    ]
)
_HEADERS = {
    "content-security-policy": CONTENT_POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}
_FORMS = frozenset({"/signin", "/signout"})
"""Pages with a form: under ``no-referrer`` a browser would send it with the origin ``null``."""
_FOR_ALL = _FORMS | {"/healthz", "/favicon.svg"}
_ASSETS = "/static/"
"""Paths that need no session: they hold no data of anybody's."""
_SIGNED_IN = frozenset({"/_stcore/health", "/_stcore/host-config", "/_stcore/stream"})
_DOWNLOADS = "/media/"


def allowed_hosts(port: int, extra: Iterable[str]) -> frozenset[str]:
    """List what a request may name as its host: this machine's own names, and those given.

    Args:
        port: where the page listens.
        extra: ``name`` for any port, or ``name:port``.
    """
    own = {f"{name}:{port}" for name in ("127.0.0.1", "localhost", "[::1]")}
    return frozenset(own | {name.lower() for name in extra})


def session_of(headers: Headers) -> str | None:
    """Read the session from the cookies, if there is one that looks like one."""
    cookies = SimpleCookie()
    try:
        cookies.load(headers.get("cookie", ""))
    except CookieError:
        return None
    value = cookies[COOKIE].value if COOKIE in cookies else ""
    return value if _COOKIE_SHAPE.fullmatch(value) else None


class Guard:
    """Middleware that turns away what the page must not answer, and closes down what replies may do."""

    def __init__(self, app: ASGIApp, *, hosts: frozenset[str], pages: frozenset[str], index: str) -> None:
        """Stand before an application.

        Args:
            app: what answers the requests that are let through.
            hosts: from `allowed_hosts`.
            pages: paths a person may open.
            index: the document that these paths answer with.
        """
        self._app, self._hosts, self._pages, self._index = app, hosts, pages, index

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, refuse or pass on one request."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        answer = self._refusal(scope) or self._own_answer(scope)
        if scope["type"] == "websocket":
            await (_closed(receive, send) if answer else self._app(scope, receive, send))
            return
        await (answer or self._app)(scope, receive, _closing_down(send, scope["path"]))

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        hosts, origins = headers.getlist("host"), headers.getlist("origin")
        if len(hosts) != 1 or not self._is_ours(hosts[0]):
            return _forbidden(f"this page is not served under the name {_short(hosts)}")
        speaks = scope["type"] == "websocket" or scope["method"] not in ("GET", "HEAD")
        if speaks and origins and not all(self._is_our_origin(origin) for origin in origins):
            return _forbidden(f"this page takes no requests made by {_short(origins)}")
        return None

    def _own_answer(self, scope: Scope) -> Response | None:
        path = scope["path"]
        if path in _FOR_ALL or path.startswith(_ASSETS):
            return None
        is_page = path in self._pages and scope["type"] == "http"
        if not is_page and path not in _SIGNED_IN and not path.startswith(_DOWNLOADS):
            return PlainTextResponse("there is nothing here", HTTPStatus.NOT_FOUND)
        if session_of(Headers(scope=scope)) is None:
            if is_page:
                return RedirectResponse("/signin", HTTPStatus.SEE_OTHER)
            return PlainTextResponse("sign in first", HTTPStatus.UNAUTHORIZED)
        if not is_page:
            return None
        if scope["method"] not in ("GET", "HEAD"):
            return PlainTextResponse("a page can only be read", HTTPStatus.METHOD_NOT_ALLOWED)
        return HTMLResponse(self._index)

    def _is_ours(self, host: str) -> bool:
        name = host.lower()
        return name in self._hosts or re.sub(r":\d{1,5}$", "", name) in self._hosts

    def _is_our_origin(self, origin: str) -> bool:
        try:
            parts = urlsplit(origin)
        except ValueError:
            return False
        return parts.scheme in ("http", "https") and not parts.path and self._is_ours(parts.netloc)


def _short(values: list[str]) -> str:
    shown = re.sub(r"[^\x21-\x7e]", "?", ", ".join(values))[:100]
    return f"'{shown}'; open it as http://127.0.0.1 with its port"


def _forbidden(why: str) -> Response:
    return PlainTextResponse(why, HTTPStatus.FORBIDDEN)


async def _closed(receive: Receive, send: Send) -> None:
    """Refuse a websocket before it is accepted; the server answers 403."""
    await receive()
    await send({"type": "websocket.close", "code": 1008})


def _closing_down(send: Send, path: str) -> Send:
    async def wrapped(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers[name] = value
            if path in _FORMS:
                headers["referrer-policy"] = "same-origin"
            if not path.startswith(_ASSETS):
                headers["cache-control"] = "no-store"
        await send(message)

    return wrapped
