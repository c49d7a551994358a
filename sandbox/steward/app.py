"""The steward as an ASGI application: two questions, one token."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Sequence

from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from sandbox.errors import InvalidRequest, SandboxError, Unauthenticated
from sandbox.steward.observe import Kept, Lookout
from sandbox.wire.fleet import Fleet
from sandbox.wire.observed import moment
from sandbox.wire.openai import error_body


def build(keepers: Sequence[Kept], read_token: Callable[[], str], lookout: Lookout) -> Starlette:
    """Answer who knows the token, which is read at every question: another one may be in its file by then."""

    def check(request: Request) -> None:
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        if not hmac.compare_digest(given.encode(), read_token().encode()):
            raise Unauthenticated("the steward's token is needed", hint="")

    async def fleet(request: Request) -> Response:
        check(request)
        return _reply(Fleet(models=tuple(keeper.entry() for keeper in keepers)))

    async def observed(request: Request) -> Response:
        check(request)
        return _reply(await lookout.observed(_since(request)))

    async def health(_: Request) -> Response:
        return PlainTextResponse("ok")

    routes = [Route("/fleet", fleet), Route("/observed", observed), Route("/health", health)]
    return Starlette(routes=routes, exception_handlers={SandboxError: _refuse})


def _since(request: Request) -> float:
    try:
        return moment(request.query_params.get("since", "0"))
    except ValueError as error:
        raise InvalidRequest(f"since: {error}", hint="?since=0") from error


def _reply(body: BaseModel) -> Response:
    return Response(body.model_dump_json(), media_type="application/json", headers={"Cache-Control": "no-store"})


async def _refuse(_: Request, error: Exception) -> Response:
    assert isinstance(error, SandboxError)  # noqa: S101  # registered for that class alone
    return JSONResponse(error_body(error), status_code=error.http_status)
