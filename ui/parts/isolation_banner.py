"""The warning on every page of a sandbox whose isolation nobody has seen enforced."""

from __future__ import annotations

import contextlib
import time

import streamlit as st

from sandbox.errors import SandboxError
from sandbox.wire.observed import UNPROVED
from ui.parts.connection import console
from ui.safe_markdown import plain

ASK_EVERY_S = 30.0
"""It changes with `make up` alone, and pages run often."""

_KNOWN = "isolation"
_ASKED_AT = "isolation_asked_at"


def draw_isolation() -> None:
    """Warn, if there is something to warn of; a gateway that does not say is the page's to show."""
    state = st.session_state
    if time.monotonic() - float(state.get(_ASKED_AT, float("-inf"))) > ASK_EVERY_S:
        with contextlib.suppress(SandboxError):
            state[_KNOWN] = console().status().isolation
            state[_ASKED_AT] = time.monotonic()
    isolation = str(state.get(_KNOWN, ""))
    if isolation.startswith(UNPROVED):
        st.warning(
            plain(
                f"The network isolation of this cluster is {isolation}. Engines may be able to reach out, and others "
                "to reach them: tell them nothing that must stay here. Each make up tries to prove it."
            ),
            icon=":material/gpp_maybe:",
        )
