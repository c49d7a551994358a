from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox import catalogue, plan
from sandbox.config import EngineSettings
from sandbox.errors import ContextTooLong, DoesNotFit
from sandbox.facts import Host
from sandbox.units import GIB, MIB

CARD = catalogue.load()["smollm2-135m-instruct"]
HOST = Host(cores=4, memory_bytes=8 * GIB)


def test_plan_leaves_a_core_to_everything_else_and_says_why() -> None:
    made = plan.make(CARD, HOST, plan.Limits())
    assert (made.context_tokens, made.slots, made.threads) == (4096, 2, 3)
    assert made.total_context_tokens == 8192
    assert len(made.why) == 5


def test_plan_refuses_more_context_than_the_model_has() -> None:
    with pytest.raises(ContextTooLong, match=r"9000.*8192") as told:
        plan.make(CARD, HOST, plan.Limits(context_tokens=9000))
    assert "SANDBOX_ENGINE_CONTEXT_TOKENS=8192" in told.value.hint


def test_plan_uses_the_only_core_there_is() -> None:
    assert plan.make(CARD, Host(cores=1, memory_bytes=4 * GIB), plan.Limits()).threads == 1


@given(
    st.integers(1, 8192),
    st.integers(1, 64),
    st.integers(1, 256),
)
def test_plan_keeps_to_what_the_settings_ask_for(context_tokens: int, slots: int, threads: int) -> None:
    host = Host(cores=4, memory_bytes=64 * GIB)
    made = plan.make(CARD, host, plan.Limits(context_tokens=context_tokens, slots=slots, threads=threads))
    assert (made.context_tokens, made.slots, made.threads) == (context_tokens, slots, threads)


def test_a_token_takes_what_the_shape_of_the_model_says() -> None:
    assert plan.token_bytes(CARD.shape) == 23_040
    assert plan.token_bytes(CARD.shape) * 2048 == 45 * MIB  # as llama-server itself reports it


def test_memory_is_the_sum_of_parts_that_are_named() -> None:
    made = plan.make(CARD, HOST, plan.Limits(cache_ram_mib=256))
    assert made.memory.weights_bytes == CARD.size_bytes
    assert made.memory.context_bytes == 180 * MIB
    assert made.memory.saved_prompts_bytes == int(1.3 * 256 * MIB)
    assert made.memory_bytes % MIB == 0
    assert 600 * MIB < made.memory_bytes < 700 * MIB
    assert all(word in made.why[-1] for word in ("weights 93.8 MiB", "context 180 MiB", "saved prompts 333 MiB"))


@pytest.mark.parametrize(
    ("slots", "context_tokens", "cache_ram_mib", "peak_mib"),
    [  # docs/measurements.md; first prompts that fill a slot, then prompts of all lengths
        (1, 2048, 256, 417),
        (1, 4096, 256, 419),
        (2, 2048, 256, 463),
        (2, 4096, 256, 512),
        (4, 2048, 256, 556),
        (1, 1024, 64, 232),
        (2, 512, 64, 236),
        (1, 1024, 256, 442),
        (4, 1024, 256, 514),
        (2, 2048, 256, 545),
    ],
)
def test_no_engine_that_was_measured_needed_more_than_its_plan(
    slots: int, context_tokens: int, cache_ram_mib: int, peak_mib: int
) -> None:
    made = plan.make(CARD, HOST, plan.Limits(context_tokens, slots, cache_ram_mib=cache_ram_mib))
    assert 1.05 * peak_mib * MIB < made.memory_bytes < 1.45 * peak_mib * MIB


@given(st.integers(128, 8192), st.integers(1, 64), st.integers(0, 4096))
def test_more_of_anything_never_needs_less(context_tokens: int, slots: int, cache_ram_mib: int) -> None:
    def needed(context_tokens: int, slots: int, cache_ram_mib: int, *, is_on_gpu: bool = False) -> int:
        return plan.memory_of(
            CARD, context_tokens=context_tokens, slots=slots, cache_ram_mib=cache_ram_mib, is_on_gpu=is_on_gpu
        ).total_bytes

    least = needed(context_tokens, slots, cache_ram_mib)
    assert needed(context_tokens + 1, slots, cache_ram_mib) >= least
    assert needed(context_tokens, slots + 1, cache_ram_mib) > least
    assert needed(context_tokens, slots, cache_ram_mib + 1) > least
    assert needed(context_tokens, slots, cache_ram_mib, is_on_gpu=True) > least


def test_a_plan_that_does_not_fit_says_what_would() -> None:
    host = Host(cores=2, memory_bytes=2 * GIB)  # of which 512 MiB are for engines
    with pytest.raises(DoesNotFit, match=r"needs 682 MiB.*512 MiB are to be had: of 2.0 GiB, 1.5 GiB stay") as told:
        plan.make(CARD, host, plan.Limits(cache_ram_mib=256))
    words = told.value.hint.removeprefix("this would fit: ").split()
    settings = dict(word.removeprefix("SANDBOX_ENGINE_").split("=") for word in words)
    advised = EngineSettings.model_validate({name.lower(): value for name, value in settings.items()})
    assert plan.make(CARD, host, plan.Limits.of(advised)).memory_bytes <= 512 * MIB


def test_a_model_that_fits_in_no_way_is_said_to_be_too_large() -> None:
    with pytest.raises(DoesNotFit, match="0 B are to be had") as told:
        plan.make(CARD, Host(cores=2, memory_bytes=GIB), plan.Limits())
    assert "SANDBOX_MODELS_SERVE" in told.value.hint


def test_what_other_models_take_is_not_given_twice() -> None:
    limits, host = plan.Limits(), Host(cores=2, memory_bytes=3 * GIB)
    first = plan.make(CARD, host, limits)
    second = plan.make(CARD, host, limits, taken_bytes=first.memory_bytes)
    with pytest.raises(DoesNotFit, match="go to other models"):
        plan.make(CARD, host, limits, taken_bytes=4 * second.memory_bytes)


@pytest.mark.parametrize(("memory_gib", "spared_gib"), [(2, 1.5), (8, 2), (24, 6), (256, 8)])
def test_the_machine_keeps_memory_for_itself(memory_gib: int, spared_gib: float) -> None:
    assert plan.spared_bytes(Host(cores=2, memory_bytes=memory_gib * GIB)) == spared_gib * GIB


@pytest.mark.parametrize(
    ("accelerator", "layers"), [("auto", 0), ("cpu", 0), ("cuda", 999), ("vulkan", 999), ("metal", 999)]
)
def test_an_accelerator_gets_every_layer(accelerator: str, layers: int) -> None:
    settings = EngineSettings.model_validate({"accelerator": accelerator})
    assert plan.make(CARD, HOST, plan.Limits.of(settings)).gpu_layers == layers


def test_models_are_given_memory_in_turn_and_one_that_cannot_be_served_takes_none() -> None:
    host, limits = Host(cores=2, memory_bytes=3 * GIB), plan.Limits(cache_ram_mib=256)  # 1.5 GiB for engines
    first, second, third = (replace(CARD, id=name) for name in ("first", "second", "third"))
    huge = replace(CARD, id="huge", size_bytes=100 * GIB)
    cards = [first, huge, second, third]
    assert plan.make_in_turn(cards, first, host, limits).model_id == "first"
    with pytest.raises(DoesNotFit, match="huge needs 101"):
        plan.make_in_turn(cards, huge, host, limits)
    assert plan.make_in_turn(cards, second, host, limits).model_id == "second"
    with pytest.raises(DoesNotFit, match=r"third needs .* go to other models"):
        plan.make_in_turn(cards, third, host, limits)
