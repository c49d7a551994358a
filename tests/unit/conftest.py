"""Unit tests talk to nobody: a connection to anywhere is an error."""

from __future__ import annotations

import socket
from typing import Any

import pytest


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.socket.connect

    def connect(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6):
            raise AssertionError(f"a unit test connects to {address}")
        real(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect)
