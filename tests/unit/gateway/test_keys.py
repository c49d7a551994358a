from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.database import Database
from sandbox.errors import NotFound, Unauthenticated
from sandbox.gateway.keys import SCHEMA, Keys

pytestmark = pytest.mark.anyio


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database(tmp_path / "gateway.db", (SCHEMA,))
    yield opened
    opened.close()


@pytest.fixture
def keys(database: Database) -> Keys:
    return Keys(database)


async def test_an_issued_key_identifies_its_owner(keys: Keys) -> None:
    issued = await keys.issue(name="laptop", owner="local")
    who = await keys.identify(issued.key)
    assert (who.owner, who.key_id, who.kind, who.name) == ("local", issued.id, "user", "laptop")


async def test_no_part_of_a_secret_is_stored(keys: Keys, tmp_path: Path) -> None:
    issued = await keys.issue(name="laptop", owner="local")
    ticket = await keys.new_ticket("local")
    stored = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert issued.id.encode() in stored
    assert issued.key.split("_", 2)[2].encode() not in stored  # the secret itself may hold an underscore
    assert ticket.ticket.encode() not in stored


@pytest.mark.parametrize("key", ["", "x", "sb_", "sk-123", "sb_000000000000_" + "A" * 43, "sb_é_" + "A" * 43])
async def test_a_key_that_was_never_issued_is_refused(keys: Keys, key: str) -> None:
    with pytest.raises(Unauthenticated):
        await keys.identify(key)


async def test_a_key_with_one_letter_changed_is_refused(keys: Keys) -> None:
    key = (await keys.issue(name="laptop", owner="local")).key
    changed = key[:-1] + ("A" if key[-1] != "A" else "B")
    with pytest.raises(Unauthenticated):
        await keys.identify(changed)


async def test_valid_keys_are_listed_without_their_secrets(keys: Keys) -> None:
    first = await keys.issue(name="laptop", owner="local")
    await keys.issue(name="page", owner="local", kind="session", lifetime_s=-1)
    await keys.issue(name="other", owner="somebody")
    rows = await keys.rows("local")
    assert [(row.id, row.name) for row in rows] == [(first.id, "laptop")]
    assert first.key not in rows[0].model_dump_json()


async def test_a_revoked_key_is_refused_at_once(keys: Keys) -> None:
    issued = await keys.issue(name="laptop", owner="local")
    await keys.revoke(issued.id, "local")
    with pytest.raises(Unauthenticated):
        await keys.identify(issued.key)
    assert await keys.rows("local") == []


async def test_nobody_revokes_the_key_of_somebody_else(keys: Keys) -> None:
    issued = await keys.issue(name="laptop", owner="local")
    with pytest.raises(NotFound):
        await keys.revoke(issued.id, "somebody")
    assert (await keys.identify(issued.key)).owner == "local"


async def test_an_expired_session_is_refused(keys: Keys) -> None:
    issued = await keys.issue(name="page", owner="local", kind="session", lifetime_s=-1)
    with pytest.raises(Unauthenticated):
        await keys.identify(issued.key)


async def test_a_new_operator_key_replaces_the_one_before(keys: Keys) -> None:
    first = await keys.issue(name="command line", owner="local", kind="operator")
    second = await keys.issue(name="command line", owner="local", kind="operator")
    assert (await keys.identify(second.key)).kind == "operator"
    with pytest.raises(Unauthenticated):
        await keys.identify(first.key)


async def test_a_ticket_opens_one_session_and_no_second(keys: Keys) -> None:
    ticket = await keys.new_ticket("local")
    session = await keys.redeem(ticket.ticket)
    assert (await keys.identify(session.key)).kind == "session"
    with pytest.raises(Unauthenticated):
        await keys.redeem(ticket.ticket)


async def test_an_expired_ticket_opens_nothing(keys: Keys, database: Database) -> None:
    ticket = await keys.new_ticket("local")

    def expire(db: sqlite3.Connection) -> None:
        db.execute("UPDATE tickets SET expires_at=0")

    await database.run(expire)
    with pytest.raises(Unauthenticated):
        await keys.redeem(ticket.ticket)
