"""The page's router."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from ui.parts.isolation_banner import draw_isolation

HERE = Path(__file__).parent

st.set_page_config(page_title="Sandbox", page_icon=str(HERE / "favicon.svg"), layout="centered")
st.html(HERE / "page.css")
page = st.navigation(
    [
        st.Page(HERE / "pages" / "chat.py", title="Chat", icon=":material/forum:", default=True),
        st.Page(HERE / "pages" / "status.py", title="Status", icon=":material/monitor_heart:"),
        st.Page(HERE / "pages" / "cluster.py", title="Cluster", icon=":material/lan:"),
        st.Page(HERE / "pages" / "keys.py", title="Keys", icon=":material/key:"),
    ],
    position="top",
)
draw_isolation()
page.run()
