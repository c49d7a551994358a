"""What the page has seen of the sandbox so far, so that each look asks only for what is new."""

from __future__ import annotations

import streamlit as st

from sandbox.wire.observed import PERIOD_S, History, Observed
from ui.parts.connection import console

OVERLAP_S = 3 * PERIOD_S
"""Asked for once more at each look: steward and gateway sample at moments of their own."""

_SEEN = "cluster_seen"


def look() -> Observed:
    """Ask how everything runs, and give it with the figures of the last half hour.

    Raises:
        SandboxError: the gateway does not say.
    """
    history = st.session_state.get(_SEEN)
    if not isinstance(history, History):
        history = History()
    last = max((sample.at for sample in history.since()), default=0.0)
    told = console().cluster(max(0.0, last - OVERLAP_S))
    history.add(told.history)
    st.session_state[_SEEN] = history
    return told.model_copy(update={"history": history.since()})
