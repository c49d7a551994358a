"""What every request passes first: Host, Origin, length, and headers for browsers."""

from __future__ import annotations

from collections.abc import Iterable

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sandbox.errors import Forbidden, TooLarge
from sandbox.gateway.replies import error_reply

DRAIN_FACTOR = 16
"""How many times the longest body is read and thrown away before the connection is cut."""

SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
}


class Front:
    """ASGI middleware: refuses foreign hosts and origins (DNS rebinding), and bodies that are too long."""

    def __init__(self, app: ASGIApp, *, hosts: Iterable[str], max_body_bytes: int) -> None:
        """Guard an application.

        Args:
            app: what is guarded.
            hosts: ``name:port`` as they may stand in Host; the same with ``http://`` may stand in Origin.
            max_body_bytes: longest body that is taken.
        """
        self._app = app
        self._hosts = frozenset(hosts)
        self._origins = frozenset(f"http://{host}" for host in self._hosts)
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let one request in, or say why not."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refusal = self._refusal(headers)
        guarded = _with_headers(send)
        if refusal is not None:
            if isinstance(refusal, TooLarge):
                await self._drain(receive)
            await error_reply(refusal)(scope, receive, guarded)
            return
        await self._app(scope, self._counted(receive), guarded)

    def _refusal(self, headers: Headers) -> Forbidden | TooLarge | None:
        host = headers.get("host", "")
        if host.lower() not in self._hosts:
            return Forbidden(
                f"the Host header names {host[:100]!r}, which is not this gateway", hint="use the address of: make up"
            )
        origin = headers.get("origin")
        if origin is not None and origin.lower() not in self._origins:
            return Forbidden(f"requests from the origin {origin[:100]!r} are not taken", hint="use the page instead")
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > self._max_body_bytes:
            return self._too_large()
        return None

    def _too_large(self) -> TooLarge:
        return TooLarge(
            f"the request body is longer than {self._max_body_bytes} bytes",
            hint="send less, or raise SANDBOX_API_MAX_BODY_BYTES and run make up",
        )

    async def _drain(self, receive: Receive) -> None:
        """Read what a client insists on sending first, within bounds, so that it sees the answer."""
        seen_bytes = 0
        while seen_bytes < DRAIN_FACTOR * self._max_body_bytes:
            message = await receive()
            seen_bytes += len(message.get("body", b""))
            if not message.get("more_body", False):
                return

    def _counted(self, receive: Receive) -> Receive:
        """Count a body without a declared length too."""
        seen_bytes = 0

        async def counted() -> Message:
            nonlocal seen_bytes
            message = await receive()
            seen_bytes += len(message.get("body", b""))
            if seen_bytes > self._max_body_bytes:
                raise self._too_large()
            return message

        return counted


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in SECURITY_HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return sending
