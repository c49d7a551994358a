"""Keys on the page: made, shown once, revoked."""

from __future__ import annotations

import streamlit as st
from pydantic import ValidationError

from sandbox.errors import InvalidRequest
from sandbox.wire.console import IssuedKey, KeyRow, NewKey
from ui.parts.connection import console
from ui.parts.figures import moment
from ui.parts.problems import acting
from ui.safe_markdown import plain

_ISSUED = "issued_key"
_REVOKING = "revoking"


@acting
def make_key() -> None:
    """Make the key that the form names."""
    try:
        new = NewKey(name=str(st.session_state.get("key_name") or "").strip())
    except ValidationError as error:
        raise InvalidRequest(
            "a key's name has 1 to 80 letters, digits, spaces or . @ _ -", hint="for example: laptop notebook"
        ) from error
    st.session_state[_ISSUED] = console().new_key(new.name)


def draw_issued() -> None:
    """Show the secret of a key just made, in this run and no later one."""
    issued = st.session_state.pop(_ISSUED, None)
    if isinstance(issued, IssuedKey):
        st.success(plain(f"This is the key “{issued.name}”. Copy it now: it is not shown again."))
        st.code(issued.key, language=None)


def draw_key(row: KeyRow) -> None:
    """Draw one key with its way out."""
    with st.container(border=True), st.container(horizontal=True, vertical_alignment="center"):
        with st.container():
            st.text(row.name)
            used = f"last used {moment(row.last_used_at)}" if row.last_used_at is not None else "never used"
            ends = f" · ends {moment(row.expires_at)}" if row.expires_at is not None else ""
            st.caption(plain(f"{row.kind} · {row.id} · made {moment(row.created_at)} · {used}{ends}"))
        if st.session_state.get(_REVOKING) == row.id:
            st.button("Revoke for good", key=f"sure_{row.id}", type="primary", on_click=_revoke, args=(row.id,))
            st.button("Keep", key=f"keep_{row.id}", on_click=_ask_to_revoke, args=(None,))
        else:
            st.button("Revoke…", key=f"revoke_{row.id}", on_click=_ask_to_revoke, args=(row.id,))


def _ask_to_revoke(key_id: str | None) -> None:
    st.session_state[_REVOKING] = key_id


@acting
def _revoke(key_id: str) -> None:
    console().revoke_key(key_id)
    _ask_to_revoke(None)
