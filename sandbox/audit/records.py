"""One row per request: begun and on disk before the first token leaves, ended before the last one does.

State machine of a row::

    begun ──► done          the answer is complete
          ├─► failed        the engine, or a stage before it, refused or broke; error_code says which
          ├─► cancelled     the client went away or pressed Stop
          └─► interrupted   the gateway died; found and marked at its next start
"""

from __future__ import annotations

import secrets
import sqlite3
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from sandbox.database import Database
from sandbox.errors import RecordUnavailable

EndState = Literal["done", "failed", "cancelled"]
State = Literal["begun", "done", "failed", "cancelled", "interrupted"]

MIGRATIONS = (
    """
    CREATE TABLE records (
      id TEXT PRIMARY KEY,
      begun_at REAL NOT NULL,
      ended_at REAL,
      state TEXT NOT NULL,
      owner TEXT NOT NULL,
      key_id TEXT NOT NULL,
      path TEXT NOT NULL,
      model TEXT NOT NULL,
      model_sha256 TEXT NOT NULL,
      engine TEXT NOT NULL,
      chat_id TEXT,
      prompt_sha256 TEXT NOT NULL,
      sampling TEXT NOT NULL,
      answer_sha256 TEXT,
      prompt_tokens INTEGER,
      completion_tokens INTEGER,
      first_token_s REAL,
      duration_s REAL,
      finish_reason TEXT,
      error_code TEXT
    ) STRICT;
    CREATE INDEX records_by_time ON records (begun_at);
    """,
)


@dataclass(frozen=True, slots=True)
class Begun:
    """What is known before the engine is asked."""

    owner: str
    key_id: str
    path: str
    """Where the request came in: ``/v1/chat/completions``."""
    model: str
    model_sha256: str
    engine: str
    prompt_sha256: str
    """SHA-256 of the canonical JSON of the prompt, hexadecimal."""
    sampling: str
    """Canonical JSON of the sampling parameters."""
    chat_id: str | None = None


@dataclass(frozen=True, slots=True)
class Ended:
    """What is known when the answer is over, complete or not."""

    state: EndState
    answer_sha256: str
    """SHA-256 of the UTF-8 text that was sent, complete or not, hexadecimal."""
    duration_s: float
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    first_token_s: float | None = None
    finish_reason: str | None = None
    error_code: str | None = None


@dataclass(frozen=True, slots=True)
class RecordRow:
    """One row as it is read back."""

    id: str
    begun_at: float
    ended_at: float | None
    state: State
    owner: str
    key_id: str
    path: str
    model: str
    model_sha256: str
    engine: str
    chat_id: str | None
    prompt_sha256: str
    sampling: str
    answer_sha256: str | None
    prompt_tokens: int | None
    completion_tokens: int | None
    first_token_s: float | None
    duration_s: float | None
    finish_reason: str | None
    error_code: str | None


class Records:
    """The record of this sandbox, in one SQLite file."""

    def __init__(self, path: Path) -> None:
        self._database = Database(path, MIGRATIONS)

    def close(self) -> None:
        """Give the file back."""
        self._database.close()

    async def recover(self) -> int:
        """Mark what a killed gateway left open; return how many rows."""

        def job(db: sqlite3.Connection) -> int:
            return db.execute("UPDATE records SET state='interrupted' WHERE state='begun'").rowcount

        return await self._database.run(job)

    async def begin(self, begun: Begun) -> str:
        """Put a request on record, synced to disk; return the row's id.

        Raises:
            RecordUnavailable: it could not be written; the request must not be answered.
        """
        record_id = f"rec_{time.time_ns() // 1_000_000:012x}{secrets.token_hex(6)}"
        values = {"id": record_id, "begun_at": time.time(), "state": "begun", **asdict(begun)}

        def job(db: sqlite3.Connection) -> None:
            names = ", ".join(values)
            marks = ", ".join(f":{name}" for name in values)
            db.execute(f"INSERT INTO records ({names}) VALUES ({marks})", values)  # noqa: S608  # names are ours

        try:
            await self._database.run(job)
        except sqlite3.Error as error:
            raise _unwritable(error) from error
        return record_id

    async def end(self, record_id: str, ended: Ended) -> None:
        """Complete a row, synced to disk.

        Raises:
            RecordUnavailable: it could not be written.
        """
        values = {"ended_at": time.time(), **asdict(ended)}

        def job(db: sqlite3.Connection) -> None:
            sets = ", ".join(f"{name}=:{name}" for name in values)
            db.execute(
                f"UPDATE records SET {sets} WHERE id=:id AND state='begun'",  # noqa: S608  # names are ours
                {**values, "id": record_id},
            )

        try:
            await self._database.run(job)
        except sqlite3.Error as error:
            raise _unwritable(error) from error

    async def count(self) -> int:
        """Count the requests on record."""

        def job(db: sqlite3.Connection) -> int:
            return int(db.execute("SELECT count(*) FROM records").fetchone()[0])

        return await self._database.run(job)

    async def recent(self, limit: int = 50) -> list[RecordRow]:
        """Read the newest rows first."""

        def job(db: sqlite3.Connection) -> list[RecordRow]:
            rows = db.execute("SELECT * FROM records ORDER BY begun_at DESC, id DESC LIMIT ?", (limit,)).fetchall()
            return [RecordRow(**dict(row)) for row in rows]

        return await self._database.run(job)


def _unwritable(error: sqlite3.Error) -> RecordUnavailable:
    return RecordUnavailable(
        f"the request could not be put on record ({error}), so it is not answered",
        hint="free some space or mend the rights of the data folder: sandbox doctor",
    )
