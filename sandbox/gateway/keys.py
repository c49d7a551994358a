"""Who may come in: keys, sessions and one-time tickets, stored as digests only.

A key reads ``sb_<id>_<secret>``: the id finds the row, the secret is compared in constant time.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import sqlite3
import time
from dataclasses import dataclass
from typing import Literal

from sandbox.database import Database
from sandbox.errors import ConfigError, NotFound, Unauthenticated
from sandbox.wire.console import IssuedKey, KeyRow, Ticket

KeyKind = Literal["user", "session", "operator"]

SESSION_S = 7 * 24 * 3600
TICKET_S = 15 * 60
LAST_USED_GRAIN_S = 60
"""How stale ``last_used_at`` may be: one write a minute instead of one a request."""

KEY = re.compile(r"^sb_([0-9a-f]{12})_([A-Za-z0-9_-]{43})$")

SCHEMA = """
    CREATE TABLE keys (
      id TEXT PRIMARY KEY,
      kind TEXT NOT NULL,
      name TEXT NOT NULL,
      owner TEXT NOT NULL,
      secret_sha256 BLOB NOT NULL,
      created_at REAL NOT NULL,
      expires_at REAL,
      last_used_at REAL,
      revoked_at REAL
    ) STRICT;
    CREATE TABLE tickets (
      ticket_sha256 BLOB PRIMARY KEY,
      owner TEXT NOT NULL,
      expires_at REAL NOT NULL
    ) STRICT;
"""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who is asking."""

    owner: str
    key_id: str
    kind: KeyKind
    name: str


class Keys:
    """Keys, sessions and tickets in the gateway's database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def issue(
        self, *, name: str, owner: str, kind: KeyKind = "user", lifetime_s: float | None = None
    ) -> IssuedKey:
        """Make a key; what is returned is the only copy of its secret."""
        key_id, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
        return await self._put(key_id, secret, name=name, owner=owner, kind=kind, lifetime_s=lifetime_s)

    async def admit(self, key: str, *, name: str, owner: str, kind: KeyKind) -> IssuedKey:
        """Take a key that was made elsewhere.

        Raises:
            ConfigError: it is not of the form of our keys.
        """
        match = KEY.fullmatch(key)
        if match is None:
            raise ConfigError(
                f"the {kind} key given is not of the form sb_<12 hexadecimal digits>_<43 characters of base64url>",
                hint="make up gives the gateway one of its own",
            )
        return await self._put(match[1], match[2], name=name, owner=owner, kind=kind, lifetime_s=None)

    async def _put(
        self, key_id: str, secret: str, *, name: str, owner: str, kind: KeyKind, lifetime_s: float | None
    ) -> IssuedKey:
        now = time.time()
        expires_at = now + lifetime_s if lifetime_s is not None else None

        def job(db: sqlite3.Connection) -> None:
            if kind == "operator":  # the one that the command line uses: the newest replaces all before
                db.execute("DELETE FROM keys WHERE kind='operator'")
            db.execute("DELETE FROM keys WHERE kind='session' AND expires_at < ?", (now,))
            db.execute(
                "INSERT INTO keys (id, kind, name, owner, secret_sha256, created_at, expires_at) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                (key_id, kind, name, owner, _digest(secret), now, expires_at),
            )

        await self._database.run(job)
        return IssuedKey(
            id=key_id,
            name=name,
            kind=kind,
            owner=owner,
            created_at=now,
            expires_at=expires_at,
            key=f"sb_{key_id}_{secret}",
        )

    async def identify(self, key: str) -> Identity:
        """Say whose key this is.

        Raises:
            Unauthenticated: it is unknown, expired or revoked; which of these is not told.
        """
        match = KEY.fullmatch(key)
        key_id, secret = match.groups() if match else ("", "")
        now = time.time()

        def job(db: sqlite3.Connection) -> sqlite3.Row | None:
            row: sqlite3.Row | None = db.execute("SELECT * FROM keys WHERE id=?", (key_id,)).fetchone()
            if row is not None and (row["last_used_at"] or 0) < now - LAST_USED_GRAIN_S:
                db.execute("UPDATE keys SET last_used_at=? WHERE id=?", (now, key_id))
            return row

        row = await self._database.run(job)
        expected = row["secret_sha256"] if row is not None else bytes(32)
        is_same = hmac.compare_digest(_digest(secret), expected)
        if row is None or not is_same or row["revoked_at"] is not None or (row["expires_at"] or now) < now:
            raise Unauthenticated(
                "the API key is not valid: it is unknown, expired or revoked", hint="make one: sandbox key new NAME"
            )
        return Identity(owner=row["owner"], key_id=row["id"], kind=row["kind"], name=row["name"])

    async def rows(self, owner: str) -> list[KeyRow]:
        """List a person's keys that are still valid, newest first."""

        def job(db: sqlite3.Connection) -> list[sqlite3.Row]:
            return db.execute(
                "SELECT id, kind, name, owner, created_at, expires_at, last_used_at FROM keys "
                "WHERE owner=? AND kind!='operator' AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at >= ?) "
                "ORDER BY created_at DESC",
                (owner, time.time()),
            ).fetchall()

        return [KeyRow.model_validate(dict(row)) for row in await self._database.run(job)]

    async def revoke(self, key_id: str, owner: str) -> None:
        """Make a key invalid at once.

        Raises:
            NotFound: this person has no such key.
        """

        def job(db: sqlite3.Connection) -> int:
            return db.execute(
                "UPDATE keys SET revoked_at=? WHERE id=? AND owner=? AND kind!='operator' AND revoked_at IS NULL",
                (time.time(), key_id, owner),
            ).rowcount

        if await self._database.run(job) == 0:
            raise NotFound(f"there is no key {key_id[:40]!r}", hint="list them: sandbox key list")

    async def new_ticket(self, owner: str) -> Ticket:
        """Make a one-time sign-in."""
        ticket, now = secrets.token_urlsafe(24), time.time()

        def job(db: sqlite3.Connection) -> None:
            db.execute("DELETE FROM tickets WHERE expires_at < ?", (now,))
            db.execute("INSERT INTO tickets VALUES (?, ?, ?)", (_digest(ticket), owner, now + TICKET_S))

        await self._database.run(job)
        return Ticket(ticket=ticket, expires_at=now + TICKET_S)

    async def redeem(self, ticket: str) -> IssuedKey:
        """Exchange a ticket for a session; it works once.

        Raises:
            Unauthenticated: it is unknown, used or expired.
        """

        def job(db: sqlite3.Connection) -> sqlite3.Row | None:
            row: sqlite3.Row | None = db.execute(
                "DELETE FROM tickets WHERE ticket_sha256=? RETURNING owner, expires_at", (_digest(ticket),)
            ).fetchone()
            return row

        row = await self._database.run(job)
        if row is None or row["expires_at"] < time.time():
            raise Unauthenticated("the sign-in link has been used or has expired", hint="get a new one: make up")
        return await self.open_session(row["owner"])

    async def open_session(self, owner: str) -> IssuedKey:
        """Make a session for a person."""
        return await self.issue(name="page", owner=owner, kind="session", lifetime_s=SESSION_S)


def _digest(secret: str) -> bytes:
    # a plain digest is enough: the secrets are 24 and 32 random bytes, there is nothing to guess
    return hashlib.sha256(secret.encode()).digest()
