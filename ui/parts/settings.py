"""What a chat is asked with: its model, its system prompt and how tokens are chosen."""

from __future__ import annotations

from functools import partial
from typing import Any

import streamlit as st

from sandbox.wire import console as wire
from ui.parts.connection import console
from ui.parts.problems import acting
from ui.parts.snippets import draw_snippets
from ui.safe_markdown import plain

DEFAULTS = wire.SamplingSettings()
NEW = "new"
"""Stands for the id of a chat that is not made yet, in the names of widgets."""


def draw_settings(models: list[wire.ModelRow], chat: wire.Chat | None, *, is_busy: bool) -> wire.NewChat | None:
    """Draw the bar above a chat.

    Returns:
        What a new chat would be made with; none while there is no model to ask.
    """
    chosen = _draw_bar(models, chat, is_busy=is_busy)
    if chosen is None:
        st.info(
            "No chat model is served yet. The page “Status” says what is happening.", icon=":material/hourglass_top:"
        )
        return None
    row = next((one for one in models if one.id == chosen.model), None)
    if row is not None and row.state != "ready":
        st.warning(plain(f"{row.title} is {row.state}. {row.detail}"), icon=":material/hourglass_top:")
    return chosen


def _draw_bar(models: list[wire.ModelRow], chat: wire.Chat | None, *, is_busy: bool) -> wire.NewChat | None:
    name = chat.id if chat else NEW
    titles = {row.id: row.title for row in models if row.is_chat}
    if chat is not None:
        titles.setdefault(chat.model, chat.model)
    if not titles:
        return None
    # Not disabled for a new chat: Streamlit drops a change that arrives together with the question then.
    save: dict[str, Any] = {"on_change": partial(_save, chat), "disabled": is_busy} if chat else {}
    ids = list(titles)
    with st.container(horizontal=True, vertical_alignment="center", key="settings_bar"):
        model = st.selectbox(
            "Model",
            ids,
            index=ids.index(chat.model) if chat else 0,
            format_func=lambda one: titles.get(one, one),
            key=f"model_{name}",
            label_visibility="collapsed",
            width=280,
            **save,
        )
        with st.popover("Settings", icon=":material/tune:", type="tertiary", disabled=is_busy):
            system = st.text_area(
                "System prompt",
                value=chat.system if chat else "",
                key=f"system_{name}",
                max_chars=wire.MAX_SYSTEM_CHARS,
                height=120,
                help="Told to the model before the conversation: who it is and how it should answer.",
                **save,
            )
            sampling = _draw_sampling(chat.sampling if chat else DEFAULTS, name, save)
        with st.popover("Use it from code", icon=":material/code:", type="tertiary", width="content"):
            draw_snippets(model or ids[0])
    return wire.NewChat(model=model or ids[0], system=system or "", sampling=sampling)


def _draw_sampling(now: wire.SamplingSettings, name: str, save: dict[str, Any]) -> wire.SamplingSettings:
    return wire.SamplingSettings(
        max_tokens=st.number_input(
            "Longest answer (tokens)",
            1,
            131_072,
            now.max_tokens,
            step=64,
            key=f"max_tokens_{name}",
            help="The answer is cut off after this many tokens; a token is about three quarters of a word.",
            **save,
        ),
        temperature=st.slider(
            "Temperature",
            0.0,
            2.0,
            now.temperature,
            0.05,
            key=f"temperature_{name}",
            help="How freely the next word is chosen: 0 always takes the likeliest, above 1 gets wild.",
            **save,
        ),
        top_p=st.slider(
            "Top p",
            0.01,
            1.0,
            now.top_p,
            0.01,
            key=f"top_p_{name}",
            help="Only the likeliest words that together have this probability may be chosen.",
            **save,
        ),
        top_k=st.number_input(
            "Top k",
            0,
            1000,
            now.top_k,
            key=f"top_k_{name}",
            help="Only this many of the likeliest words may be chosen; 0 sets no limit.",
            **save,
        ),
        min_p=st.slider(
            "Min p",
            0.0,
            1.0,
            now.min_p,
            0.01,
            key=f"min_p_{name}",
            help="Words less likely than this share of the likeliest one are left out.",
            **save,
        ),
        repeat_penalty=st.slider(
            "Repeat penalty",
            0.1,
            2.0,
            now.repeat_penalty,
            0.05,
            key=f"repeat_penalty_{name}",
            help="Above 1 makes words that were used already less likely; 1 changes nothing.",
            **save,
        ),
        seed=st.number_input(
            "Seed",
            0,
            2**32 - 1,
            now.seed,
            step=1,
            key=f"seed_{name}",
            placeholder="random",
            help="The same seed, question and settings give the same answer again; empty draws a new one.",
            **save,
        ),
    )


@acting
def _save(chat: wire.Chat) -> None:
    """Store what the widgets of a chat say now; only what has changed is sent."""
    state = st.session_state
    fields = {name: state[f"{name}_{chat.id}"] for name in wire.SamplingSettings.model_fields}
    change: dict[str, Any] = (
        {"sampling": wire.SamplingSettings(**fields)} if fields != chat.sampling.model_dump() else {}
    )
    for name, now in (("model", chat.model), ("system", chat.system)):
        if state[f"{name}_{chat.id}"] != now:
            change[name] = state[f"{name}_{chat.id}"]
    if change:
        console().change_chat(chat.id, wire.ChatChange(**change))
