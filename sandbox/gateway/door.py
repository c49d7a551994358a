"""What the endpoints share: the parts of a gateway, and who is asking."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from starlette.requests import Request

from sandbox.audit import Records
from sandbox.errors import Unauthenticated
from sandbox.gateway.chats import Chats
from sandbox.gateway.engines import Engines
from sandbox.gateway.keys import Identity, Keys
from sandbox.gateway.metrics import Metrics
from sandbox.gateway.observed import Watch
from sandbox.gateway.pipeline import Ask, Way
from sandbox.wire.neutral import Question


@dataclass(slots=True)
class Door:
    """The parts of one gateway, put together once at its start."""

    keys: Keys
    chats: Chats
    records: Records
    engines: Engines
    metrics: Metrics
    way: Way
    backend: str
    page_url: str
    api_url: str
    started: float = field(default_factory=time.monotonic)
    watch: Watch = field(init=False)

    def __post_init__(self) -> None:
        """Have its engines watched."""
        self.watch = Watch(self.engines, self.metrics, backend=self.backend)

    async def identify(self, request: Request) -> Identity:
        """Say who is asking.

        Raises:
            Unauthenticated: no key, or not a valid one.
        """
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not key:
            raise Unauthenticated(
                "an API key is needed: Authorization: Bearer sb_…", hint="make one: sandbox key new NAME"
            )
        return await self.keys.identify(key.strip())

    async def ask(self, who: Identity, question: Question, path: str, chat_id: str | None = None) -> Ask:
        """Find the engine of a question and put both on the way.

        Raises:
            UnknownModel, EngineUnavailable: nobody can answer it.
        """
        served = await self.engines.find(question.model)
        return Ask(
            who=who,
            question=question,
            path=path,
            engine=served.engine,
            engine_kind=served.row.engine,
            model_sha256=served.row.sha256,
            chat_id=chat_id,
        )


def door_of(request: Request) -> Door:
    """Find the parts of the gateway that a request came to."""
    door: Door = request.app.state.door
    return door
