from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox import catalogue, plan
from sandbox.engine.protocol import EngineAddress
from sandbox.errors import BlobDamaged
from sandbox.facts import Host
from sandbox.steward.keeper import FIRST_BACKOFF_S, LONGEST_BACKOFF_S, Backoff, Keeper
from sandbox.steward.starter import Condition, RunningEngine

pytestmark = pytest.mark.anyio

CARD = catalogue.load()["smollm2-135m-instruct"]
ADDRESS = EngineAddress(kind="llama-server", url="http://127.0.0.1:1", model_name=CARD.id, key="k", context_tokens=4096)


class FakeRunning:
    """An engine that lives and answers as the test says."""

    address = ADDRESS

    def __init__(self) -> None:
        self.lives, self.answers, self.was_stopped = True, True, False

    def is_alive(self) -> bool:
        return self.lives

    def memory_bytes(self) -> int | None:
        return 1000

    async def is_ready(self) -> bool:
        return self.answers

    async def stop(self) -> None:
        self.lives, self.was_stopped = False, True

    def last_words(self) -> str:
        return "out of memory"


class FakeTended(FakeRunning):
    """An engine of a cluster: it is as the test says, and comes back by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.is_as_asked_for, self.now = True, Condition("starting", "it loads the model")
        self.restarts, self.last_exit = 0, ""

    def is_alive(self) -> bool:
        return self.is_as_asked_for

    async def condition(self) -> Condition:
        return self.now

    async def stop(self) -> None:
        self.was_stopped = True


def starter_plan() -> plan.EnginePlan:
    return plan.make(CARD, Host(cores=2, memory_bytes=8 << 30), plan.Limits())


class FakeStarter:
    """Starts the engines it is given, one after the other; an error among them is raised."""

    def __init__(self, *engines: FakeRunning | Exception, adopted: FakeRunning | None = None) -> None:
        self.waiting, self.adopted, self.started = list(engines), adopted, 0

    def plan(self) -> plan.EnginePlan:
        return starter_plan()

    def describe(self) -> str:
        return "fake"

    async def adopt(self) -> RunningEngine | None:
        return self.adopted

    async def start(self) -> RunningEngine:
        self.started += 1
        engine = self.waiting.pop(0) if len(self.waiting) > 1 else self.waiting[0]
        if isinstance(engine, Exception):
            raise engine
        return engine


class Sleeps:
    """Sleeps for no time, and remembers for how long it should have."""

    def __init__(self) -> None:
        self.asked_s: list[float] = []

    async def __call__(self, duration_s: float) -> None:
        self.asked_s.append(duration_s)
        await anyio.lowlevel.checkpoint()


@asynccontextmanager
async def kept(starter: FakeStarter, sleeps: Sleeps) -> AsyncGenerator[Keeper, None]:
    keeper = Keeper(CARD, starter, start_timeout_s=5, sleep=sleeps)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(keeper.keep)
        with anyio.fail_after(5):
            yield keeper
        tasks.cancel_scope.cancel()


async def until(keeper: Keeper, state: str) -> None:
    while keeper.entry().row.state != state:
        await anyio.lowlevel.checkpoint()


async def test_a_ready_engine_is_told_with_its_address() -> None:
    async with kept(FakeStarter(FakeRunning()), Sleeps()) as keeper:
        assert keeper.entry().address is None
        await until(keeper, "ready")
        entry = keeper.entry()
    assert entry.address is not None
    assert entry.address.key == "k"
    assert (entry.row.restarts, entry.row.memory_bytes, entry.row.slots) == (0, 1000, 2)
    assert entry.row.planned_bytes == starter_plan().memory_bytes


async def test_a_dead_engine_comes_back_and_is_counted() -> None:
    first, second = FakeRunning(), FakeRunning()
    async with kept(FakeStarter(first, second), Sleeps()) as keeper:
        await until(keeper, "ready")
        first.lives = False
        await until(keeper, "restarting")
        assert keeper.entry().address is None
        assert "out of memory" in keeper.entry().row.detail
        await until(keeper, "ready")
        assert keeper.entry().row.restarts == 1
        assert keeper.entry().row.last_exit == "out of memory"
    assert first.was_stopped


async def test_an_engine_that_runs_already_is_taken_over() -> None:
    running, starter = FakeRunning(), FakeStarter(FakeRunning())
    starter.adopted = running
    async with kept(starter, Sleeps()) as keeper:
        await until(keeper, "ready")
    assert starter.started == 0


async def test_a_damaged_file_is_told_in_words_and_tried_again_ever_later() -> None:
    sleeps = Sleeps()
    starter = FakeStarter(BlobDamaged("the file is damaged", hint="fetch it anew"))
    async with kept(starter, sleeps) as keeper:
        await until(keeper, "failed")
        while starter.started < 10:
            await anyio.lowlevel.checkpoint()
        row = keeper.entry().row
    assert "the file is damaged" in row.detail
    assert "fetch it anew" in row.detail
    assert sleeps.asked_s[:3] == [FIRST_BACKOFF_S, 2 * FIRST_BACKOFF_S, 4 * FIRST_BACKOFF_S]
    assert max(sleeps.asked_s) == LONGEST_BACKOFF_S


async def test_an_engine_that_ends_while_starting_is_told_with_its_last_words() -> None:
    engine = FakeRunning()
    engine.answers, engine.lives = False, False
    async with kept(FakeStarter(engine), Sleeps()) as keeper:
        await until(keeper, "failed")
        assert "ended while starting; its last words: out of memory" in keeper.entry().row.detail


async def test_an_engine_of_a_cluster_is_told_of_and_never_dropped_while_it_comes_back() -> None:
    engine = FakeTended()
    starter, sleeps = FakeStarter(engine), Sleeps()
    async with kept(starter, sleeps) as keeper:
        while keeper.entry().row.detail != "it loads the model":
            await anyio.lowlevel.checkpoint()
        engine.now = Condition("ready")
        await until(keeper, "ready")
        assert keeper.entry().address is not None
        engine.now, engine.restarts = Condition("restarting", "out of memory, exit 137"), 3
        engine.last_exit = "out of memory"
        await until(keeper, "restarting")
        assert keeper.entry().address is None
        assert (keeper.entry().row.detail, keeper.entry().row.restarts) == ("out of memory, exit 137", 3)
        engine.now = Condition("ready")
        await until(keeper, "ready")
        assert keeper.entry().row.last_exit == "out of memory"
    assert (starter.started, engine.was_stopped) == (1, False)


async def test_an_engine_of_a_cluster_that_stays_away_too_long_has_failed_and_may_still_come() -> None:
    engine = FakeTended()
    keeper = Keeper(CARD, FakeStarter(engine), start_timeout_s=0.01, sleep=Sleeps())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(keeper.keep)
        with anyio.fail_after(5):
            await until(keeper, "failed")
            assert keeper.entry().row.detail == "not ready after 0 s: it loads the model"
            engine.now = Condition("ready")
            await until(keeper, "ready")
        tasks.cancel_scope.cancel()


async def test_an_engine_of_a_cluster_is_applied_anew_when_somebody_has_changed_it() -> None:
    first, second = FakeTended(), FakeTended()
    first.now, second.now, first.restarts = Condition("ready"), Condition("ready"), 2
    starter = FakeStarter(first, second)
    async with kept(starter, Sleeps()) as keeper:
        await until(keeper, "ready")
        first.is_as_asked_for = False
        while starter.started < 2:
            await anyio.lowlevel.checkpoint()
        await until(keeper, "ready")
        assert keeper.entry().row.restarts == 3  # two of the first one's own, and this one


async def test_a_doubt_about_a_ready_engine_is_told_and_its_address_stays() -> None:
    engine = FakeTended()
    engine.now = Condition("ready")
    async with kept(FakeStarter(engine), Sleeps()) as keeper:
        await until(keeper, "ready")
        engine.now = Condition("ready", "the cluster does not answer")
        while not keeper.entry().row.detail:
            await anyio.lowlevel.checkpoint()
        assert keeper.entry().address is not None


@given(st.lists(st.floats(0, 100), max_size=30))
def test_the_back_off_never_leaves_its_bounds(lives_s: list[float]) -> None:
    backoff = Backoff()
    for lived_s in lives_s:
        backoff = backoff.after(lived_s)
        assert FIRST_BACKOFF_S <= backoff.wait_s <= LONGEST_BACKOFF_S
