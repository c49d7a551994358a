"""``sandbox key``: make, list and revoke keys."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from typing import Annotated

import typer

from sandbox.cli import show
from sandbox.errors import InvalidRequest
from sandbox.wiring import host

app = typer.Typer(help="Make, list and revoke API keys.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]


@app.command("new")
def new(name: Annotated[str, typer.Argument(help="What or whom it is for.")], json: Json = False) -> None:
    """Make a key. It is shown this once."""
    if not 0 < len(name) <= 80:
        raise InvalidRequest(
            f"a key's name has 1 to 80 characters, this one {len(name)}", hint="sandbox key new laptop"
        )
    with contextlib.closing(host().world.client()) as client:
        issued = client.new_key(name)
    if json:
        show.as_json({"id": issued.id, "name": issued.name, "key": issued.key})
    else:
        show.line(issued.key)


@app.command("list")
def list_(json: Json = False) -> None:
    """List the keys that are valid, without their secrets."""
    with contextlib.closing(host().world.client()) as client:
        rows = client.keys()
    if json:
        show.as_json({"keys": [row.model_dump() for row in rows]})
    else:
        show.table(
            [
                {
                    "name": row.name,
                    "id": row.id,
                    "kind": row.kind,
                    "made": _day(row.created_at),
                    "used": _day(row.last_used_at),
                }
                for row in rows
            ]
        )


@app.command("revoke")
def revoke(key_id: Annotated[str, typer.Argument(help="Its id, from: sandbox key list")]) -> None:
    """Make a key invalid at once."""
    with contextlib.closing(host().world.client()) as client:
        client.revoke_key(key_id)


def _day(moment: float | None) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M") if moment else "never"
