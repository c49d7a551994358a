"""The history beside a chat: new, search, open, rename, export, delete."""

from __future__ import annotations

import re
from functools import partial

import streamlit as st

from sandbox.wire import console as wire
from ui.parts.connection import Console, console
from ui.parts.problems import acting
from ui.safe_markdown import plain

PAGE_ROWS = 30
TITLE_CHARS = 38

_SHOWN_ROWS = "history_rows"
_DELETING = "deleting"


def opened_id() -> str | None:
    """Name the chat that the address asks for."""
    return st.query_params.get("chat") or None


def open_chat(chat_id: str | None) -> None:
    """Show a chat, or none; its name goes into the address, so that a link shows the same."""
    if chat_id is None:
        st.query_params.pop("chat", None)
    else:
        st.query_params["chat"] = chat_id
    st.session_state.pop(_DELETING, None)


def draw_history(*, is_busy: bool) -> None:
    """Draw the history into the sidebar."""
    gateway = console()
    with st.sidebar:
        st.button(
            "New chat",
            key="new_chat",
            icon=":material/add:",
            width="stretch",
            on_click=open_chat,
            args=(None,),
            disabled=is_busy,
        )
        query = st.text_input(
            "Search chats",
            key="search",
            placeholder="Search chats",
            icon=":material/search:",
            label_visibility="collapsed",
            disabled=is_busy,
        )
        rows = gateway.chats(query.strip())
        shown_rows = int(st.session_state.get(_SHOWN_ROWS, PAGE_ROWS))
        with st.container(key="history", gap=None):
            for row in rows[:shown_rows]:
                _draw_row(gateway, row, is_busy=is_busy)
        if not rows:
            st.caption(plain(f"No chat contains “{query}”." if query else "Your chats will be listed here."))
        if len(rows) > shown_rows:
            st.button("Show more", key="more_chats", type="tertiary", on_click=_show_more, disabled=is_busy)


def _draw_row(gateway: Console, row: wire.ChatSummary, *, is_busy: bool) -> None:
    is_open = row.id == opened_id()
    title = row.title if len(row.title) <= TITLE_CHARS else row.title[: TITLE_CHARS - 1] + "…"
    with st.container(horizontal=True, wrap=False, gap=None, vertical_alignment="center", key=f"row_{row.id}"):
        st.button(
            plain(title),
            key=f"open_{row.id}",
            type="secondary" if is_open else "tertiary",
            width="stretch",
            on_click=open_chat,
            args=(row.id,),
            disabled=is_busy,
        )
        if is_open:
            with st.popover(
                "", icon=":material/more_vert:", type="tertiary", help="Rename, export or delete", disabled=is_busy
            ):
                _draw_actions(gateway, row)


def _draw_actions(gateway: Console, row: wire.ChatSummary) -> None:
    key = f"title_{row.id}"
    with st.form(f"rename_{row.id}", border=False):
        st.text_input("Title", value=row.title, key=key, max_chars=wire.MAX_TITLE_CHARS)
        st.form_submit_button("Rename", on_click=_rename, args=(row.id, key), icon=":material/edit:")
    name = _file_name(row.title)
    for label, ending, as_json in (("Markdown", "md", False), ("JSON", "json", True)):
        st.download_button(
            f"Export as {label}",
            data=partial(gateway.export_chat, row.id, as_json=as_json),
            file_name=f"{name}.{ending}",
            mime="application/json" if as_json else "text/markdown",
            key=f"export_{ending}_{row.id}",
            on_click="ignore",
            icon=":material/download:",
            type="tertiary",
        )
    if st.session_state.get(_DELETING) != row.id:
        st.button(
            "Delete…",
            key=f"delete_{row.id}",
            type="tertiary",
            icon=":material/delete:",
            on_click=_ask_to_delete,
            args=(row.id,),
        )
        return
    st.warning("Delete this chat for good?", icon=":material/warning:")
    with st.container(horizontal=True):
        st.button("Delete", key=f"confirm_{row.id}", type="primary", on_click=_delete, args=(row.id,))
        st.button("Keep", key=f"keep_{row.id}", on_click=_ask_to_delete, args=(None,))


@acting
def _rename(chat_id: str, key: str) -> None:
    title = str(st.session_state.get(key) or "").strip()
    if title:
        console().change_chat(chat_id, wire.ChatChange(title=title))


def _ask_to_delete(chat_id: str | None) -> None:
    st.session_state[_DELETING] = chat_id


@acting
def _delete(chat_id: str) -> None:
    console().delete_chat(chat_id)
    open_chat(None)


def _show_more() -> None:
    st.session_state[_SHOWN_ROWS] = int(st.session_state.get(_SHOWN_ROWS, PAGE_ROWS)) + PAGE_ROWS


def _file_name(title: str) -> str:
    return re.sub(r"[^\w-]+", "-", title)[:60].strip("-") or "chat"
