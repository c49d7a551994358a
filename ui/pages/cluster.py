"""How the sandbox runs: its pods or processes, what they use, and what happened to them."""

from __future__ import annotations

import streamlit as st

from sandbox.views import place_words
from ui.parts import shown
from ui.parts.engine_plots import draw_engine
from ui.parts.unit_rows import draw_happenings, draw_sums, draw_units
from ui.parts.watching import look
from ui.safe_markdown import plain

st.title("Cluster")


@st.fragment(run_every=5)
def draw() -> None:
    """Draw how everything runs, anew every few seconds."""
    with shown():
        observed = look()
    st.write(plain(place_words(observed)))
    for problem in observed.problems:
        st.warning(plain(problem), icon=":material/visibility_off:")
    draw_sums(observed)
    draw_units(observed)
    for unit in observed.units:
        if unit.component == "engine":
            st.subheader(plain(unit.model), anchor=False)
            draw_engine(unit, observed)
    st.subheader("What happened", anchor=False)
    draw_happenings(observed)


draw()
