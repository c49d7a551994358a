"""Model × host × limits → context, slots and threads; pure."""

from __future__ import annotations

from dataclasses import dataclass

from sandbox.errors import ContextTooLong
from sandbox.facts import Host, ModelCard


@dataclass(frozen=True, slots=True)
class Limits:
    """What the settings ask for; ``None`` leaves the choice to the plan."""

    context_tokens: int | None = None
    slots: int | None = None
    threads: int | None = None
    cache_ram_mib: int = 0


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


def make(card: ModelCard, host: Host, limits: Limits) -> EnginePlan:
    """Decide how an engine serves one model on this host.

    Raises:
        ContextTooLong: the settings ask for more context than the model was trained for.
    """
    why: list[str] = []
    if limits.context_tokens is None:
        context_tokens = min(DEFAULT_CONTEXT_TOKENS, card.context_tokens)
        why.append(f"context {context_tokens}: the smaller of {DEFAULT_CONTEXT_TOKENS} and the model's {card.context_tokens}")
    elif limits.context_tokens > card.context_tokens:
        raise ContextTooLong(
            f"context of {limits.context_tokens} tokens asked for, but {card.id} was trained for {card.context_tokens}",
            hint=f"set SANDBOX_ENGINE_CONTEXT_TOKENS={card.context_tokens} or less",
        )
    else:
        context_tokens = limits.context_tokens
        why.append(f"context {context_tokens}: asked for in the settings")
    slots = limits.slots or DEFAULT_SLOTS
    why.append(f"slots {slots}: {'asked for in the settings' if limits.slots else 'the page and one program at a time'}")
    threads = limits.threads or max(1, host.cores)
    why.append(f"threads {threads}: {'asked for in the settings' if limits.threads else f'one for each of {host.cores} cores'}")
    return EnginePlan(
        model_id=card.id,
        context_tokens=context_tokens,
        slots=slots,
        threads=threads,
        cache_ram_mib=limits.cache_ram_mib,
        why=tuple(why),
    )
