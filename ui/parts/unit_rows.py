"""Pods or processes in words, and what happened to them."""

from __future__ import annotations

import streamlit as st

from sandbox.units import show_bytes
from sandbox.views import UNKNOWN, happening_cells, unit_cells
from sandbox.wire.observed import Observed, Unit
from ui.safe_markdown import plain

SHOWN_HAPPENINGS = 12
NO_BREAK = "\u00a0"
"""A blank where a line may not end."""


def draw_sums(observed: Observed) -> None:
    """Draw the figures of everything together."""
    units = observed.units
    memory = [unit.memory_bytes for unit in units if unit.memory_bytes is not None]
    cpu = [unit.cpu_cores for unit in units if unit.cpu_cores is not None]
    with st.container(horizontal=True):
        st.metric("Ready", f"{sum(unit.is_ready for unit in units)} of {len(units)}")
        st.metric("Memory", show_bytes(sum(memory)) if memory else UNKNOWN)
        st.metric("CPU", f"{sum(cpu):.1f} cores" if cpu else UNKNOWN)
        st.metric("Restarts", str(sum(unit.restarts for unit in units)))


def draw_units(observed: Observed) -> None:
    """Draw a table of every pod or process, and under it what is wrong with those that are not well."""
    cells = [unit_cells(unit, observed.looked_at) for unit in observed.units]
    if not cells:
        st.info("Nothing was seen yet.")
        return
    columns = {name: [plain(row[name]) for row in cells] for name in cells[0]}
    columns["since"] = [text.replace(" ", NO_BREAK) for text in columns["since"]]
    st.table(columns, border="horizontal", hide_index=True)
    for unit in observed.units:
        if unit.detail and not unit.is_ready:
            st.warning(plain(f"{unit.name}: {unit.detail}"))
    with st.expander("Names and images"):
        for unit in observed.units:
            st.text(_place(unit))


def _place(unit: Unit) -> str:
    parts = [f"{unit.namespace}/{unit.name}" if unit.namespace else unit.name]
    parts += [f"on {unit.node}"] if unit.node else []
    parts += [unit.detail] if unit.is_ready and unit.detail else []
    return " · ".join([*parts, *filter(None, [unit.image])])


def draw_happenings(observed: Observed) -> None:
    """Draw what happened last, the newest first."""
    if not observed.happenings:
        st.caption("Nothing has happened since the start that is worth telling.")
        return
    happenings = observed.happenings[:SHOWN_HAPPENINGS]
    rows = [happening_cells(happening, observed.looked_at) for happening in happenings]
    columns = {name: [plain(row[name]) for row in rows] for name in rows[0]}
    columns["when"] = [
        f":orange[:material/warning:] {when}" if happening.is_warning else when
        for happening, when in zip(happenings, columns["when"], strict=True)
    ]
    st.table(columns, border="horizontal", hide_index=True)
