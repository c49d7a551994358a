"""The agent, with a kernel and an API server that do as the test says: closed first, never more open than known."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

import anyio
import pytest

from sandbox.errors import ClusterError
from sandbox.isolation import deny_all
from sandbox.isolation.agent import Agent, Sources
from sandbox.isolation.health import respond
from sandbox.isolation.nft import FRESH_S
from sandbox.isolation.watch import Pace
from tests.unit.isolation.fakes import FakeKernel, FakeSource, until
from tests.unit.isolation.interpreter import Packet, Table
from tests.unit.isolation.worlds import NODE, namespace, pod, policy

pytestmark = pytest.mark.anyio

QUICK = Pace(coalesce_s=0.002, check_s=0.02, retry_s=0.01, resync_s=60, first_wait_s=0.01, longest_wait_s=0.04)
A, B = pod("x", "a", "10.244.0.2", {"pod": "a"}), pod("x", "b", "10.244.0.3", {})
DENY = deny_all(["10.244.0.0/16"], at_boot=False)
ISOLATE = policy("x", "isolate", {})


@dataclass
class Scene:
    """An agent and all that is around it."""

    kernel: FakeKernel = field(default_factory=FakeKernel)
    pods: FakeSource = field(default_factory=lambda: FakeSource("pods", A, B))
    namespaces: FakeSource = field(default_factory=lambda: FakeSource("namespaces", namespace("x")))
    policies: FakeSource = field(default_factory=lambda: FakeSource("networkpolicies"))

    def __post_init__(self) -> None:
        self.agent = Agent(NODE, self.kernel, Sources(self.pods, self.namespaces, self.policies), QUICK)

    def opens(self, source: str = "10.244.0.2", destination: str = "10.244.0.3") -> bool:
        """Whether the rules in force let one pod reach another."""
        if self.kernel.text is None:
            return True
        packet = Packet(source, destination, "tcp", 80, "veth1")
        return Table.of(self.kernel.text).verdict("forward", packet) == "accept"

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Scene]:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.agent.run)
            yield self
            tasks.cancel_scope.cancel()


async def test_it_closes_first_and_opens_when_all_three_kinds_are_known() -> None:
    scene = Scene()
    scene.policies.refuses = True
    async with scene.running():
        await until(lambda: scene.policies.lists > 3, what="it keeps asking")
        assert scene.kernel.texts == [DENY]
        assert respond("/healthz", scene.agent) == ("503 Service Unavailable", "waiting for networkpolicies\n")
        scene.policies.refuses = False
        await until(scene.opens, what="open once policies are known")
        await until(lambda: scene.agent.is_healthy, what="healthy")
        assert respond("/healthz", scene.agent) == ("200 OK", "ok\n")


async def test_rules_of_an_agent_before_it_stay_until_it_has_its_own() -> None:
    scene = Scene()
    scene.kernel.text = "the rules of before"
    scene.pods.refuses = True
    async with scene.running():
        await until(lambda: scene.pods.lists > 3, what="it keeps asking")
        assert scene.kernel.texts == []
        scene.pods.refuses = False
        await until(lambda: len(scene.kernel.texts) == 1, what="its own rules")
        assert scene.opens()


async def test_a_policy_closes_and_its_deletion_opens() -> None:
    scene = Scene()
    async with scene.running():
        await until(lambda: scene.agent.is_healthy, what="rules")
        assert scene.opens()
        scene.policies.put(ISOLATE)
        await until(lambda: not scene.opens(), what="closed by the policy")
        scene.policies.delete(ISOLATE)
        await until(scene.opens, what="open again")


async def test_a_new_pod_is_closed_until_it_is_known() -> None:
    scene = Scene()
    async with scene.running():
        await until(lambda: scene.agent.is_healthy, what="rules")
        assert scene.opens()
        assert not scene.opens("10.244.0.2", "10.244.0.4")
        assert not scene.opens("10.244.0.4", "10.244.0.2")
        scene.pods.put(pod("x", "c", "10.244.0.4", {}))
        await until(lambda: scene.opens("10.244.0.2", "10.244.0.4"), what="open once known")
        scene.pods.delete(pod("x", "c", "10.244.0.4", {}))
        await until(lambda: not scene.opens("10.244.0.2", "10.244.0.4"), what="closed when it is gone")


async def test_while_a_watch_is_broken_nothing_new_is_opened_and_nothing_is_forgotten() -> None:
    scene = Scene()
    async with scene.running():
        await until(lambda: scene.agent.is_healthy, what="rules")
        assert scene.opens()
        scene.policies.refuses = True
        scene.policies.put_unheard(policy("x", "closing", {"podSelector": {"matchLabels": {"pod": "c"}}}))
        scene.policies.break_off()
        await until(lambda: not scene.agent.is_healthy, what="it knows that it does not hear")
        scene.pods.put(pod("x", "c", "10.244.0.4", {"pod": "c"}))
        before = scene.policies.lists
        await until(lambda: scene.policies.lists > before + 3, what="it keeps asking")
        assert not scene.opens("10.244.0.2", "10.244.0.4")
        assert scene.opens()
        scene.policies.refuses = False
        await until(lambda: scene.agent.is_healthy, what="it hears again")
        await until(lambda: scene.opens("10.244.0.4", "10.244.0.2"), what="the new pod is known")
        assert not scene.opens("10.244.0.2", "10.244.0.4")


async def test_a_list_anew_forgets_what_was_deleted_meanwhile() -> None:
    scene = Scene(policies=FakeSource("networkpolicies", ISOLATE))
    async with scene.running():
        await until(lambda: len(scene.kernel.texts) == 2, what="rules")
        assert not scene.opens()
        scene.policies._objects.clear()
        scene.policies.break_off()
        await until(scene.opens, what="the deletion is noticed")


async def test_rules_that_the_kernel_refuses_leave_the_last_ones_and_are_tried_again() -> None:
    scene = Scene()
    async with scene.running():
        await until(lambda: scene.agent.is_healthy, what="rules")
        assert scene.opens()
        scene.kernel.refuses = True
        scene.policies.put(ISOLATE)
        await until(lambda: scene.agent.status.failures > 1, what="tried more than once")
        assert respond("/healthz", scene.agent) == ("503 Service Unavailable", "nft refuses the rules\n")
        scene.kernel.refuses = False
        await until(lambda: not scene.opens(), what="applied after all")
        await until(lambda: scene.agent.is_healthy, what="healthy again")


async def test_a_table_that_was_removed_comes_back() -> None:
    scene = Scene(policies=FakeSource("networkpolicies", ISOLATE))
    async with scene.running():
        await until(lambda: scene.agent.is_healthy, what="rules")
        in_force, scene.kernel.text = scene.kernel.text, None
        await until(lambda: scene.kernel.text == in_force, what="put back")
        assert scene.agent.status.restored == 1


async def test_a_removed_table_comes_back_closed_before_anything_is_known() -> None:
    scene = Scene()
    scene.pods.refuses = True
    async with scene.running():
        await until(lambda: scene.kernel.text == DENY, what="closed")
        scene.kernel.text = None
        await until(lambda: scene.kernel.text == DENY, what="closed again")


async def test_it_ends_where_it_cannot_even_close() -> None:
    scene = Scene()
    scene.kernel.refuses = True
    with pytest.raises(ClusterError, match="nft refuses"):
        await scene.agent.run()


async def test_changes_close_together_are_applied_together() -> None:
    scene = Scene()
    async with scene.running():
        await until(lambda: scene.agent.is_healthy, what="rules")
        assert scene.opens()
        before = len(scene.kernel.texts)
        for number in range(4, 104):
            scene.pods.put(pod("x", f"p{number}", f"10.244.0.{number}", {}))
        await until(lambda: scene.opens("10.244.0.2", "10.244.0.103"), what="all known")
        assert len(scene.kernel.texts) - before <= 3


async def test_changes_that_do_not_matter_are_not_applied() -> None:
    scene = Scene()
    async with scene.running():
        await until(lambda: scene.agent.is_healthy, what="rules")
        assert scene.opens()
        before = scene.agent.status.applies
        scene.pods.put({**A, "status": {**A["status"], "conditions": [{"type": "Ready"}]}})
        scene.policies.put(ISOLATE)
        await until(lambda: not scene.opens(), what="the next change is there")
        assert scene.agent.status.applies == before + 1


async def test_after_a_boot_a_pod_is_known_once_it_was_started_since() -> None:
    """Its address of before may be another pod's by now."""
    scene = Scene()
    scene.kernel.booted = 30
    now = datetime.now(UTC).isoformat(timespec="seconds")
    before = [{**each, "status": {**each["status"], "startTime": "2026-01-01T00:00:00Z"}} for each in (A, B)]
    scene.pods = FakeSource("pods", *before)
    scene.agent = Agent(NODE, scene.kernel, Sources(scene.pods, scene.namespaces, scene.policies), QUICK)
    async with scene.running():
        await until(lambda: scene.agent.is_healthy, what="rules")
        assert not scene.opens()
        for each in before:
            running = {"containerStatuses": [{"state": {"running": {"startedAt": now}}}]}
            scene.pods.put({**each, "status": {**each["status"], **running}})
        await until(scene.opens, what="open once started anew")


async def test_some_time_after_a_boot_every_pod_is_known() -> None:
    scene = Scene()
    scene.kernel.booted = FRESH_S - 0.3
    async with scene.running():
        await until(lambda: scene.agent.is_healthy, what="rules")
        assert not scene.opens()
        await until(scene.opens, what="open once nothing of before can be left")


async def test_a_policy_that_is_not_understood_is_told(caplog: pytest.LogCaptureFixture) -> None:
    scene = Scene(policies=FakeSource("networkpolicies", policy("x", "odd", {"ingress": [{"from": [{"new": 1}]}]})))
    async with scene.running():
        await until(lambda: scene.agent.is_healthy, what="rules")
    assert not scene.opens()
    assert "policy x/odd is not understood" in caplog.text
    assert "sandbox_isolation_policies_not_understood 1\n" in respond("/metrics", scene.agent)[1]


async def test_it_answers_that_it_lives_before_it_is_ready() -> None:
    agent = Scene().agent
    assert respond("/livez", agent)[0] == "200 OK"
    assert respond("/healthz", agent)[0] == "503 Service Unavailable"
    assert respond("/other", agent)[0] == "404 Not Found"
    assert "sandbox_isolation_healthy 0\n" in respond("/metrics", agent)[1]
