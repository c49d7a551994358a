"""One served model: how its engine is, and why it is served the way it is."""

from __future__ import annotations

from typing import Literal

import streamlit as st

from sandbox.units import show_bytes
from sandbox.wire.console import ModelRow, ModelState
from ui.safe_markdown import plain

COLOURS: dict[ModelState, Literal["green", "blue", "orange", "red", "gray"]] = {
    "ready": "green",
    "starting": "blue",
    "restarting": "orange",
    "failed": "red",
    "unknown": "gray",
}


def draw_model(row: ModelRow) -> None:
    """Draw a model's card."""
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.subheader(plain(row.title), anchor=False, width="content")
            st.badge(row.state, color=COLOURS[row.state])
        if row.detail:
            st.warning(plain(row.detail))
        st.table(figures(row), border="horizontal", hide_header=True)
        if row.why:
            with st.expander("Why it is served this way"):
                for line in row.why:
                    st.text(line)


def figures(row: ModelRow) -> dict[str, str]:
    """List what is known of a model, by name."""
    shown = {
        "Name for programs": row.id,
        "Engine": row.engine,
        "Context": f"{row.context_tokens:,} tokens in each of {row.slots} slots",
        "Threads": str(row.threads),
        "Licence": row.licence,
        "File": show_bytes(row.size_bytes),
        # in two halves: the table cuts a word that is wider than its column
        "SHA-256": f"{row.sha256[:32]} {row.sha256[32:]}",
        "Memory": show_bytes(row.memory_bytes) if row.memory_bytes is not None else "not measured",
        "Restarts": str(row.restarts),
    }
    return {name: plain(value) for name, value in shown.items()}
