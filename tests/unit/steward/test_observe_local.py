"""The sandbox's processes of this machine, as the steward sees them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sandbox import processes
from sandbox.home import Home
from sandbox.steward.observe_local import LocalObserver
from sandbox.wire.console import ModelRow
from sandbox.wire.fleet import Entry
from sandbox.wire.observed import Unit

pytestmark = pytest.mark.anyio

MODEL = "tiny"
ROW = ModelRow(
    id=MODEL, title="Tiny", state="ready", licence="CC0-1.0", sha256="a" * 64, size_bytes=1, context_tokens=1000,
    slots=2, threads=3, engine="llama-server 1", planned_bytes=700,
)  # fmt: skip


class FakeKeeper:
    """Tells the row that the test sets."""

    def __init__(self) -> None:
        self.row = ROW

    def change(self, **fields: object) -> None:
        self.row = self.row.model_copy(update=fields)

    def entry(self) -> Entry:
        return Entry(row=self.row)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A data folder in which this very process stands for the steward and for the engine."""
    home = Home(tmp_path)
    me = processes.of_pid(os.getpid())
    me.save(home.process("steward"))
    me.save(home.run / "engines" / f"{MODEL}.process.json")
    return home


@pytest.fixture
def keeper() -> FakeKeeper:
    return FakeKeeper()


@pytest.fixture
def observer(home: Home, keeper: FakeKeeper) -> LocalObserver:
    return LocalObserver(home, [keeper], now=iter(range(1000, 2000, 5)).__next__)


async def seen(observer: LocalObserver) -> dict[str, Unit]:
    return {unit.name: unit for unit in (await observer.look()).units}


async def test_a_running_process_is_seen_with_what_it_uses(observer: LocalObserver) -> None:
    steward = (await seen(observer))["steward"]
    assert (steward.kind, steward.phase, steward.is_ready) == ("process", "running", True)
    assert steward.memory_bytes is not None and steward.memory_bytes > 1_000_000
    assert steward.memory_limit_bytes is None
    assert steward.detail == f"process {os.getpid()}"


async def test_cpu_is_known_from_the_second_look_on(observer: LocalObserver) -> None:
    assert (await seen(observer))["steward"].cpu_cores is None
    cores = (await seen(observer))["steward"].cpu_cores
    assert cores is not None and 0 <= cores < 100


async def test_a_process_that_does_not_run_is_said_to_be_gone(observer: LocalObserver) -> None:
    page = (await seen(observer))["page"]
    assert (page.phase, page.is_ready, page.memory_bytes) == ("gone", False, None)
    assert "make up" in page.detail


async def test_an_engine_is_seen_beside_its_plan(observer: LocalObserver) -> None:
    engine = (await seen(observer))[MODEL]
    assert (engine.component, engine.model, engine.phase, engine.is_ready) == ("engine", MODEL, "ready", True)
    assert (engine.memory_limit_bytes, engine.cpu_planned) == (700, 3)
    assert (engine.restarts, engine.last_exit) == (0, None)


async def test_an_engine_that_somebody_else_runs_has_no_figures(
    home: Home, observer: LocalObserver, keeper: FakeKeeper
) -> None:
    (home.run / "engines" / f"{MODEL}.process.json").unlink()
    engine = (await seen(observer))[MODEL]
    assert (engine.phase, engine.memory_bytes, engine.cpu_cores, engine.started_at) == ("ready", None, None, None)


async def test_a_restart_is_told_with_its_reason_and_stays_known(observer: LocalObserver, keeper: FakeKeeper) -> None:
    await observer.look()
    keeper.change(restarts=1, last_exit="out of memory")
    sight = await observer.look()
    (happening,) = sight.happenings
    assert (happening.about, happening.reason, happening.is_warning) == (MODEL, "restarted", True)
    assert happening.message == "it ended by itself; its last words: out of memory"
    engine = (await seen(observer))[MODEL]
    assert engine.last_exit is not None
    assert (engine.last_exit.reason, engine.last_exit.at) == ("it ended by itself", happening.at)


async def test_an_engine_that_cannot_be_started_is_told_once(observer: LocalObserver, keeper: FakeKeeper) -> None:
    await observer.look()
    keeper.change(state="failed", detail="the file is damaged")
    await observer.look()
    sight = await observer.look()
    assert [(each.reason, each.message) for each in sight.happenings] == [("failed", "the file is damaged")]
    keeper.change(state="ready", detail="")
    assert (await observer.look()).happenings[0].reason == "ready"


async def test_nothing_happens_while_all_stays_as_it_is(observer: LocalObserver) -> None:
    for _ in range(3):
        sight = await observer.look()
    assert sight.happenings == ()


async def test_a_process_started_anew_is_told(home: Home, observer: LocalObserver) -> None:
    await observer.look()
    processes.of_pid(os.getpid()).save(home.process("page"))
    sight = await observer.look()
    assert [(each.about, each.reason) for each in sight.happenings] == [("page", "started")]
