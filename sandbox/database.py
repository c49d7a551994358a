"""SQLite files that survive a power cut: write-ahead log, every commit synced."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import anyio
import anyio.to_thread

from sandbox.errors import HomeUnusable

Result = TypeVar("Result")

BUSY_TIMEOUT_S = 5.0


class Database:
    """One file, one writer at a time; work runs in a thread and is committed whole or not at all."""

    def __init__(self, path: Path, migrations: Sequence[str]) -> None:
        """Open or make the file and bring its tables up to date.

        Args:
            path: the file; its folder is made.
            migrations: scripts in order; the file remembers how many it has seen.

        Raises:
            HomeUnusable: it cannot be written, is no database, or is from a newer sandbox.
        """
        self._path = path
        self._turn = anyio.CapacityLimiter(1)
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._connection = sqlite3.connect(
                path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
            )
            self._connection.row_factory = sqlite3.Row
            for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
                self._connection.execute(f"PRAGMA {pragma}")
            self._migrate(migrations)
            path.chmod(0o600)
        except (OSError, sqlite3.Error) as error:
            raise HomeUnusable(
                f"{path} cannot be opened for writing: {error}",
                hint=f"mend the rights of {path.parent} or free some space, or choose another folder: SANDBOX_HOME=…",
            ) from error

    def _migrate(self, migrations: Sequence[str]) -> None:
        seen = int(self._connection.execute("PRAGMA user_version").fetchone()[0])
        if seen > len(migrations):
            raise HomeUnusable(
                f"{self._path} is of version {seen}; this sandbox knows {len(migrations)}",
                hint="use the newer sandbox that wrote it, or choose another folder: SANDBOX_HOME=…",
            )
        for number, script in enumerate(migrations[seen:], start=seen + 1):
            self._connection.executescript(f"BEGIN IMMEDIATE;\n{script}\nPRAGMA user_version={number};\nCOMMIT;")

    def work(self, job: Callable[[sqlite3.Connection], Result]) -> Result:
        """Run a job in one transaction; what it raises undoes all of it."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            result = job(self._connection)
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")
        return result

    async def run(self, job: Callable[[sqlite3.Connection], Result]) -> Result:
        """Run a job in one transaction, off the event loop, after those before it."""
        return await anyio.to_thread.run_sync(self.work, job, limiter=self._turn)

    def close(self) -> None:
        """Give the file back."""
        self._connection.close()
