"""Runs the gateway: ``python -m sandbox.gateway``, its settings from the environment, its place from flags."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from sandbox import config
from sandbox.audit import Records
from sandbox.database import Database
from sandbox.engine.connect import connect
from sandbox.engine.protocol import Deadlines
from sandbox.errors import ConfigError, SandboxError
from sandbox.gateway import chats, keys
from sandbox.gateway.app import build
from sandbox.gateway.door import Door
from sandbox.gateway.engines import Engines, HttpSteward, ReadContact, contact_at, contact_file
from sandbox.gateway.metrics import Metrics
from sandbox.gateway.pipeline import compose, patient, recorded
from sandbox.home import Home, write_private

log = logging.getLogger(__name__)

OWNER = "local"
"""The one person of a sandbox on a laptop."""

MIGRATIONS = (keys.SCHEMA + chats.SCHEMA,)


def assemble(settings: config.Settings, asked: argparse.Namespace) -> ASGIApp:
    """Put the gateway of this machine, or of this pod, together.

    Args:
        asked: flags as ``parse`` reads them.
    """
    home = Home(settings.home)
    database = Database(home.gateway_db, MIGRATIONS)
    metrics = Metrics()
    records = Records(home.records_db)
    deadlines = Deadlines(between_events_s=settings.engine.silence_timeout_s)
    engines = Engines(HttpSteward(_contact(asked, home)), lambda address: connect(address, deadlines))

    door = Door(
        keys=keys.Keys(database),
        chats=chats.Chats(database),
        records=records,
        engines=engines,
        metrics=metrics,
        way=compose([recorded(records, metrics), patient(engines.find_anew)]),
        backend="local" if settings.backend == "auto" else settings.backend,
        page_url=settings.page_url,
        api_url=settings.api_url,
    )

    async def have_operator_key() -> None:
        if asked.operator_key_file is not None:
            given = _read(asked.operator_key_file)
            await door.keys.admit(given, name="command line", owner=OWNER, kind="operator")
            return
        issued = await door.keys.issue(name="command line", owner=OWNER, kind="operator")
        write_private(home.operator_key, issued.key)

    hosts = _hosts(settings.api.port, asked.port or settings.api.port, asked.allowed_host)
    return build(door, hosts=hosts, max_body_bytes=settings.api.max_body_bytes, on_start=[have_operator_key])


def _hosts(published: int, listening: int, more: Sequence[str]) -> set[str]:
    """Name every Host that is heard: this machine's own under both ports, since probes use the listening one."""
    own = {f"{name}:{port}" for name in ("127.0.0.1", "localhost", "[::1]") for port in (published, listening)}
    return own | {name.lower() for name in more}


def _contact(asked: argparse.Namespace, home: Home) -> ReadContact:
    if asked.steward_url is not None and asked.steward_token_file is not None:
        return contact_at(asked.steward_url.rstrip("/"), asked.steward_token_file)
    return contact_file(home.steward_contact)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error}", hint="mend --operator-key-file") from error


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the flags; without any, the gateway is this machine's own."""
    parser = argparse.ArgumentParser(prog="python -m sandbox.gateway", allow_abbrev=False)
    parser.add_argument("--listen", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, help="port to listen on (default: the setting api.port)")
    parser.add_argument(
        "--allowed-host",
        action="append",
        default=[],
        metavar="NAME:PORT",
        help="another name that requests may call it by; may be repeated",
    )
    parser.add_argument("--operator-key-file", type=Path, help="take the command line's key from there, and make none")
    parser.add_argument("--steward-url", help="where the steward listens (default: as it says in the data folder)")
    parser.add_argument("--steward-token-file", type=Path, help="with --steward-url: the token that it asks for")
    asked = parser.parse_args(argv)
    if (asked.steward_url is None) != (asked.steward_token_file is None):
        parser.error("--steward-url and --steward-token-file go together")
    return asked


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until told to stop."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    asked = parse(argv)
    try:
        settings = config.load().settings
        app = assemble(settings, asked)
    except SandboxError as error:
        log.error("%s — %s", error.message, error.hint)
        return error.exit_code
    uvicorn.run(
        app,
        host=asked.listen,
        port=asked.port or settings.api.port,
        limit_concurrency=settings.api.max_requests,
        access_log=False,
        server_header=False,
        log_config=None,
        timeout_graceful_shutdown=5,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
