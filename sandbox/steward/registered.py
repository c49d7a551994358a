"""Engines that run on the machine outside, and that a cluster knows as a Service without pods.

Whoever brought the sandbox up started them and registered them (``sandbox.cluster.host_engine``). Here they are only
looked on: the steward in a cluster can neither start nor end a process of that machine.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable

import anyio
from lightkube import AsyncClient
from lightkube.resources.core_v1 import Service

from sandbox.cluster.host_engine import plan_of
from sandbox.engine import manifests
from sandbox.engine.connect import connect
from sandbox.engine.protocol import Engine, EngineAddress
from sandbox.errors import NotRunning
from sandbox.facts import ModelCard
from sandbox.plan import EnginePlan
from sandbox.steward.asking import or_none, patiently
from sandbox.steward.starter import Condition, RunningEngine

MUTE_HINT = "start it again: make up"
CHECK_S = 1.0
"""How often its health is asked for; a look on costs a request each."""


class RegisteredEngine:
    """One engine that somebody else runs."""

    def __init__(
        self,
        address: EngineAddress,
        *,
        client: Callable[[EngineAddress], Engine] = connect,
        clock: Callable[[], float] = anyio.current_time,
    ) -> None:
        self._address = address
        self._client = client(address)
        self._clock = clock
        self._asked_at: float | None = None
        self._is_ready = False
        self._was_ready = False

    @property
    def address(self) -> EngineAddress:
        """Where it is reached."""
        return self._address

    @property
    def restarts(self) -> int:
        """Nothing is known of them here."""
        return 0

    @property
    def last_exit(self) -> str:
        """Nothing is known of it here."""
        return ""

    def is_alive(self) -> bool:
        """Always: it stays what was registered, until something else is."""
        return True

    def memory_bytes(self) -> int | None:
        """Nothing: it is another machine's, as seen from here."""
        return None

    async def is_ready(self) -> bool:
        """Say whether it would take a question."""
        now = self._clock()
        if self._asked_at is None or now - self._asked_at >= CHECK_S:
            self._is_ready = await self._client.is_ready()
            self._was_ready = self._was_ready or self._is_ready
            self._asked_at = now
        return self._is_ready

    async def condition(self) -> Condition:
        """Say how it is."""
        if await self.is_ready():
            return Condition("ready")
        if self._was_ready:
            return Condition("restarting", f"the engine outside the cluster does not answer any more; {MUTE_HINT}")
        return Condition("starting", f"the engine outside the cluster does not answer yet; if it stays so, {MUTE_HINT}")

    async def stop(self) -> None:
        """Let go of it."""
        await self._client.close()

    def last_words(self) -> str:
        """Where they are to be found."""
        return "see its log on the machine outside"


class RegisteredStarter:
    """Finds one model's engine by its Service."""

    def __init__(
        self,
        card: ModelCard,
        *,
        client: AsyncClient,
        read_key: Callable[[], str],
        namespace: str = manifests.NAMESPACE,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        self._card = card
        self._client = client
        self._read_key = read_key
        self._namespace = namespace
        self._patiently = functools.partial(patiently, sleep=sleep)
        self._plan: EnginePlan | None = None

    def plan(self) -> EnginePlan:
        """Tell how it is run, as it was registered.

        Raises:
            NotRunning: nothing is registered yet.
        """
        if self._plan is None:
            raise self._missing()
        return self._plan

    def describe(self) -> str:
        """Say which engine it is."""
        return "llama-server on the machine outside the cluster"

    async def adopt(self) -> RunningEngine | None:
        """Take over nothing: looking it up is all there is to a start."""
        return None

    async def start(self) -> RunningEngine:
        """Look it up.

        Raises:
            NotRunning: no engine outside is registered for this model.
            ClusterFailed: the API server refused, or does not answer.
        """
        name = manifests.name_of(self._card.id)
        found = await self._patiently(
            f"reading the service {name}",
            lambda: or_none(self._client.get(Service, name, namespace=self._namespace)),
        )
        ip = (found.spec and found.spec.clusterIP) if found is not None else None
        self._plan = plan_of(found.to_dict()) if found is not None else None
        if not ip or self._plan is None:
            raise self._missing()
        address = EngineAddress(
            kind="llama-server",
            url=f"http://[{ip}]:{manifests.PORT}" if ":" in ip else f"http://{ip}:{manifests.PORT}",
            model_name=self._card.id,
            key=self._read_key(),
            context_tokens=self._plan.context_tokens,
        )
        return RegisteredEngine(address)

    def _missing(self) -> NotRunning:
        return NotRunning(f"no engine outside the cluster is registered for {self._card.id}", hint=MUTE_HINT)
