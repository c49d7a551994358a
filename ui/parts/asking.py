"""A question on its way: queued by a callback, asked by the next run, kept if it could not be asked."""

from __future__ import annotations

from dataclasses import dataclass

import streamlit as st

from sandbox.errors import SandboxError

_QUEUED = "ask"
_REFUSED = "refused"
_EDITED = "edited"


@dataclass(frozen=True, slots=True)
class Ask:
    """What is to be asked, and where in the chat."""

    chat_id: str | None
    """No chat yet: one is made for it."""
    text: str | None
    """No text: the question named by ``parent_id`` is answered once more."""
    parent_id: str | None


@dataclass(frozen=True, slots=True)
class Refused:
    """A question that the gateway did not take, and why."""

    ask: Ask
    error: SandboxError


def queue(ask: Ask) -> None:
    """Let the next run ask this; for callbacks."""
    st.session_state[_QUEUED] = ask
    st.session_state.pop(_REFUSED, None)
    st.session_state.pop(_EDITED, None)


def queue_input(key: str, chat_id: str | None, parent_id: str | None) -> None:
    """Let the next run ask what was typed into an input; for callbacks."""
    text = str(st.session_state.get(key) or "").strip()
    if text:
        queue(Ask(chat_id, text, parent_id))


def take() -> Ask | None:
    """Take the queued question, so that no later run asks it again."""
    ask = st.session_state.pop(_QUEUED, None)
    return ask if isinstance(ask, Ask) else None


def keep(refused: Refused) -> None:
    """Keep a question that was not taken, so that nothing typed is lost."""
    st.session_state[_REFUSED] = refused


def kept(chat_id: str | None) -> Refused | None:
    """Give the question of this chat that was not taken, if there is one."""
    refused = st.session_state.get(_REFUSED)
    return refused if isinstance(refused, Refused) and refused.ask.chat_id == chat_id else None


def drop() -> None:
    """Forget the question that was not taken; for callbacks."""
    st.session_state.pop(_REFUSED, None)


def edit(message_id: str | None) -> None:
    """Open a question for editing, or none; for callbacks."""
    st.session_state[_EDITED] = message_id


def edited() -> str | None:
    """Name the question that is being edited."""
    message_id = st.session_state.get(_EDITED)
    return message_id if isinstance(message_id, str) else None
