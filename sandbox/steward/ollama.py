"""A model served by an Ollama that somebody else runs on this machine."""

from __future__ import annotations

from collections.abc import Callable

import anyio.to_thread

from sandbox.engine.connect import connect
from sandbox.engine.ollama import register
from sandbox.engine.protocol import Deadlines, EngineAddress
from sandbox.facts import ModelCard
from sandbox.plan import EnginePlan
from sandbox.steward.starter import RunningEngine
from sandbox.store import Store


class OllamaStarter:
    """Gives a running Ollama our verified file; nothing is started and nothing stopped."""

    def __init__(
        self, card: ModelCard, *, store: Store, url: str, make_plan: Callable[[ModelCard], EnginePlan]
    ) -> None:
        self._card = card
        self._store = store
        self._url = url
        self._make_plan = make_plan
        self._name = f"sandbox-{card.id}"

    def plan(self) -> EnginePlan:
        """Decide how much context is asked for."""
        return self._make_plan(self._card)

    def describe(self) -> str:
        """Say which engine it is."""
        return f"ollama, running at {self._url}"

    async def adopt(self) -> RunningEngine | None:
        """Take nothing over: registering again is quick, and sure."""
        return None

    async def start(self) -> RunningEngine:
        """Verify the model's file and register it."""
        blob = await anyio.to_thread.run_sync(self._store.verify, self._card)
        await register(self._url, blob.path, blob.sha256, self._name)
        address = EngineAddress(
            kind="ollama", url=self._url, model_name=self._name, context_tokens=self.plan().context_tokens
        )
        return _RegisteredModel(address)


class _RegisteredModel:
    def __init__(self, address: EngineAddress) -> None:
        self._address = address
        self._client = connect(address, Deadlines())

    @property
    def address(self) -> EngineAddress:
        return self._address

    def is_alive(self) -> bool:
        return True  # there is no process of ours; the keeper's look at its health is what tells

    def memory_bytes(self) -> int | None:
        return None

    async def is_ready(self) -> bool:
        return await self._client.is_ready()

    async def stop(self) -> None:
        await self._client.close()

    def last_words(self) -> str:
        return "Ollama keeps its own log"
