"""The page “Cluster”, and the warning on every page, run without a browser."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from sandbox.errors import NotRunning
from sandbox.wire.observed import Observed, Sample, UnitFigures
from tests.ui.fake_console import MODEL, NOW, OBSERVED, UNITS, FakeConsole, history
from tests.ui.test_chat_page import read
from ui.parts import engine_plots
from ui.parts.engine_plots import GAP_S, points_of
from ui.parts.isolation_banner import ASK_EVERY_S
from ui.parts.watching import OVERLAP_S

PAGES = sorted(path.name for path in (Path(engine_plots.__file__).parents[1] / "pages").glob("*.py"))


@pytest.fixture
def cluster(page: AppTest) -> AppTest:
    page.run()
    return page.switch_page("pages/cluster.py")


def table(page: AppTest, number: int) -> str:
    return re.sub(r"\\", "", str(page.table[number].value.to_dict(orient="list")))


def plots(page: AppTest) -> list[dict[str, Any]]:
    return [json.loads(element.proto.spec) for element in page.get("vega_lite_chart")]


def test_it_says_where_everything_runs_and_how_isolated(cluster: AppTest) -> None:
    cluster.run()
    assert not cluster.exception
    assert "in the kind cluster of this machine. Isolation of the network: enforced by the sandbox's" in read(cluster)
    assert [metric.value for metric in cluster.metric] == ["2 of 2", "270 MiB", "0.8 cores", "3"]


def test_pods_are_told_in_words(cluster: AppTest) -> None:
    cluster.run()
    shown = table(cluster, 0)
    for words in (
        "engine of tiny-model",
        "210 MiB of 420 MiB (50%)",
        "0.80 of 1 planned",
        "3 times, last: out of memory (exit 137), 3 min ago",
        "60.0 MiB of 256 MiB (23%)",
    ):
        assert words in shown
    assert any("models/engine-tiny-model-5c9 · on node-1 · sandbox/engine@sha256:cd" in t.value for t in cluster.text)


def test_what_happened_is_told_with_its_gravity(cluster: AppTest) -> None:
    cluster.run()
    shown = table(cluster, 1)
    assert "BackOff: Back-off restarting failed container (4 times)" in shown
    assert "warning" in shown


def test_an_engine_has_four_plots_and_three_limits(cluster: AppTest) -> None:
    cluster.run()
    drawn = plots(cluster)
    assert len(drawn) == 4
    named = ["text" in layer["encoding"] for plot in drawn for layer in plot["layer"]]
    assert named.count(True) == 3  # memory against its plan, slots, threads; speed has no limit


def test_a_limit_is_within_its_axis(cluster: AppTest) -> None:
    cluster.run()
    memory_plot = next(plot for plot in plots(cluster) if "planned" in json.dumps(plot))
    assert memory_plot["layer"][0]["encoding"]["y"]["scale"]["domain"]["unionWith"] == [0, 420]


def test_plots_load_nothing(cluster: AppTest) -> None:
    cluster.run()
    assert "http" not in json.dumps(plots(cluster))
    assert "url" not in json.dumps(plots(cluster))


def test_only_new_figures_are_asked_for(cluster: AppTest, console: FakeConsole) -> None:
    cluster.run()
    console.observed = OBSERVED.model_copy(update={"history": (*history(), Sample(at=NOW, units={}))})
    cluster.run()
    first, *_, last = console.called("cluster")
    assert first == 0.0
    assert last == pytest.approx(NOW - 3 - OVERLAP_S, abs=5)
    assert len(plots(cluster)) == 4


def test_a_gateway_that_is_down_is_shown_with_its_hint(cluster: AppTest, console: FakeConsole) -> None:
    console.fails["cluster"] = NotRunning("the gateway does not answer", hint="start it: make up")
    cluster.run()
    assert "the gateway does not answer" in read(cluster)
    assert "start it: make up" in read(cluster)
    assert len(cluster.table) == 0


def test_a_steward_that_is_away_is_said_beside_what_was_last_known(cluster: AppTest, console: FakeConsole) -> None:
    away = "the steward does not answer; this is how it was when it last did"
    console.observed = OBSERVED.model_copy(update={"problems": (away,)})
    cluster.run()
    assert away in read(cluster)
    assert "engine of tiny-model" in table(cluster, 0)


def test_figures_that_nobody_knows_are_said_to_be_unknown(cluster: AppTest, console: FakeConsole) -> None:
    unknown = {"memory_bytes": None, "cpu_cores": None}
    console.observed = OBSERVED.model_copy(
        update={"units": tuple(unit.model_copy(update=unknown) for unit in UNITS), "history": ()}
    )
    cluster.run()
    assert not cluster.exception
    assert "not known" in table(cluster, 0)
    assert cluster.metric[1].value == "not known"
    assert read(cluster).count("Not enough has been seen yet") == 4


def test_a_pod_that_is_not_well_is_said_with_why(cluster: AppTest, console: FakeConsole) -> None:
    ill = UNITS[1].model_copy(update={"is_ready": False, "phase": "pending", "detail": "not placed: <b>no memory</b>"})
    console.observed = OBSERVED.model_copy(update={"units": (UNITS[0], ill)})
    cluster.run()
    assert "engine-tiny-model-5c9: not placed: <b>no memory</b>" in read(cluster)
    assert "pending" in table(cluster, 0)
    assert cluster.metric[0].value == "1 of 2"


def test_before_the_first_look_the_page_says_so(cluster: AppTest, console: FakeConsole) -> None:
    console.observed = Observed(backend="local")
    cluster.run()
    assert not cluster.exception
    assert "Nothing was seen yet" in read(cluster)
    assert "processes of this machine" in read(cluster)


@pytest.mark.parametrize("name", PAGES)
def test_every_page_warns_while_isolation_is_unproved(page: AppTest, console: FakeConsole, name: str) -> None:
    console.isolation = "unproved: *nothing* was seen to hold"
    page.run()
    page.switch_page(f"pages/{name}").run()
    assert not page.exception
    assert "isolation of this cluster is unproved: *nothing* was seen to hold" in read(page)


@pytest.mark.parametrize("isolation", ["", "enforced by the sandbox's policy agent"])
def test_no_page_warns_otherwise(page: AppTest, console: FakeConsole, isolation: str) -> None:
    console.isolation = isolation
    page.run()
    assert "isolation" not in read(page).lower()


def test_the_warning_costs_no_request_a_run_and_outlives_a_silent_gateway(page: AppTest, console: FakeConsole) -> None:
    console.isolation = "unproved"
    page.run()
    asked = len(console.called("status"))
    page.run()
    assert len(console.called("status")) == asked
    page.session_state["isolation_asked_at"] -= ASK_EVERY_S + 1
    console.fails["status"] = NotRunning("away", hint="none")
    page.run()
    assert "is unproved" in read(page)


def figures(at: float) -> Sample:
    return Sample(at=at, units={"a": UnitFigures(model=MODEL.id, memory_bytes=1)})


def memory(sample: Sample) -> dict[str, float | None] | None:
    return {"MiB": 1.0} if sample.units else None


def test_a_line_begins_with_its_window_and_breaks_in_a_gap() -> None:
    points = points_of([figures(1000), figures(1005), figures(1005 + GAP_S + 1)], memory)
    assert [(point.at, point.values["MiB"]) for point in points] == [
        (1005 + GAP_S + 1 - 600, None),
        (1000, 1.0),
        (1005, 1.0),
        (1010, None),
        (1005 + GAP_S + 1, 1.0),
    ]


@pytest.mark.parametrize(("span_s", "window_s"), [(10, 600), (601, 1800), (2500, 1800)])
def test_the_window_is_the_shortest_that_holds_everything(span_s: float, window_s: float) -> None:
    points = points_of([figures(10_000), figures(10_000 + span_s)], memory)
    assert points[0].at == 10_000 + span_s - window_s


def test_nothing_seen_gives_no_points() -> None:
    assert points_of([Sample(at=1.0)], memory) == []
