"""Keys for programs, and signing out."""

from __future__ import annotations

import streamlit as st

from ui.parts import console, show_left_over, shown
from ui.parts.key_rows import draw_issued, draw_key, make_key

st.title("Keys")
st.write("A key lets a program use the models on this machine in your name. Its secret is shown once.")
show_left_over()

with st.form("new_key", border=False, clear_on_submit=True), st.container(horizontal=True, vertical_alignment="bottom"):
    st.text_input("Name of the new key", key="key_name", max_chars=80, placeholder="what it is for")
    st.form_submit_button("Make key", type="primary", on_click=make_key, icon=":material/key:")
draw_issued()

with shown():
    rows = console().keys()
for row in rows:
    draw_key(row)

st.divider()
st.html('<p><a href="/signout" target="_self">Sign out of this browser</a></p>')
