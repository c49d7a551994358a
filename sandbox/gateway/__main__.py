"""Runs the gateway: ``python -m sandbox.gateway``, its settings from the environment."""

from __future__ import annotations

import logging

import uvicorn
from starlette.types import ASGIApp

from sandbox import config
from sandbox.audit import Records
from sandbox.database import Database
from sandbox.engine.connect import connect
from sandbox.engine.protocol import Deadlines
from sandbox.gateway import chats, keys
from sandbox.gateway.app import build
from sandbox.gateway.door import Door
from sandbox.gateway.engines import Engines, HttpSteward
from sandbox.gateway.metrics import Metrics
from sandbox.gateway.pipeline import compose, patient, recorded
from sandbox.home import Home, write_private

OWNER = "local"
"""The one person of a sandbox on a laptop."""

MIGRATIONS = (keys.SCHEMA + chats.SCHEMA,)


def assemble(settings: config.Settings) -> ASGIApp:
    """Put the gateway of this machine together."""
    home = Home(settings.home)
    database = Database(home.gateway_db, MIGRATIONS)
    metrics = Metrics()
    records = Records(home.records_db)
    deadlines = Deadlines(between_events_s=settings.engine.silence_timeout_s)
    engines = Engines(HttpSteward(home.steward_contact), lambda address: connect(address, deadlines))

    door = Door(
        keys=keys.Keys(database),
        chats=chats.Chats(database),
        records=records,
        engines=engines,
        metrics=metrics,
        way=compose([recorded(records, metrics), patient(engines.find_anew)]),
        backend="local",
        page_url=settings.page_url,
        api_url=settings.api_url,
    )

    async def hand_out_operator_key() -> None:
        issued = await door.keys.issue(name="command line", owner=OWNER, kind="operator")
        write_private(home.operator_key, issued.key)

    names = [f"{name}:{settings.api.port}" for name in ("127.0.0.1", "localhost", "[::1]")]
    return build(door, hosts=names, max_body_bytes=settings.api.max_body_bytes, on_start=[hand_out_operator_key])


def main() -> None:
    """Serve until told to stop."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    settings = config.load().settings
    uvicorn.run(
        assemble(settings),
        host="127.0.0.1",
        port=settings.api.port,
        limit_concurrency=settings.api.max_requests,
        access_log=False,
        server_header=False,
        log_config=None,
        timeout_graceful_shutdown=5,
    )


if __name__ == "__main__":
    main()
