"""How engines are kept in a cluster."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace

import anyio
import anyio.lowlevel
import pytest
from lightkube import AsyncClient
from lightkube.resources.apps_v1 import Deployment

from sandbox import catalogue, plan
from sandbox.errors import ClusterFailed, NotRunning
from sandbox.facts import Host, ModelCard
from sandbox.steward import asking, cluster_engine, pods
from sandbox.steward.asking import patiently
from sandbox.steward.cluster import ClusterStarter, retire
from sandbox.steward.cluster_engine import ClusterEngine
from sandbox.steward.pods import EnginePods
from sandbox.steward.starter import RunningEngine
from tests.fake_kubernetes import FakeCluster, ended, ready_status, refusal, unready_status

pytestmark = pytest.mark.anyio

CARD = catalogue.load()["smollm2-135m-instruct"]
NAME = "engine-smollm2-135m-instruct"
IMAGE = "docker.io/sandbox/engine@sha256:" + "0" * 64


async def no_sleep(_: float) -> None:
    await anyio.lowlevel.checkpoint()


@dataclass
class Room:
    """A fake cluster, and what the steward has of it."""

    cluster: FakeCluster
    client: AsyncClient
    pods: EnginePods
    key: list[str] = field(default_factory=lambda: ["a-key"])

    def starter(
        self,
        *,
        slots: int | None = None,
        image: str = IMAGE,
        card: ModelCard = CARD,
        sleep: Callable[[float], Awaitable[None]] = no_sleep,
    ) -> ClusterStarter:
        limits = plan.Limits(slots=slots)
        return ClusterStarter(
            card,
            client=self.client,
            pods=self.pods,
            make_plan=lambda card, host: plan.make(card, host, limits),
            image=image,
            read_key=lambda: self.key[0],
            sleep=sleep,
        )


@pytest.fixture
async def room(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Room]:
    for name in ("CHECK_READY_S", "CHECK_COMING_S"):
        monkeypatch.setattr(cluster_engine, name, 0.0)
    monkeypatch.setattr(pods, "PAUSE_S", 0.0)
    cluster = FakeCluster()
    client = cluster.client()
    made = Room(cluster, client, EnginePods(client, "models"))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(made.pods.follow)
        yield made
        tasks.cancel_scope.cancel()
    await client.close()


async def until(engine: RunningEngine | None, state: str) -> str:
    """Wait for a state, and return what is told with it."""
    assert isinstance(engine, ClusterEngine)
    with anyio.fail_after(5):
        while (told := await engine.condition()).state != state:
            await anyio.lowlevel.checkpoint()
    return told.detail


async def eventually(is_so: Callable[[], Awaitable[bool]]) -> None:
    with anyio.fail_after(5):
        while not await is_so():
            await anyio.lowlevel.checkpoint()


async def test_the_gateway_is_told_the_address_of_the_service(room: Room) -> None:
    engine = await room.starter().start()
    assert engine.address.url == f"http://{room.cluster.stored['services'][NAME]['spec']['clusterIP']}:8080"
    assert engine.address.key == "a-key"
    assert room.cluster.managers == {"sandbox-steward"}


async def test_nothing_is_known_of_the_plan_before_the_nodes_are() -> None:
    cluster = FakeCluster()
    client = cluster.client()
    starter = Room(cluster, client, EnginePods(client, "models")).starter()
    with pytest.raises(NotRunning, match="nodes"):
        starter.plan()
    await client.close()


async def test_the_plan_is_made_for_the_node_and_not_for_the_steward(room: Room) -> None:
    starter = room.starter()
    await starter.start()
    assert starter.plan() == plan.make(CARD, Host(cores=4, memory_bytes=16 << 30), plan.Limits())


async def test_a_deleted_pod_comes_back_and_is_counted_and_nothing_is_applied(room: Room) -> None:
    engine = await room.starter().start()
    await until(engine, "ready")
    applied = len(room.cluster.applied)
    room.cluster.brings_up = False
    room.cluster.delete_pod(room.cluster.pods()[0]["metadata"]["name"])
    await until(engine, "restarting")
    assert engine.is_alive()
    old, new = (pod["metadata"]["name"] for pod in room.cluster.pods())
    room.cluster.forget_pod(old)
    room.cluster.make_ready(new)
    await until(engine, "ready")
    assert isinstance(engine, ClusterEngine)
    assert engine.restarts == 1
    assert len(room.cluster.applied) == applied


async def test_restarts_of_a_container_are_counted(room: Room) -> None:
    engine = await room.starter().start()
    await until(engine, "ready")
    name = room.cluster.pods()[0]["metadata"]["name"]
    room.cluster.change_pod(name, unready_status(ended(137, reason="OOMKilled")))
    assert "out of memory" in await until(engine, "restarting")
    room.cluster.change_pod(name, ready_status(restarts=1))
    await until(engine, "ready")
    assert isinstance(engine, ClusterEngine)
    assert engine.restarts == 1
    assert "out of memory" in engine.last_words()


@pytest.mark.parametrize("change", ["slots", "image", "key"])
async def test_another_plan_image_or_key_makes_another_pod(room: Room, change: str) -> None:
    await until(await room.starter().start(), "ready")
    first = room.cluster.pods()[0]["metadata"]["name"]
    if change == "key":
        room.key[0] = "another-key"
    other = room.starter(
        slots=3 if change == "slots" else None, image=IMAGE.replace("0", "1") if change == "image" else IMAGE
    )
    assert await other.adopt() is None
    await until(await other.start(), "ready")
    assert [pod["metadata"]["name"] for pod in room.cluster.pods()] != [first]
    assert len(room.cluster.pods()) == 1


async def test_taking_over_mends_what_somebody_changed_meanwhile(room: Room) -> None:
    await until(await room.starter().start(), "ready")
    room.cluster.edit("deployments", NAME, lambda found: found["spec"].update(replicas=0))
    await until(await room.starter().adopt(), "ready")
    assert room.cluster.stored["deployments"][NAME]["spec"]["replicas"] == 1


@pytest.mark.parametrize(
    ("do", "words"),
    [
        (lambda cluster: cluster.stored["deployments"].pop(NAME), "Deployment is gone"),
        (lambda cluster: cluster.stored["services"].pop(NAME), "Service is gone"),
        (
            lambda cluster: cluster.edit("deployments", NAME, lambda found: found["spec"].update(replicas=0)),
            "somebody has changed its Deployment",
        ),
        (
            lambda cluster: cluster.edit("services", NAME, lambda found: found["spec"].update(clusterIP="10.9.9.9")),
            "another address",
        ),
    ],
)
async def test_what_is_missing_or_changed_is_noticed(
    room: Room, do: Callable[[FakeCluster], object], words: str
) -> None:
    engine = await room.starter().start()
    await until(engine, "ready")
    do(room.cluster)
    await eventually(lambda: _looked(engine))
    assert words in engine.last_words()


async def _looked(engine: RunningEngine) -> bool:
    await engine.is_ready()
    return not engine.is_alive()


async def test_a_cluster_that_is_away_leaves_everything_as_it_was(room: Room) -> None:
    engine = await room.starter().start()
    await until(engine, "ready")
    room.cluster.is_away = True
    room.cluster.break_watches()
    assert isinstance(engine, ClusterEngine)

    async def is_doubted() -> bool:
        return "does not answer" in (await engine.condition()).detail

    await eventually(is_doubted)
    assert (await engine.condition()).state == "ready"
    assert engine.is_alive()
    room.cluster.is_away = False
    room.cluster.delete_pod(room.cluster.pods()[0]["metadata"]["name"])

    async def is_seen_again() -> bool:
        return (await engine.condition()).detail == "" and engine.restarts == 1

    await eventually(is_seen_again)


async def test_why_a_pod_is_refused_is_told(room: Room) -> None:
    room.cluster.brings_up = False
    engine = await room.starter().start()
    message = 'pods "x" is forbidden: ValidatingAdmissionPolicy denied request: models: not reviewed'
    room.cluster.forget_pod(room.cluster.pods()[0]["metadata"]["name"])
    status = {"conditions": [{"type": "ReplicaFailure", "status": "True", "message": message}]}
    room.cluster.edit("deployments", NAME, lambda found: found.update(status=status))
    assert message in await until(engine, "failed")


async def test_the_last_warning_about_a_pod_is_told(room: Room) -> None:
    room.cluster.brings_up = False
    engine = await room.starter().start()
    assert isinstance(engine, ClusterEngine)
    event = {
        "metadata": {"name": "e", "namespace": "models"},
        "involvedObject": {"name": room.cluster.pods()[0]["metadata"]["name"]},
        "type": "Warning",
        "reason": "FailedMount",
        "message": 'secret "engine-key" not found',
        "lastTimestamp": "2026-01-01T00:00:00Z",
    }
    room.cluster.stored["events"]["e"] = event
    room.cluster.stored["events"]["other"] = event | {"involvedObject": {"name": "another"}, "message": "not this"}

    async def is_told() -> bool:
        return (await engine.condition()).detail == 'FailedMount: secret "engine-key" not found'

    await eventually(is_told)


async def test_what_the_api_server_refuses_is_an_error_of_ours(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "SETTLING_S", 0.0)
    room.cluster.refusal = refusal(403, "services is forbidden: quota")
    with pytest.raises(ClusterFailed, match=r"applying Deployment .* was refused: services is forbidden: quota"):
        await room.starter().start()


async def test_a_server_that_has_just_started_is_given_a_moment_to_settle(room: Room) -> None:
    room.cluster.refusal = refusal(403, "not known yet")
    tries = 0

    async def sleep(_: float) -> None:
        nonlocal tries
        tries += 1
        room.cluster.refusal = None if tries == 3 else room.cluster.refusal

    await room.starter(sleep=sleep).start()
    assert tries == 3


async def test_a_cluster_that_is_away_is_asked_again_and_then_told_of(room: Room) -> None:
    room.cluster.is_away = True
    tries = 0

    async def sleep(_: float) -> None:
        nonlocal tries
        tries += 1
        room.cluster.is_away = tries < 5

    await room.starter(sleep=sleep).start()
    assert tries == 5
    room.cluster.is_away = True
    with pytest.raises(ClusterFailed, match=r"asking: the cluster's API does not answer: connection refused"):
        await patiently("asking", lambda: room.client.get(Deployment, NAME), sleep=no_sleep, patience_s=0)


async def test_engines_of_models_no_longer_served_are_deleted_and_nothing_else(room: Room) -> None:
    await room.starter().start()
    await room.starter(card=replace(CARD, id="other.model")).start()
    canary = {"app.kubernetes.io/part-of": "sandbox", "app.kubernetes.io/component": "engine"}
    for plural in ("deployments", "services"):
        stranger = {"metadata": {"name": "canary", "namespace": "models", "labels": canary}}
        room.cluster.stored[plural]["canary"] = stranger
    gone = await retire(room.client, [CARD.id])
    assert gone == ["Deployment engine-other-model", "Service engine-other-model"]
    assert set(room.cluster.stored["deployments"]) == {NAME, "canary"}
    assert set(room.cluster.stored["services"]) == {NAME, "canary"}
    assert await retire(room.client, [CARD.id]) == []
