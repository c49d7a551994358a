"""A page in memory: the router, run without a browser against a fake console."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest
from streamlit.runtime.pages_manager import PagesManager
from streamlit.testing.v1 import AppTest, app_test

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


class RouterOnly(PagesManager):
    """Leaves every run to the router, as the server does; AppTest would run a file of the folder “pages” alone."""


@pytest.fixture(autouse=True)
def _routed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PagesManager, "uses_pages_directory", False)
    monkeypatch.setattr(app_test, "PagesManager", RouterOnly)  # it sets the flag back on whatever has this name


@pytest.fixture
def page(console: FakeConsole) -> AppTest:
    """The router, not yet run."""
    return AppTest.from_file(str(APP), default_timeout=20)
