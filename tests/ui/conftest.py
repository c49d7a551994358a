"""A page in memory: the router, run without a browser against a fake console."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from tests.ui.fake_console import FakeConsole
from ui.parts import connection

APP = Path(connection.__file__).parents[1] / "app.py"


@pytest.fixture
def console() -> Generator[FakeConsole, None, None]:
    """The console that every page of the test talks to."""
    fake = FakeConsole()
    connection.use_console(lambda key: fake)
    yield fake
    connection.use_console(lambda key: FakeConsole())


@pytest.fixture
def page(console: FakeConsole) -> AppTest:
    """The router, not yet run."""
    return AppTest.from_file(str(APP), default_timeout=20)
