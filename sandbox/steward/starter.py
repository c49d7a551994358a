"""What a keeper asks of those who start engines, and of engines that run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from sandbox.engine.protocol import EngineAddress
from sandbox.plan import EnginePlan
from sandbox.wire.console import ModelState


class RunningEngine(Protocol):
    """An engine that has been started or taken over."""

    @property
    def address(self) -> EngineAddress:
        """Where it is reached."""
        ...

    def is_alive(self) -> bool:
        """Say whether its process runs."""
        ...

    def memory_bytes(self) -> int | None:
        """Resident memory, where it can be known."""
        ...

    async def is_ready(self) -> bool:
        """Say whether it would take a question."""
        ...

    async def stop(self) -> None:
        """End it and give back what it held."""
        ...

    def last_words(self) -> str:
        """The end of its log."""
        ...


@dataclass(frozen=True, slots=True)
class Condition:
    """How an engine is that somebody else looks after."""

    state: ModelState
    detail: str = ""
    """Why, in words; with ``ready`` a doubt about it."""


@runtime_checkable
class TendedEngine(RunningEngine, Protocol):
    """An engine that its cluster starts again by itself; ``stop`` lets go of it and leaves it running."""

    @property
    def restarts(self) -> int:
        """How often it has been started again."""
        ...

    @property
    def last_exit(self) -> str:
        """How it ended before that; empty while it has not."""
        ...

    def is_alive(self) -> bool:
        """Say whether it is still what was asked for; whether it runs at the moment is its condition."""
        ...

    async def condition(self) -> Condition:
        """Say how it is."""
        ...


class Starter(Protocol):
    """Starts the engine of one model, or takes over one that runs already."""

    def plan(self) -> EnginePlan:
        """Decide how it is run.

        Raises:
            SandboxError: the settings and the model do not go together.
        """
        ...

    def describe(self) -> str:
        """Say which engine it is and how it was found."""
        ...

    async def adopt(self) -> RunningEngine | None:
        """Take over the engine that an earlier steward left running, if it is as it should be."""
        ...

    async def start(self) -> RunningEngine:
        """Verify the model's file and start an engine on it.

        Raises:
            SandboxError: the file is damaged, or no engine can be started.
        """
        ...
