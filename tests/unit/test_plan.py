from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox import catalogue, plan
from sandbox.errors import ContextTooLong
from sandbox.facts import Host

CARD = catalogue.load()["smollm2-135m-instruct"]
HOST = Host(cores=4, memory_bytes=8 << 30)


def test_plan_leaves_a_core_to_everything_else_and_says_why() -> None:
    made = plan.make(CARD, HOST, plan.Limits())
    assert (made.context_tokens, made.slots, made.threads) == (4096, 2, 3)
    assert made.total_context_tokens == 8192
    assert len(made.why) == 4


def test_plan_refuses_more_context_than_the_model_has() -> None:
    with pytest.raises(ContextTooLong, match=r"9000.*8192") as told:
        plan.make(CARD, HOST, plan.Limits(context_tokens=9000))
    assert "SANDBOX_ENGINE_CONTEXT_TOKENS=8192" in told.value.hint


def test_plan_uses_the_only_core_there_is() -> None:
    assert plan.make(CARD, Host(cores=1, memory_bytes=1 << 30), plan.Limits()).threads == 1


@given(
    st.integers(1, 8192),
    st.integers(1, 64),
    st.integers(1, 256),
)
def test_plan_keeps_to_what_the_settings_ask_for(context_tokens: int, slots: int, threads: int) -> None:
    made = plan.make(CARD, HOST, plan.Limits(context_tokens=context_tokens, slots=slots, threads=threads))
    assert (made.context_tokens, made.slots, made.threads) == (context_tokens, slots, threads)
