"""Errors as HTTP replies."""

from __future__ import annotations

from starlette.responses import JSONResponse

from sandbox.errors import SandboxError
from sandbox.wire.openai import error_body

RETRY_AFTER_S = 2


def error_reply(error: SandboxError) -> JSONResponse:
    """Write an error with its status; the hint stays with the operator."""
    headers = {"Cache-Control": "no-store"}
    if error.http_status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if error.http_status in (429, 503):
        headers["Retry-After"] = str(RETRY_AFTER_S)
    return JSONResponse(error_body(error), status_code=error.http_status, headers=headers)


def internal_error() -> SandboxError:
    """Make the error that a bug is answered with: it says nothing of the inside."""
    return SandboxError("the gateway failed; its log says why", hint="sandbox logs gateway")
