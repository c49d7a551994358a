"""The data folder: what lies where, and files that only their owner may read."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Home:
    """The layout of the data folder.

    blobs/            model files by digest
    state/            what must never be lost: chats, keys, the record
    run/              what is true only while the sandbox runs; gone after ``down``
    logs/             one file a process
    """

    path: Path

    @property
    def gateway_db(self) -> Path:
        """Keys, tickets and chats."""
        return self.path / "state" / "gateway.db"

    @property
    def records_db(self) -> Path:
        """The record."""
        return self.path / "state" / "records.db"

    @property
    def run(self) -> Path:
        """What is true only while the sandbox runs."""
        return self.path / "run"

    @property
    def logs(self) -> Path:
        """One file a process."""
        return self.path / "logs"

    @property
    def lock(self) -> Path:
        """Held by the one command that changes things."""
        return self.path / "lock"

    @property
    def operator_key(self) -> Path:
        """The key of the command line, new at each start of the gateway."""
        return self.run / "operator.key"

    @property
    def steward_contact(self) -> Path:
        """Where the steward listens, and its token."""
        return self.run / "steward.json"

    @property
    def kubeconfig(self) -> Path:
        """How the cluster of this data folder is reached; the user's own kubeconfig is never touched."""
        return self.run / "kubeconfig"

    @property
    def cluster(self) -> Path:
        """What the cluster was made with; there only once it was made whole."""
        return self.run / "cluster.json"

    def process(self, name: str) -> Path:
        """Which process ``name`` is."""
        return self.run / f"{name}.process.json"

    def log(self, name: str) -> Path:
        """What process ``name`` has said."""
        return self.logs / f"{name}.log"


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read; it appears whole or not at all."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)  # made with mode 0600
    part = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
