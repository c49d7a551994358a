"""Looking every few seconds, and what the steward answers of it."""

from __future__ import annotations

import anyio
import anyio.lowlevel
import httpx
import pytest

from sandbox.errors import ClusterFailed
from sandbox.steward.app import build
from sandbox.steward.observe import Lookout, Rates, Sight
from sandbox.wire.observed import PERIOD_S, Observed, Unit

pytestmark = pytest.mark.anyio

TOKEN = "the-token"


class Turned:
    """A clock that the test turns, and that sleeping turns too."""

    def __init__(self) -> None:
        self.at = 1000.0
        self.slept_s: list[float] = []

    def __call__(self) -> float:
        return self.at

    async def sleep(self, duration_s: float) -> None:
        self.slept_s.append(duration_s)
        self.at += duration_s
        await anyio.lowlevel.checkpoint()


class FakeObserver:
    """Sees one process, whose memory grows with each look."""

    def __init__(self) -> None:
        self.looks = 0
        self.is_blind = False

    async def look(self) -> Sight:
        self.looks += 1
        if self.is_blind:
            raise ClusterFailed("the API server does not answer", hint="none")
        unit = Unit(
            kind="process", name="page", component="page", phase="running", is_ready=True, memory_bytes=self.looks
        )
        return Sight((unit,))


@pytest.fixture
def clock() -> Turned:
    return Turned()


@pytest.fixture
def observer() -> FakeObserver:
    return FakeObserver()


@pytest.fixture
def lookout(observer: FakeObserver, clock: Turned) -> Lookout:
    return Lookout(observer, backend="local", isolation=lambda: "unproved: a test", now=clock, sleep=clock.sleep)


async def test_it_looks_every_few_seconds_and_remembers(lookout: Lookout, clock: Turned) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lookout.keep)
        with anyio.fail_after(5):
            while len(clock.slept_s) < 4:
                await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()
    assert set(clock.slept_s) == {PERIOD_S}
    found = await lookout.observed(1000.0)
    assert [sample.units["page"].memory_bytes for sample in found.history][:3] == [2, 3, 4]


async def test_who_asks_at_once_again_is_told_the_same(lookout: Lookout, observer: FakeObserver, clock: Turned) -> None:
    first = await lookout.observed()
    assert (await lookout.observed()) == first
    clock.at += 1
    assert (await lookout.observed()).units[0].memory_bytes == 2
    assert observer.looks == 2


async def test_with_nothing_to_be_seen_the_last_sight_is_told_and_why(
    lookout: Lookout, observer: FakeObserver, clock: Turned, caplog: pytest.LogCaptureFixture
) -> None:
    await lookout.observed()
    observer.is_blind = True
    clock.at += PERIOD_S
    found = await lookout.observed()
    assert found.problems == ("the API server does not answer",)
    assert (len(found.units), len(found.history)) == (1, 1)
    clock.at += PERIOD_S
    await lookout.observed()
    assert caplog.messages == ["the API server does not answer"]  # once, not at every look


def test_a_rate_is_what_was_used_between_two_counts() -> None:
    rates = Rates()
    assert rates.cores("engine", 10.0, at=100.0) is None
    assert rates.cores("engine", 12.5, at=105.0) == 0.5
    assert rates.cores("engine", 12.5, at=105.0) == 0.5  # the same count told again
    assert rates.cores("engine", 12.5, at=110.0) == 0.0


def test_a_count_that_falls_gives_no_rate() -> None:
    rates = Rates()
    rates.cores("engine", 10.0, at=100.0)
    assert rates.cores("engine", 1.0, at=105.0) is None
    assert rates.cores("engine", 2.0, at=110.0) == 0.2


def test_what_is_gone_is_forgotten() -> None:
    rates = Rates()
    rates.cores("engine", 10.0, at=100.0)
    rates.forget_all_but(set())
    assert rates.cores("engine", 12.0, at=105.0) is None


async def asked(lookout: Lookout, path: str, token: str | None = TOKEN) -> httpx.Response:
    headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
    transport = httpx.ASGITransport(app=build([], lambda: TOKEN, lookout))
    async with httpx.AsyncClient(transport=transport, base_url="http://steward") as client:
        return await client.get(path, headers=headers)


@pytest.mark.parametrize("path", ["/observed", "/fleet"])
@pytest.mark.parametrize("token", [None, "", "another"])
async def test_nobody_is_answered_without_the_token(lookout: Lookout, path: str, token: str | None) -> None:
    assert (await asked(lookout, path, token)).status_code == 401


async def test_the_token_opens_what_was_seen(lookout: Lookout) -> None:
    reply = await asked(lookout, "/observed?since=0")
    assert reply.status_code == 200
    found = Observed.model_validate_json(reply.content)
    assert [unit.name for unit in found.units] == ["page"]
    assert (found.backend, found.isolation) == ("local", "unproved: a test")
    assert len(found.history) == 1
    later = Observed.model_validate_json((await asked(lookout, "/observed?since=1000")).content)
    assert later.history == ()


async def test_a_moment_that_is_none_is_refused(lookout: Lookout) -> None:
    assert (await asked(lookout, "/observed?since=soon")).status_code == 400
