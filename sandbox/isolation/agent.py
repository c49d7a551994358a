"""Keeps one node's rules like the cluster's policies; closed until all of them are known."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import anyio

from sandbox.errors import ClusterError
from sandbox.isolation.kernel import Kernel
from sandbox.isolation.model import Direction, Namespace, Node, Pod, Policy
from sandbox.isolation.nft import FRESH_S, deny_all, marker, render
from sandbox.isolation.read_objects import read_namespace, read_pod
from sandbox.isolation.read_policy import read_policy
from sandbox.isolation.rules import Ruleset, compile_rules
from sandbox.isolation.source import Source, Written
from sandbox.isolation.watch import Mirror, Pace, follow

log = logging.getLogger(__name__)

BOOT_MARGIN_S = 2.0
"""The API's times are whole seconds."""


@dataclass(slots=True)
class Status:
    """What the agent tells about itself."""

    applied: bool = False
    """Whether the rules of the cluster's policies have been in force since this agent started."""
    fault: str | None = None
    """Why the last attempt to apply failed; None where it worked."""
    applies: int = 0
    failures: int = 0
    restored: int = 0
    """How often the rules had gone from the kernel and were put back."""
    latency_s: float = 0.0
    """From hearing of the last change to its rules being in force."""
    pods: int = 0
    isolated: dict[str, int] = field(default_factory=dict)
    policies_not_understood: int = 0


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the agent hears of the three kinds."""

    pods: Source
    namespaces: Source
    policies: Source


class Agent:
    """One node's keeper."""

    def __init__(self, node: Node, kernel: Kernel, sources: Sources, pace: Pace | None = None) -> None:
        self.status = Status()
        self._pace = pace or Pace()
        self._node, self._kernel, self._sources = node, kernel, sources
        self._pods: Mirror[Pod] = Mirror("pods", read_pod)
        self._namespaces: Mirror[Namespace] = Mirror("namespaces", read_namespace)
        self._policies: Mirror[Policy] = Mirror("networkpolicies", _read_policy)
        self._changed = anyio.Event()
        self._stale, self._stale_since = False, 0.0
        self._text: str | None = None
        self._forget_boot_at = 0.0

    @property
    def mirrors(self) -> Sequence[Mirror[Pod] | Mirror[Namespace] | Mirror[Policy]]:
        """What the agent knows of the cluster."""
        return (self._pods, self._namespaces, self._policies)

    @property
    def is_healthy(self) -> bool:
        """Whether the rules in force are those of the cluster's policies, as far as the agent can hear."""
        return self.status.applied and self.status.fault is None and all(mirror.is_current for mirror in self.mirrors)

    async def run(self) -> None:
        """Keep the node, until cancelled; raises ``ClusterError`` where it cannot even be closed."""
        await self._learn_boot()
        await self._restore()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(follow, self._pods, self._sources.pods, self._note, self._pace)
            tasks.start_soon(follow, self._namespaces, self._sources.namespaces, self._note, self._pace)
            tasks.start_soon(follow, self._policies, self._sources.policies, self._note, self._pace)
            tasks.start_soon(self._keep)

    async def _learn_boot(self) -> None:
        ago_s = await self._kernel.booted_ago_s()
        if ago_s is not None:
            self._node = replace(self._node, booted_s=time.time() - ago_s - BOOT_MARGIN_S)
            self._forget_boot_at = anyio.current_time() + FRESH_S - ago_s
            log.info("the node was booted %.0f s ago: its pods are known when they were started since", ago_s)

    def _note(self) -> None:
        if not self._stale:
            self._stale, self._stale_since = True, anyio.current_time()
        self._changed.set()

    async def _keep(self) -> None:
        while True:
            with anyio.move_on_after(self._pace.check_s):
                await self._changed.wait()
                await anyio.sleep(self._pace.coalesce_s)
            self._changed = anyio.Event()
            try:
                await self._sync()
                self.status.fault = None
            except ClusterError as error:
                self.status.fault = str(error)
                self.status.failures += 1
                log.error("%s (%s)", error, error.hint)
                await anyio.sleep(self._pace.retry_s)
                self._changed.set()

    async def _sync(self) -> None:
        if self._node.booted_s and anyio.current_time() > self._forget_boot_at:
            self._node = replace(self._node, booted_s=0)
            self._note()
        # nothing is opened on half of the news: a new pod's policies may be in the half that is missing
        if not self._stale or not all(mirror.is_current for mirror in self.mirrors):
            await self._restore()
            return
        ruleset = compile_rules(self._pods, self._namespaces, self._policies, self._node)
        text, since = render(ruleset), self._stale_since
        self._stale = False
        try:
            if text != self._text or not await self._kernel.holds(marker(text)):
                await self._kernel.apply(text)
        except ClusterError:
            self._stale = True
            raise
        self._text = text
        self._tell(ruleset, anyio.current_time() - since)

    async def _restore(self) -> None:
        """Put back what should be in force where it is gone; everything closed, before anything is known."""
        if self._text is None:
            missing = not await self._kernel.has_table()
        else:
            missing = not await self._kernel.holds(marker(self._text))
        if missing:
            await self._kernel.apply(self._text or self._closed())
            if self._text is not None:
                self.status.restored += 1
                log.warning("the rules had gone from the kernel and were put back")

    def _closed(self) -> str:
        return deny_all(self._node.pod_ranges, self._node.pod_interfaces, at_boot=False)

    def _tell(self, ruleset: Ruleset, latency_s: float) -> None:
        status = self.status
        status.applied, status.latency_s = True, latency_s
        status.applies += 1
        status.pods = len(self._pods)
        status.isolated = {direction.value: len(ruleset.chains[direction]) for direction in Direction}
        status.policies_not_understood = sum(1 for policy in self._policies if policy.fault is not None)
        log.info("rules applied %.0f ms after the change: %s", latency_s * 1000, _counted(status, len(self._policies)))


def _counted(status: Status, policies: int) -> str:
    isolated = ", ".join(f"{number} isolated for {direction}" for direction, number in status.isolated.items())
    return f"{status.pods} pods, {policies} policies; here {isolated}"


def _read_policy(written: Written) -> Policy:
    policy = read_policy(written)
    if policy.fault is not None:
        log.error(
            "policy %s/%s is not understood, so its pods are closed as far as it goes: %s",
            policy.namespace,
            policy.name,
            policy.fault,
        )
    return policy
