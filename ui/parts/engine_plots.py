"""One engine over time: memory, CPU, slots and speed, each beside what its plan says."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import streamlit as st

from sandbox.units import MIB
from sandbox.views import UNKNOWN, cpu_words, memory_words
from sandbox.wire.observed import PERIOD_S, ModelFigures, Observed, Sample, Unit
from ui.parts.plots import COLOURS, Point, draw_plot
from ui.safe_markdown import plain

WINDOWS_S = (600.0, 1800.0)
"""What the time axes span: the shortest of these that holds all that was sampled."""
GAP_S = 3 * PERIOD_S
"""Without a sample for this long, a line breaks."""

Values = Callable[[Sample], dict[str, float | None] | None]


def draw_engine(unit: Unit, observed: Observed) -> None:
    """Draw an engine's four plots, each under a line that says the same in words."""
    model = unit.model
    flow = next((sample.models[model] for sample in reversed(observed.history) if model in sample.models), None)
    left, right = st.columns(2)
    with left:
        _caption("Memory", memory_words(unit))
        limit = unit.memory_limit_bytes / MIB if unit.memory_limit_bytes else None
        _draw(unit, observed, "memory", _memory_of(model), limit, "planned")
        st.markdown(f"**Slots** · {_slot_words(flow)}", unsafe_allow_html=True)  # numbers alone, nobody's text
        _draw(unit, observed, "slots", _slots_of(model), float(flow.slots) if flow else None, "slots", is_stacked=True)
    with right:
        _caption("CPU", cpu_words(unit))
        _draw(unit, observed, "cpu", _cpu_of(model), unit.cpu_planned, "threads")
        _caption("Speed", f"{flow.tokens_per_s:.1f} tokens/s over all answers" if flow else UNKNOWN)
        _draw(unit, observed, "speed", _speed_of(model), None, "")


def _caption(title: str, words: str) -> None:
    st.markdown(f"**{title}** · {plain(words)}")


def _slot_words(flow: ModelFigures | None) -> str:
    """Say how many slots are busy; the squares are the colours of the plot below."""
    if flow is None:
        return UNKNOWN
    busy, waiting = (f'<span style="color:{colour}">■</span>' for colour in COLOURS)
    return f"{busy} {flow.running} of {flow.slots} busy · {waiting} {flow.queued} waiting"


def _draw(
    unit: Unit,
    observed: Observed,
    name: str,
    values: Values,
    limit: float | None,
    limit_name: str,
    *,
    is_stacked: bool = False,
) -> None:
    points = points_of(observed.history, values)
    if len(points) < 2:
        st.caption("Not enough has been seen yet.")
        return
    draw_plot(points, key=f"{name}_{unit.model}", limit=limit, limit_name=limit_name, is_stacked=is_stacked)


def points_of(history: Sequence[Sample], values: Values) -> list[Point]:
    """Pick one engine's figures, with an empty point where the window begins and in each gap."""
    points: list[Point] = []
    for sample in history:
        found = values(sample)
        if found is None:
            continue
        if points and sample.at - points[-1].at > GAP_S:
            points.append(Point(points[-1].at + PERIOD_S, dict.fromkeys(found)))
        points.append(Point(sample.at, found))
    if not points:
        return []
    spanned_s = history[-1].at - history[0].at
    window_s = next((window_s for window_s in WINDOWS_S if window_s >= spanned_s), WINDOWS_S[-1])
    return [Point(history[-1].at - window_s, dict.fromkeys(points[0].values)), *points]


def _memory_of(model: str) -> Values:
    def values(sample: Sample) -> dict[str, float | None] | None:
        sizes = [each.memory_bytes for each in sample.units.values() if each.model == model]
        return {"MiB": _sum(sizes, 1 / MIB)} if sizes else None

    return values


def _cpu_of(model: str) -> Values:
    def values(sample: Sample) -> dict[str, float | None] | None:
        cores = [each.cpu_cores for each in sample.units.values() if each.model == model]
        return {"cores": _sum(cores, 1)} if cores else None

    return values


def _slots_of(model: str) -> Values:
    def values(sample: Sample) -> dict[str, float | None] | None:
        flow = sample.models.get(model)
        return {"busy": float(flow.running), "waiting": float(flow.queued)} if flow else None

    return values


def _speed_of(model: str) -> Values:
    def values(sample: Sample) -> dict[str, float | None] | None:
        flow = sample.models.get(model)
        return {"tokens/s": flow.tokens_per_s} if flow else None

    return values


def _sum(figures: Sequence[float | None], factor: float) -> float | None:
    """Add up what is known: while a pod replaces another, a model has two."""
    known = [figure for figure in figures if figure is not None]
    return sum(known) * factor if known else None
