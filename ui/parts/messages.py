"""The messages of a chat, and what can be done with each."""

from __future__ import annotations

from functools import partial

import streamlit as st

from sandbox.wire import console as wire
from ui.parts import asking
from ui.parts.branches import Fork, Tree
from ui.parts.connection import console
from ui.parts.figures import answer_line, ending
from ui.parts.problems import acting, show
from ui.safe_markdown import plain, safe_markdown

AVATARS = {"user": ":material/person:", "assistant": ":material/deployed_code:"}
FOLLOW_EVERY_S = 0.5
FOLLOW_TIMES = 1200
"""Looks at an answer that somebody else's page is getting: ten minutes, then only on request."""


def draw_messages(chat: wire.Chat, tree: Tree, branch: list[wire.ChatMessage], *, is_busy: bool) -> None:
    """Draw one branch of a chat."""
    for message in branch:
        with st.chat_message(message.role, avatar=AVATARS[message.role]):
            if message.role == "user":
                _draw_question(chat, tree, message, is_busy=is_busy)
            elif message.state == "writing" and not is_busy:
                _follow(chat.id, message)
            else:
                _draw_answer(chat, tree, message, is_busy=is_busy)


def draw_refused(refused: asking.Refused) -> None:
    """Draw a question that was not taken, why, and the way to ask it again."""
    if refused.ask.text is not None:
        with st.chat_message("user", avatar=AVATARS["user"]):
            st.text(refused.ask.text)
    show(refused.error)
    with st.container(horizontal=True):
        st.button("Ask again", key="ask_again", icon=":material/refresh:", on_click=asking.queue, args=(refused.ask,))
        st.button("Discard", key="discard", type="tertiary", on_click=asking.drop)


def _draw_question(chat: wire.Chat, tree: Tree, message: wire.ChatMessage, *, is_busy: bool) -> None:
    if asking.edited() == message.id and not is_busy:
        _draw_editor(chat, message)
        return
    st.text(message.content)
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key=f"under_{message.id}"):
        st.button(
            "",
            key=f"edit_{message.id}",
            icon=":material/edit:",
            type="tertiary",
            help="Edit; the old branch is kept",
            on_click=asking.edit,
            args=(message.id,),
            disabled=is_busy,
        )
        _draw_fork(chat, tree, tree.fork(message), is_busy=is_busy)
        if chat.leaf_id == message.id:
            _draw_again(chat, message.id, "Answer this", is_busy=is_busy)


def _draw_editor(chat: wire.Chat, message: wire.ChatMessage) -> None:
    key = f"edited_{message.id}"
    with st.form(f"edit_form_{message.id}", border=False):
        st.text_area("Your question", value=message.content, key=key, label_visibility="collapsed")
        with st.container(horizontal=True):
            send = partial(asking.queue_input, key, chat.id, message.parent_id)
            st.form_submit_button("Ask", type="primary", on_click=send)
            st.form_submit_button("Cancel", on_click=asking.edit, args=(None,))


def _draw_answer(chat: wire.Chat, tree: Tree, message: wire.ChatMessage, *, is_busy: bool) -> None:
    if message.content:
        st.markdown(safe_markdown(message.content))
    how = ending(message)
    if how is not None:
        colour = st.error if message.state == "failed" else st.caption
        colour(plain(how[0].upper() + how[1:]))
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key=f"under_{message.id}"):
        _draw_fork(chat, tree, tree.fork(message), is_busy=is_busy)
        _draw_again(chat, message.parent_id, "Answer once more", is_busy=is_busy)
        st.caption(plain(answer_line(message)))


def _draw_again(chat: wire.Chat, question_id: str | None, words: str, *, is_busy: bool) -> None:
    ask = asking.Ask(chat.id, None, question_id)
    st.button(
        "",
        key=f"again_{question_id}",
        icon=":material/refresh:",
        type="tertiary",
        help=words,
        on_click=asking.queue,
        args=(ask,),
        disabled=is_busy,
    )


def _draw_fork(chat: wire.Chat, tree: Tree, fork: Fork, *, is_busy: bool) -> None:
    if not fork.has_others:
        return
    for step, sign, words in ((-1, "chevron_left", "Earlier branch"), (1, "chevron_right", "Later branch")):
        target = fork.neighbour(step)
        leaf_id = tree.newest_leaf(target) if target else None
        st.button(
            "",
            key=f"{sign}_{fork.ids[fork.at]}",
            icon=f":material/{sign}:",
            type="tertiary",
            help=words,
            on_click=_move,
            args=(chat.id, leaf_id),
            disabled=is_busy or leaf_id is None,
        )
        if step < 0:
            st.caption(f"{fork.at + 1}/{len(fork.ids)}", width="content")


@acting
def _move(chat_id: str, leaf_id: str) -> None:
    console().change_chat(chat_id, wire.ChatChange(leaf_id=leaf_id))


def _follow(chat_id: str, message: wire.ChatMessage) -> None:
    """Show an answer that is being written for another page, or was just stopped, until it is settled."""
    key = f"looks_{message.id}"
    is_over = int(st.session_state.get(key, 0)) >= FOLLOW_TIMES

    @st.fragment(run_every=None if is_over else FOLLOW_EVERY_S)
    def look() -> None:
        st.session_state[key] = int(st.session_state.get(key, 0)) + 1
        now = next((one for one in console().chat(chat_id).messages if one.id == message.id), None)
        if now is None or now.state != "writing" or (not is_over and st.session_state[key] >= FOLLOW_TIMES):
            st.rerun()
        st.markdown(safe_markdown(now.content))
        st.caption("This answer is still being written." if not is_over else "Still being written, it seems.")
        if is_over:
            st.button("Look again", key=f"look_{message.id}")

    look()
