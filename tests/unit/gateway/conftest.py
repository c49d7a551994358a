"""A whole gateway in one process: real pipeline, real databases, a fake steward and a fake engine."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path

import anyio
import httpx
import pytest
from starlette.types import ASGIApp

from sandbox.audit import Records
from sandbox.database import Database
from sandbox.errors import NotRunning
from sandbox.gateway import chats, keys
from sandbox.gateway.app import build
from sandbox.gateway.door import Door
from sandbox.gateway.engines import Engines
from sandbox.gateway.metrics import Metrics
from sandbox.gateway.pipeline import compose, patient, recorded
from sandbox.wire.console import ModelRow, ModelState
from sandbox.wire.fleet import Address, Entry, Fleet
from sandbox.wire.observed import Observed
from tests.fakes import FakeEngine

MODEL = "fake-model"
HOST = "127.0.0.1:8502"
ROW = ModelRow(
    id=MODEL,
    title="Fake",
    state="ready",
    licence="CC0-1.0",
    sha256="a" * 64,
    size_bytes=1,
    context_tokens=1000,
    slots=1,
    threads=1,
    engine="fake",
)
ADDRESS = Address(kind="llama-server", url="http://127.0.0.1:1", model_name=MODEL, key="k", context_tokens=1000)


class FakeSteward:
    """Tells one model in the state that the test sets."""

    def __init__(self) -> None:
        self.state: ModelState = "ready"
        self.is_away = False
        self.hangs = False
        self.observing = Observed(backend="local")
        self.asked_since: list[float] = []

    async def fleet(self) -> Fleet:
        if self.is_away:
            raise NotRunning("away", hint="make up")
        row = ROW.model_copy(update={"state": self.state})
        return Fleet(models=(Entry(row=row, address=ADDRESS if self.state == "ready" else None),))

    async def observed(self, since: float) -> Observed:
        self.asked_since.append(since)
        if self.hangs:
            await anyio.sleep_forever()
        if self.is_away:
            raise NotRunning("the steward does not answer: away", hint="make up")
        history = tuple(sample for sample in self.observing.history if sample.at > since)
        return self.observing.model_copy(update={"history": history})

    async def close(self) -> None:
        return None


@dataclass
class Gateway:
    """What a test looks at and turns."""

    door: Door
    app: ASGIApp
    engine: FakeEngine
    steward: FakeSteward
    http: httpx.AsyncClient
    key: str


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncGenerator[Gateway, None]:
    engine, steward, metrics = FakeEngine(), FakeSteward(), Metrics()
    database = Database(tmp_path / "gateway.db", (keys.SCHEMA + chats.SCHEMA,))
    records = Records(tmp_path / "records.db")
    engines = Engines(steward, lambda _: engine)

    door = Door(
        keys=keys.Keys(database),
        chats=chats.Chats(database),
        records=records,
        engines=engines,
        metrics=metrics,
        way=compose([recorded(records, metrics), patient(engines.find_anew)]),
        backend="local",
        page_url="http://127.0.0.1:8501",
        api_url="http://127.0.0.1:8502/v1",
    )
    app = build(door, hosts=[HOST], max_body_bytes=10_000)
    key = (await door.keys.issue(name="test", owner="local")).key
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx.AsyncClient(
        transport=transport, base_url=f"http://{HOST}", headers={"Authorization": f"Bearer {key}"}
    ) as http:
        yield Gateway(door, app, engine, steward, http, key)
    records.close()
    database.close()
