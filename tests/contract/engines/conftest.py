"""One engine of each kind for the whole session."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from sandbox.engine.protocol import Engine, EngineKind
from sandbox.errors import EngineNotFound
from tests.contract.engines import harness
from tests.contract.engines.harness import Running

Start = Callable[[EngineKind], Running]


@pytest.fixture(scope="session")
def start(cache: Path, model_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Start real engines; all are ended with the session."""
    with ExitStack() as cleanup:

        def begin(kind: EngineKind) -> Running:
            folder = tmp_path_factory.mktemp(kind)
            try:
                return harness.start(kind, cache=cache, model_path=model_path, folder=folder, cleanup=cleanup)
            except EngineNotFound as error:
                if os.environ.get("CI") == "true":
                    pytest.fail(f"continuous integration has no {kind}: {error.message}")
                pytest.skip(f"no {kind} here; `make engines` builds or finds it: {error.message}")

        yield begin


@pytest.fixture(
    scope="session",
    params=["fake", *(pytest.param(kind, marks=pytest.mark.engine(kind)) for kind in harness.REAL_KINDS)],
)
def running(request: pytest.FixtureRequest) -> Running:
    """A running engine of every kind, one after the other."""
    if request.param == "fake":
        return harness.fake()
    begin: Start = request.getfixturevalue("start")
    return begin(request.param)


@pytest.fixture
async def engine(running: Running) -> AsyncIterator[Engine]:
    """A client of it."""
    client = running.connect()
    yield client
    await client.close()
