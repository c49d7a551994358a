"""Model × host × limits → context, slots, threads and memory; pure."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from sandbox.config import EngineSettings
from sandbox.errors import ContextTooLong, DoesNotFit
from sandbox.facts import Accelerator, Host, ModelCard, ModelShape
from sandbox.units import GIB, MIB, show_bytes


@dataclass(frozen=True, slots=True)
class Limits:
    """What the settings ask for; ``None`` leaves the choice to the plan."""

    context_tokens: int | None = None
    slots: int | None = None
    threads: int | None = None
    cache_ram_mib: int = 0
    accelerator: Accelerator = "cpu"

    @classmethod
    def of(cls, settings: EngineSettings) -> Limits:
        """Take from the settings what a plan must keep to; whoever can see devices has settled ``auto`` before."""
        return cls(
            context_tokens=settings.context_tokens,
            slots=settings.slots,
            threads=settings.threads,
            cache_ram_mib=settings.cache_ram_mib,
            accelerator="cpu" if settings.accelerator == "auto" else settings.accelerator,
        )


@dataclass(frozen=True, slots=True)
class Memory:
    """What one engine needs at most, part by part, bytes; what was measured is in docs/measurements.md."""

    weights_bytes: int
    """The model's file, mapped."""
    context_bytes: int
    """Keys and values of every token that fits into all slots."""
    compute_bytes: int
    """What is between the layers while a piece of a prompt is read."""
    saved_prompts_bytes: int
    """Contexts put aside, to go on with later, and the holes between them."""
    process_bytes: int
    """The program itself, its threads, the vocabulary, requests being read and written."""

    @property
    def total_bytes(self) -> int:
        """All parts together, rounded up to whole mebibytes."""
        parts = (
            self.weights_bytes,
            self.context_bytes,
            self.compute_bytes,
            self.saved_prompts_bytes,
            self.process_bytes,
        )
        return -(-sum(parts) // MIB) * MIB

    def told(self) -> str:
        """Write the parts in words."""
        return (
            f"weights {show_bytes(self.weights_bytes)}, context {show_bytes(self.context_bytes)}, "
            f"computing {show_bytes(self.compute_bytes)}, saved prompts {show_bytes(self.saved_prompts_bytes)}, "
            f"the process {show_bytes(self.process_bytes)}"
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
    memory: Memory
    gpu_layers: int = 0
    """Layers that an accelerator computes; ``ALL_LAYERS`` is more than any model has."""
    why: tuple[str, ...] = ()

    @property
    def total_context_tokens(self) -> int:
        """Context of all slots together, which is what the engine allocates."""
        return self.context_tokens * self.slots

    @property
    def memory_bytes(self) -> int:
        """What the engine needs at most: its limit where something enforces one."""
        return self.memory.total_bytes


DEFAULT_CONTEXT_TOKENS = 4096
DEFAULT_SLOTS = 2
# Threads spin at every barrier of a layer, so one that has lost its core holds up all others: with as many threads
# as cores, one busy neighbour takes llama-server from 136 tokens/s to 42, and to 1.5 on a host that was busier still;
# with one core to spare it stays at 78 to 90 (SmolLM2-135M Q4_1 on 2 cores, docs/measurements.md).

LEAST_CONTEXT_TOKENS = 512
"""Shorter than this nobody is advised to go."""
ALL_LAYERS = 999
ELEMENT_BYTES = 2
"""One number of a key or value: f16, llama.cpp's own choice."""
BATCH_TOKENS = 512
"""Tokens of a prompt computed at a time: llama.cpp's own ``--ubatch-size``."""
PROCESS_BYTES = 48 * MIB
"""Program, libraries, vocabulary, requests: 36 MiB measured, docs/measurements.md."""
SLOT_BYTES = 2 * MIB
"""What one more slot costs besides its context, its answer and its sampler: 1 MiB measured."""
SAVED_PROMPTS_FACTOR = 1.3
"""Saved prompts of all lengths leave holes between them, up to a fifth of their limit, docs/measurements.md."""
GPU_PROCESS_BYTES = 1 * GIB
"""What a GPU's runtime takes of host memory; from reports of others, not measured here, so on the safe side."""


def spared_bytes(host: Host) -> int:
    """Say what engines must leave: to the system, the cluster's own parts, the gateway and the page.

    A quarter, but never less than 1.5 GiB (a kind node at rest takes 1 GiB, gateway, steward and page 0.3) and never
    more than 8 GiB.
    """
    return min(max(host.memory_bytes // 4, 3 * GIB // 2), 8 * GIB)


def memory_of(card: ModelCard, *, context_tokens: int, slots: int, cache_ram_mib: int, is_on_gpu: bool) -> Memory:
    """Work out what an engine needs at most of the host's memory.

    Args:
        context_tokens: of one slot.
        cache_ram_mib: the limit of saved prompts; llama-server makes room before it saves one.
        is_on_gpu: what lies in a GPU's own memory is counted here too, since some of it is mirrored.
    """
    runtime_bytes = GPU_PROCESS_BYTES if is_on_gpu else 0
    return Memory(
        weights_bytes=card.size_bytes,
        context_bytes=token_bytes(card.shape) * context_tokens * slots,
        compute_bytes=_compute_bytes(card.shape, context_tokens, slots),
        saved_prompts_bytes=int(cache_ram_mib * MIB * SAVED_PROMPTS_FACTOR),
        process_bytes=PROCESS_BYTES + SLOT_BYTES * slots + runtime_bytes,
    )


def token_bytes(shape: ModelShape) -> int:
    """Keys and values of one token in all layers, bytes: exact for full attention, too much for sliding windows."""
    return shape.layers * shape.kv_heads * (shape.key_length + shape.value_length) * ELEMENT_BYTES


def _compute_bytes(shape: ModelShape, context_tokens: int, slots: int) -> int:
    """Bound llama.cpp's compute and output buffers, f32: which values live together differs between architectures.

    For SmolLM2 it reports exactly three feed-forward and four embedding values a token and the mask in f16; here it
    is a third more. Scores of all heads are not there: flash attention, which it takes where it can, has none.
    """
    between_layers = 4 * (4 * shape.feed_forward_length + 6 * shape.embedding_length)
    mask = 2 * context_tokens
    return BATCH_TOKENS * (between_layers + mask) + 4 * slots * shape.vocabulary


def make(card: ModelCard, host: Host, limits: Limits, *, taken_bytes: int = 0) -> EnginePlan:
    """Decide how an engine serves one model on this host.

    Args:
        taken_bytes: what the plans of other engines on the same host need already.

    Raises:
        ContextTooLong: the settings ask for more context than the model was trained for.
        DoesNotFit: the host has not enough memory for it.
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
    memory = memory_of(
        card,
        context_tokens=context_tokens,
        slots=slots,
        cache_ram_mib=limits.cache_ram_mib,
        is_on_gpu=limits.accelerator != "cpu",
    )
    why = (
        f"context {context_tokens} tokens a slot: "
        + (asked if limits.context_tokens else f"the smaller of {DEFAULT_CONTEXT_TOKENS} and the model's {longest}"),
        f"slots {slots}: " + (asked if limits.slots else "one for the page, one for a program beside it"),
        f"threads {threads}: " + (asked if limits.threads else f"one of {host.cores} cores is left to everything else"),
        f"cache {limits.cache_ram_mib} MiB: prompts seen before need not be read again",
        f"memory {show_bytes(memory.total_bytes)} at most: {memory.told()}",
    )
    made = EnginePlan(
        model_id=card.id,
        context_tokens=context_tokens,
        slots=slots,
        threads=threads,
        cache_ram_mib=limits.cache_ram_mib,
        memory=memory,
        gpu_layers=0 if limits.accelerator == "cpu" else ALL_LAYERS,
        why=why,
    )
    _check_fit(made, card, host, taken_bytes)
    return made


def make_in_turn(cards: Sequence[ModelCard], card: ModelCard, host: Host, limits: Limits) -> EnginePlan:
    """Decide how one of several models is served beside those before it: who is named first gets memory first.

    Raises:
        ContextTooLong, DoesNotFit: as ``make``.
    """
    taken_bytes = 0
    for before in itertools.takewhile(lambda each: each.id != card.id, cards):
        with contextlib.suppress(ContextTooLong, DoesNotFit):  # what cannot be served takes nothing
            taken_bytes += make(before, host, limits, taken_bytes=taken_bytes).memory_bytes
    return make(card, host, limits, taken_bytes=taken_bytes)


def _check_fit(made: EnginePlan, card: ModelCard, host: Host, taken_bytes: int) -> None:
    spared = spared_bytes(host)
    available_bytes = max(0, host.memory_bytes - spared - taken_bytes)
    if made.memory_bytes <= available_bytes:
        return
    others = f" and {show_bytes(taken_bytes)} go to other models" if taken_bytes else ""
    raise DoesNotFit(
        f"{card.id} needs {show_bytes(made.memory_bytes)} with {made.slots} × {made.context_tokens} tokens "
        f"({made.memory.told()}), but {show_bytes(available_bytes)} are to be had: of {show_bytes(host.memory_bytes)}, "
        f"{show_bytes(spared)} stay with the rest of the machine{others}",
        hint=_smaller(made, card, available_bytes),
    )


def _smaller(made: EnginePlan, card: ModelCard, available_bytes: int) -> str:
    """Find settings with which it would fit: no saved prompts first, then one slot, then ever shorter context."""
    halves = range((made.context_tokens // LEAST_CONTEXT_TOKENS).bit_length())
    for slots, context_tokens in [(made.slots, made.context_tokens), *((1, made.context_tokens >> n) for n in halves)]:
        memory = memory_of(
            card, context_tokens=context_tokens, slots=slots, cache_ram_mib=0, is_on_gpu=made.gpu_layers > 0
        )
        if memory.total_bytes <= available_bytes:
            return (
                "this would fit: SANDBOX_ENGINE_CACHE_RAM_MIB=0 "
                f"SANDBOX_ENGINE_SLOTS={slots} SANDBOX_ENGINE_CONTEXT_TOKENS={context_tokens}"
            )
    return "serve a smaller model, or fewer: sandbox models lists them, SANDBOX_MODELS_SERVE chooses"
