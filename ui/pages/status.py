"""How the models and their engines are."""

from __future__ import annotations

import streamlit as st

from sandbox.units import show_seconds
from ui.parts import console, shown
from ui.parts.model_card import draw_model
from ui.safe_markdown import plain

st.title("Status")


@st.fragment(run_every=5)
def draw() -> None:
    """Draw the state, anew every few seconds."""
    with shown():
        status = console().status()
    ready = sum(row.state == "ready" for row in status.models)
    with st.container(horizontal=True):
        st.metric("Models ready", f"{ready} of {len(status.models)}")
        st.metric("Requests on record", f"{status.records:,}")
        st.metric("Up for", show_seconds(status.uptime_s))
    for row in status.models:
        draw_model(row)
    if not status.models:
        st.info("No model is served.")
    st.caption(plain(f"Sandbox {status.version} · backend {status.backend} · API {status.api}"))


draw()
