"""An answer while it comes: drawn as it streams, stopped by the next run of the page."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import closing
from typing import Any

import streamlit as st

from sandbox.errors import SandboxError
from sandbox.units import show_seconds
from sandbox.wire import console as wire
from ui.parts import asking
from ui.parts.connection import console
from ui.parts.history import open_chat
from ui.parts.messages import AVATARS
from ui.parts.problems import keep_left_over
from ui.safe_markdown import safe_markdown

DRAW_EVERY_S = 0.07
DRAW_SHARE = 4
"""Drawing may take this part of the time, so that a long answer cannot hold up its own stream."""


def answer(ask: asking.Ask, new: wire.NewChat | None) -> None:
    """Ask, draw the answer as it comes, and run the page once more when it is stored.

    Every piece and every sign of life is drawn, and at a draw Streamlit ends a run that a click has made
    stale. So a click on Stop unwinds this function; the stream is closed on the way out, and with that the
    gateway stops the engine.
    """
    if ask.text is not None:
        with st.chat_message("user", avatar=AVATARS["user"]):
            st.text(ask.text)
    with st.chat_message("assistant", avatar=AVATARS["assistant"]):
        place = st.empty()
        st.button("Stop", key="stop", icon=":material/stop_circle:")
    has_begun = False
    chat_id = ask.chat_id
    try:
        chat_id = chat_id or _new_chat(new)
        turn = wire.Turn(text=ask.text, parent_id=ask.parent_id)
        with closing(console().turn(chat_id, turn)) as events:
            for _ in _drawn(place, events):
                has_begun = True
    except SandboxError as error:
        if has_begun:
            keep_left_over(error)  # the question is stored, and asking again is one click on it
        else:
            asking.keep(asking.Refused(asking.Ask(chat_id, ask.text, ask.parent_id), error))
    st.rerun()


def _new_chat(new: wire.NewChat | None) -> str:
    if new is None:
        raise SandboxError("no model is served that could answer", hint="see why: sandbox status")
    chat_id = console().new_chat(new).id
    open_chat(chat_id)
    return chat_id


def _drawn(place: Any, events: Generator[wire.TurnEvent, None, None]) -> Generator[wire.TurnEvent, None, None]:
    """Draw the events' text, not more often than is good, and pass them on."""
    began_at = time.monotonic()
    text, due_at = "", 0.0
    place.caption("Asking …")
    for event in events:
        yield event
        text += event.text if event.type == "delta" else ""
        now = time.monotonic()
        if now < due_at:
            continue
        if text:
            place.markdown(safe_markdown(text))
        else:
            place.caption(f"Reading the question … {show_seconds(max(1.0, round(now - began_at)))}")
        spent_s = time.monotonic() - now
        due_at = now + max(DRAW_EVERY_S, spent_s * DRAW_SHARE)
