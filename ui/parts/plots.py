"""Plots of figures over time: a line or an area, and beside it what the plan allows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import streamlit as st

HEIGHT_PX = 150
TICKS = 3
MINUTES = 8
"""Ticks asked for on the time axis: of ten minutes and of thirty, that many fall on whole minutes."""
AXIS_PX = 34
"""Room for the labels of each value axis, so that plots stand in line."""
COLOURS = ("#2a9d8f", "#e9a23b")
"""Of the first and the second series: seen well on white and on dark, and told apart by the colour-blind."""
LIMIT_COLOUR = "#d1495b"


@dataclass(frozen=True, slots=True)
class Point:
    """The figures of one moment."""

    at: float
    """Seconds since the epoch."""
    values: Mapping[str, float | None]
    """By the series' name; a series that is not known at that moment is none, and its line breaks."""


def draw_plot(
    points: Sequence[Point], *, key: str, limit: float | None, limit_name: str, is_stacked: bool = False
) -> None:
    """Draw series over time, and a limit as a dashed line.

    Args:
        points: the figures, the oldest first; one at least.
        key: names the plot on the page.
        limit: what the figures are held against; none draws no line.
        limit_name: what it is, in a word or two.
        is_stacked: the series are parts of a whole, and are whole numbers that hold until the next moment.
    """
    series = list(points[-1].values)
    rows = [(point.at, order, name) for point in points for order, name in enumerate(series)]
    values = [point.values[name] for point in points for name in series]
    columns = {
        "time": [datetime.fromtimestamp(at, UTC) for at, _, _ in rows],
        "order": [order for _, order, _ in rows],
        "what": [name for _, _, name in rows],
        "value": values,
        "limit": [limit for _ in rows],
    }
    # the limit belongs to the axis: beyond it, its line would be drawn outside and the plot shrunk to make room
    spec = _spec(series, limit_name if limit is not None else None, reach=max(1.0, limit or 0), is_stacked=is_stacked)
    st.vega_lite_chart(columns, spec, key=key)


def _spec(series: Sequence[str], limit_name: str | None, *, reach: float, is_stacked: bool) -> dict[str, Any]:
    """Write the plot for Vega-Lite; the same for the same series, so that new figures only move its lines."""
    minutes = {"tickCount": MINUTES, "format": "%H:%M", "labelSeparation": 24, "grid": False}
    time = _field("time", "temporal", title=None, axis=minutes)
    axis: dict[str, Any] = {"tickCount": TICKS, "format": ".3~g", "minExtent": AXIS_PX, "maxExtent": AXIS_PX}
    if is_stacked:
        axis |= {"format": "d", "tickMinStep": 1}
    mark = {"type": "area", "opacity": 0.2, "line": {"strokeWidth": 2}, "interpolate": "monotone"}
    drawn = {
        "x": time,
        "y": _field("value", "quantitative", title=None, axis=axis, scale={"domain": {"unionWith": [0, reach]}}),
        "color": _field("what", "nominal", legend=None, scale={"domain": series, "range": COLOURS[: len(series)]}),
        "order": _field("order", "quantitative"),
        "tooltip": [
            _field("time", "temporal", format="%H:%M:%S", title="at"),
            _field("what", "nominal", title="what"),
            _field("value", "quantitative", format=".4~g", title="is"),
        ],
    }
    if is_stacked:
        mark = {"type": "area", "opacity": 0.8, "interpolate": "step-after"}
    layers = [{"mark": mark, "encoding": drawn}]
    return {"height": HEIGHT_PX, "layer": layers + (_limit(time, limit_name) if limit_name else [])}


def _limit(time: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """Write the dashed line of a limit, with its name where it begins."""
    level = _field("limit", "quantitative", title=None)
    line = {"type": "line", "color": LIMIT_COLOUR, "strokeDash": [5, 4], "strokeWidth": 1.5}
    text = {"type": "text", "color": LIMIT_COLOUR, "align": "left", "dx": 3, "dy": 10, "fontSize": 11}
    begin = {"x": time | {"aggregate": "min"}, "y": level | {"aggregate": "max"}, "text": {"value": name}}
    return [{"mark": line, "encoding": {"x": time, "y": level}}, {"mark": text, "encoding": begin}]


def _field(name: str, kind: str, **more: Any) -> dict[str, Any]:
    return {"field": name, "type": kind, **more}
