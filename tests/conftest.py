"""What all tests share: no test sees the machine's own data folder or settings."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("SANDBOX_") and name != "SANDBOX_CACHE":
            monkeypatch.delenv(name)
    monkeypatch.setenv("SANDBOX_HOME", str(tmp_path / "home"))
