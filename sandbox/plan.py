"""Model × host × limits → context, slots and threads; pure."""

from __future__ import annotations

from dataclasses import dataclass

from sandbox.config import EngineSettings
from sandbox.errors import ContextTooLong
from sandbox.facts import Host, ModelCard


@dataclass(frozen=True, slots=True)
class Limits:
    """What the settings ask for; ``None`` leaves the choice to the plan."""

    context_tokens: int | None = None
    slots: int | None = None
    threads: int | None = None
    cache_ram_mib: int = 0

    @classmethod
    def of(cls, settings: EngineSettings) -> Limits:
        """Take from the settings what a plan must keep to."""
        return cls(
            context_tokens=settings.context_tokens,
            slots=settings.slots,
            threads=settings.threads,
            cache_ram_mib=settings.cache_ram_mib,
        )


@dataclass(frozen=True, slots=True)
class EnginePlan:
    """How one engine is run: every limit explicit, each with its reason."""

    model_id: str
    context_tokens: int
    """Context of one slot, tokens."""
    slots: int
    """Requests answered at the same time."""
    threads: int
    cache_ram_mib: int
    """Host memory for saved prompts, MiB; 0 switches the cache off."""
    why: tuple[str, ...] = ()

    @property
    def total_context_tokens(self) -> int:
        """Context of all slots together, which is what the engine allocates."""
        return self.context_tokens * self.slots


DEFAULT_CONTEXT_TOKENS = 4096
DEFAULT_SLOTS = 2
# Threads spin at every barrier of a layer, so one that has lost its core holds up all others: with as many threads
# as cores, one busy neighbour takes llama-server from 136 tokens/s to 42, and to 1.5 on a host that was busier still;
# with one core to spare it stays at 78 to 90 (SmolLM2-135M Q4_1 on 2 cores, docs/measurements.md).


def make(card: ModelCard, host: Host, limits: Limits) -> EnginePlan:
    """Decide how an engine serves one model on this host.

    Raises:
        ContextTooLong: the settings ask for more context than the model was trained for.
    """
    longest = card.context_tokens
    if limits.context_tokens is not None and limits.context_tokens > longest:
        raise ContextTooLong(
            f"context of {limits.context_tokens} tokens asked for, but {card.id} was trained for {longest}",
            hint=f"set SANDBOX_ENGINE_CONTEXT_TOKENS={longest} or less",
        )
    asked = "asked for in the settings"
    context_tokens = limits.context_tokens or min(DEFAULT_CONTEXT_TOKENS, longest)
    slots = limits.slots or DEFAULT_SLOTS
    threads = limits.threads or max(1, host.cores - 1)
    why = (
        f"context {context_tokens} tokens a slot: "
        + (asked if limits.context_tokens else f"the smaller of {DEFAULT_CONTEXT_TOKENS} and the model's {longest}"),
        f"slots {slots}: " + (asked if limits.slots else "one for the page, one for a program beside it"),
        f"threads {threads}: " + (asked if limits.threads else f"one of {host.cores} cores is left to everything else"),
        f"cache {limits.cache_ram_mib} MiB: prompts seen before need not be read again",
    )
    return EnginePlan(
        model_id=card.id,
        context_tokens=context_tokens,
        slots=slots,
        threads=threads,
        cache_ram_mib=limits.cache_ram_mib,
        why=why,
    )
