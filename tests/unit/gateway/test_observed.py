"""How everything runs, as the gateway tells it."""

from __future__ import annotations

from typing import Any

import anyio
import anyio.lowlevel
import pytest

from sandbox.gateway.observed import Watch
from sandbox.wire.observed import KEPT_S, Observed, Sample, Unit, UnitFigures
from tests.unit.gateway.conftest import MODEL, Gateway

pytestmark = pytest.mark.anyio

UNIT = Unit(kind="process", name=MODEL, component="engine", model=MODEL, phase="ready", is_ready=True)


def seen(at: float, memory_bytes: int = 1) -> Sample:
    return Sample(at=at, units={MODEL: UnitFigures(model=MODEL, memory_bytes=memory_bytes)})


class Time:
    """A clock that the test turns."""

    def __init__(self) -> None:
        self.at = 1000.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def watch(gateway: Gateway, time: Time) -> Watch:
    door = gateway.door
    door.watch = Watch(door.engines, door.metrics, backend="kind", now=time)
    return door.watch


async def ask(gateway: Gateway, **more: Any) -> None:
    body = {"model": MODEL, "messages": [{"role": "user", "content": "capital of France"}], **more}
    assert (await gateway.http.post("/v1/chat/completions", json=body)).status_code == 200


async def told(gateway: Gateway, since: str = "0") -> Observed:
    reply = await gateway.http.get("/sandbox/v1/cluster", params={"since": since})
    assert reply.status_code == 200
    return Observed.model_validate_json(reply.content)


async def test_nobody_is_told_without_a_key(gateway: Gateway) -> None:
    reply = await gateway.http.get("/sandbox/v1/cluster", headers={"Authorization": ""})
    assert reply.status_code == 401


@pytest.mark.parametrize("since", ["x", "-1", "nan", "inf", ""])
async def test_a_moment_that_is_none_is_refused(gateway: Gateway, since: str) -> None:
    reply = await gateway.http.get("/sandbox/v1/cluster", params={"since": since})
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "invalid_request")


async def test_all_comes_from_the_steward_but_where_it_runs(gateway: Gateway, watch: Watch) -> None:
    gateway.steward.observing = Observed(
        backend="local", isolation="enforced by a test", looked_at=999.0, units=(UNIT,)
    )
    found = await told(gateway)
    assert (found.units, found.looked_at) == ((UNIT,), 999.0)
    assert (found.backend, found.isolation) == ("kind", "enforced by a test")


async def test_tokens_of_an_answer_become_a_speed(gateway: Gateway, watch: Watch, time: Time) -> None:
    await watch.sample()
    await ask(gateway)
    time.at += 2.0
    await watch.sample()
    time.at += 2.0
    await watch.sample()
    figures = [sample.models[MODEL] for sample in (await told(gateway)).history]
    assert [figure.tokens_per_s for figure in figures] == [0.0, 3.0, 0.0]  # six tokens in two seconds
    assert [(figure.running, figure.queued, figure.slots) for figure in figures] == [(0, 0, 1)] * 3


async def test_what_an_engine_counts_is_believed_over_the_pieces(gateway: Gateway) -> None:
    gateway.engine.deltas = ("one piece",)
    await ask(gateway)
    assert gateway.door.metrics.flow(MODEL).tokens == 1
    assert gateway.door.metrics.flow(MODEL).running == 0


async def test_requests_beyond_the_slots_wait(gateway: Gateway, watch: Watch) -> None:
    gateway.engine.delay_s = 0.05

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(ask, gateway)
        with anyio.fail_after(5):
            while gateway.door.metrics.flow(MODEL).running < 3:
                await anyio.sleep(0.01)
        await watch.sample()
    figures = (await told(gateway)).history[0].models[MODEL]
    assert (figures.running, figures.queued, figures.slots) == (1, 2, 1)


async def test_a_request_that_fails_does_not_run_on(gateway: Gateway) -> None:
    gateway.engine.break_after = 2
    body = {"model": MODEL, "messages": [{"role": "user", "content": "q"}]}
    assert (await gateway.http.post("/v1/chat/completions", json=body)).status_code == 502
    assert gateway.door.metrics.flow(MODEL).running == 0


async def test_the_stewards_samples_are_asked_for_once(gateway: Gateway, watch: Watch, time: Time) -> None:
    gateway.steward.observing = Observed(history=(seen(990.0), seen(995.0)))
    await told(gateway)
    await told(gateway)
    time.at += 5
    gateway.steward.observing = Observed(history=(seen(990.0), seen(995.0), seen(1000.0)))
    found = await told(gateway)
    assert gateway.steward.asked_since == [0.0, 995.0]
    assert [sample.at for sample in found.history] == [990.0, 995.0, 1000.0]


async def test_only_samples_after_the_moment_are_told(gateway: Gateway, watch: Watch) -> None:
    gateway.steward.observing = Observed(history=(seen(990.0), seen(995.0)))
    await told(gateway)
    assert [sample.at for sample in (await told(gateway, "990")).history] == [995.0]


async def test_with_the_steward_away_the_last_known_is_told_and_said(
    gateway: Gateway, watch: Watch, time: Time
) -> None:
    gateway.steward.observing = Observed(units=(UNIT,), history=(seen(990.0),))
    await told(gateway)
    gateway.steward.is_away = True
    time.at += 5
    found = await told(gateway)
    assert (found.units, found.backend) == ((UNIT,), "kind")
    assert len(found.history) == 1
    assert found.problems == ("the steward does not answer: away; this is how it was when it last did",)
    gateway.steward.is_away = False
    time.at += 5
    await watch.sample()
    assert (await told(gateway)).problems == ()


async def test_nobody_waits_for_a_steward_that_hangs(gateway: Gateway, time: Time) -> None:
    door = gateway.door
    door.watch = Watch(door.engines, door.metrics, backend="local", patience_s=0.05, now=time)
    await door.watch.sample()
    gateway.steward.hangs = True
    time.at += 5
    with anyio.fail_after(2):
        await door.watch.sample()
        assert gateway.steward.asked_since == [0.0, 0.0]
        time.at += 5
        found = await told(gateway)
    assert "does not answer within 0.05 s" in found.problems[0]
    assert gateway.steward.asked_since == [0.0, 0.0]  # who looks does not ask it again
    assert len(found.history) == 2  # what passes through the gateway is seen all the same


async def test_what_is_older_than_half_an_hour_is_forgotten(gateway: Gateway, watch: Watch, time: Time) -> None:
    await watch.sample()
    time.at += KEPT_S
    await watch.sample()
    assert [sample.at for sample in (await told(gateway)).history] == [time.at]


async def test_status_says_how_isolated_it_is(gateway: Gateway, watch: Watch) -> None:
    assert (await gateway.http.get("/sandbox/v1/status")).json()["isolation"] == ""
    gateway.steward.observing = Observed(isolation="unproved: nothing was seen to hold")
    await watch.sample()
    assert (await gateway.http.get("/sandbox/v1/status")).json()["isolation"].startswith("unproved")


async def test_a_watch_samples_until_it_is_cancelled(gateway: Gateway, time: Time) -> None:
    waits: list[float] = []

    async def sleep(duration_s: float) -> None:
        waits.append(duration_s)
        time.at += duration_s
        await anyio.lowlevel.checkpoint()

    watch = Watch(gateway.door.engines, gateway.door.metrics, backend="", now=time, sleep=sleep)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch.keep)
        with anyio.fail_after(5):
            while len(waits) < 3:
                await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()
    assert len([sample for sample in (await watch.observed(0)).history if sample.models]) >= 3
