"""The one port to every engine, and where an engine is reached."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Literal, Protocol

from sandbox.wire.neutral import Event, Question

EngineKind = Literal["llama-server", "xllamacpp", "llama-cpp-python", "ollama"]


@dataclass(frozen=True, slots=True)
class EngineAddress:
    """Where one engine listens, and the key that it demands."""

    kind: EngineKind
    url: str
    """Base address on loopback or inside the cluster, without a path: ``http://127.0.0.1:41234``."""
    model_name: str
    """The model's name as the engine knows it."""
    key: str = field(default="", repr=False)
    context_tokens: int = 0
    """Context of one slot, tokens."""


@dataclass(frozen=True, slots=True)
class Deadlines:
    """How long an engine may keep silent, seconds."""

    connect_s: float = 2.0
    first_event_s: float = 300.0
    """From the question to the first piece of the answer: waiting for a slot and reading the prompt."""
    between_events_s: float = 60.0


class Engine(Protocol):
    """Answers questions about one model.

    The contract suite (``tests/contract/engines``) holds every implementation to this.
    """

    def answer(self, question: Question) -> AsyncGenerator[Event, None]:
        """Stream the answer: any number of deltas, then one ``Finished``.

        Closing the generator cancels the work and frees the engine's slot.

        Raises:
            ContextOverflow: the prompt is longer than a slot's context.
            EngineUnavailable: nobody listens at the address; nothing was sent.
            EngineBroke: the engine died, closed the connection or spoke nonsense.
            EngineTimeout: the engine said nothing for too long.
            InvalidRequest: the engine refused a field, for instance an impossible schema.
        """
        ...

    async def is_ready(self) -> bool:
        """Say whether the model is loaded and a question would be taken."""
        ...

    async def close(self) -> None:
        """Give back connections."""
        ...
