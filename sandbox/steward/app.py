"""The steward as an ASGI application: one question, one token."""

from __future__ import annotations

import hmac
from collections.abc import Sequence

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from sandbox.errors import Unauthenticated
from sandbox.steward.keeper import Keeper
from sandbox.wire.fleet import Fleet
from sandbox.wire.openai import error_body


def build(keepers: Sequence[Keeper], token: str) -> Starlette:
    """Answer who knows the token."""

    async def fleet(request: Request) -> Response:
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        if not hmac.compare_digest(given.encode(), token.encode()):
            return JSONResponse(error_body(Unauthenticated("the steward's token is needed", hint="")), status_code=401)
        told = Fleet(models=tuple(keeper.entry() for keeper in keepers))
        return Response(told.model_dump_json(), media_type="application/json", headers={"Cache-Control": "no-store"})

    async def health(_: Request) -> Response:
        return PlainTextResponse("ok")

    return Starlette(routes=[Route("/fleet", fleet), Route("/health", health)])
