"""What a keeper may rely on, wherever engines are started."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from sandbox.errors import SandboxError
from sandbox.steward.starter import RunningEngine, TendedEngine
from tests.contract.steward import grounds
from tests.contract.steward.grounds import CARD, Ground

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["local", "cluster"])
async def ground(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Ground]:
    made = grounds.local(tmp_path) if request.param == "local" else grounds.cluster()
    async with made as found:
        yield found


class Begun:
    """Engines that a test has begun with; each is let go of at its end."""

    def __init__(self) -> None:
        self._engines: list[RunningEngine] = []

    def kept(self, engine: RunningEngine | None) -> RunningEngine:
        assert engine is not None
        self._engines.append(engine)
        return engine

    async def let_go(self) -> None:
        for engine in self._engines:
            await engine.stop()


@pytest.fixture
async def begun(ground: Ground) -> AsyncIterator[Begun]:
    made = Begun()
    yield made
    await made.let_go()


async def until_ready(engine: RunningEngine) -> None:
    with anyio.fail_after(20):
        while not await engine.is_ready():
            assert engine.is_alive(), engine.last_words()
            await anyio.sleep(0.02)


async def until_down(engine: RunningEngine) -> None:
    with anyio.fail_after(20):
        while engine.is_alive() and await engine.is_ready():
            await anyio.sleep(0.02)


async def test_a_started_engine_becomes_ready_and_says_where_it_is(ground: Ground, begun: Begun) -> None:
    starter = ground.starter()
    engine = begun.kept(await starter.start())
    await until_ready(engine)
    address = engine.address
    assert address.kind == "llama-server"
    assert address.url.startswith("http://")
    assert address.model_name == CARD.id
    assert len(address.key) >= 20
    assert address.context_tokens == starter.plan().context_tokens == 512
    assert starter.describe().startswith("llama-server")
    assert ground.started() == 1


async def test_nothing_is_taken_over_when_nothing_runs(ground: Ground) -> None:
    assert await ground.starter().adopt() is None


async def test_the_next_steward_takes_over_what_runs(ground: Ground, begun: Begun) -> None:
    first = begun.kept(await ground.starter().start())
    await until_ready(first)
    second = begun.kept(await ground.starter().adopt())
    await until_ready(second)
    assert second.address == first.address
    assert ground.started() == 1


async def test_what_was_asked_for_otherwise_is_not_taken_over(ground: Ground, begun: Begun) -> None:
    first = begun.kept(await ground.starter(slots=2).start())
    await until_ready(first)
    changed = ground.starter(slots=3)
    assert await changed.adopt() is None
    engine = begun.kept(await changed.start())
    await until_ready(engine)
    assert changed.plan().slots == 3


async def test_an_engine_that_dies_is_not_ready_and_leaves_its_last_words(ground: Ground, begun: Begun) -> None:
    engine = begun.kept(await ground.starter().start())
    await until_ready(engine)
    await ground.kill()
    await until_down(engine)
    assert not await engine.is_ready()
    assert "the model is loaded" in engine.last_words()


async def test_only_an_engine_that_comes_back_by_itself_is_left_alive_when_it_dies(
    ground: Ground, begun: Begun
) -> None:
    engine = begun.kept(await ground.starter().start())
    await until_ready(engine)
    await ground.kill()
    await until_down(engine)
    assert engine.is_alive() is ground.leaves_running
    assert isinstance(engine, TendedEngine) is ground.leaves_running


async def test_an_engine_let_go_of_ends_only_where_nobody_else_looks_after_it(ground: Ground, begun: Begun) -> None:
    engine = begun.kept(await ground.starter().start())
    await until_ready(engine)
    await engine.stop()
    taken_over = await ground.starter().adopt()
    assert (taken_over is not None) is ground.leaves_running
    if taken_over is not None:
        begun.kept(taken_over)


async def test_a_plan_that_cannot_be_made_is_an_error_of_ours(ground: Ground) -> None:
    with pytest.raises(SandboxError):
        await ground.starter(slots=50_000).start()
    assert ground.started() == 0
