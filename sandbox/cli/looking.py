"""``sandbox status``, ``doctor`` and ``logs``: look, and change nothing."""

from __future__ import annotations

import contextlib
import time
from dataclasses import asdict
from typing import Annotated, Any

import typer

from sandbox.cli import show
from sandbox.errors import NotRunning, SandboxError
from sandbox.lifecycle import up as lifecycle
from sandbox.lifecycle.examination import examine
from sandbox.lifecycle.up import Running
from sandbox.lifecycle.world import World
from sandbox.views import happening_cells, model_cells, place_words, unit_cells
from sandbox.wire.observed import Observed
from sandbox.wiring import host

SHOWN_HAPPENINGS = 5

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]


def status(json: Json = False) -> None:
    """Say how the sandbox is. Exits with 4 when it is not running."""
    world = host().world
    running = lifecycle.status(world)
    observed = _observed(world) if running.problem is None else None
    if json:
        show.as_json(as_object(running) | (observed_object(observed) if observed else {}))
    else:
        tell(running, observed)
    if not running.is_running:
        if not json:
            raise NotRunning(running.problem or "a part of it is missing", hint="start it: make up")
        raise typer.Exit(NotRunning.exit_code)


def doctor(json: Json = False) -> None:
    """Check what must hold before the sandbox can run here."""
    findings = examine(host().world)
    if json:
        show.as_json({"findings": [asdict(finding) for finding in findings]})
    else:
        for finding in findings:
            show.line(f"{'✓' if finding.is_good else '✗'} {finding.name}: {finding.detail}")
            if finding.hint:
                show.line(f"    {finding.hint}")
    if not all(finding.is_good for finding in findings):
        raise typer.Exit(2)


def logs(
    name: Annotated[str, typer.Argument(help="gateway, steward, page, or a model's id.")] = "gateway",
    lines: Annotated[int, typer.Option(min=1, max=100_000, help="How many of the last lines.")] = 50,
) -> None:
    """Show the end of a log."""
    for text in lifecycle.logs(host().world, name, lines):
        show.line(text)


def as_object(running: Running) -> dict[str, Any]:
    """Write a running sandbox as JSON."""
    told: dict[str, Any] = {
        "backend": running.backend,
        "page": running.page,
        "api": running.api,
        "models": [{"id": row.id, "state": row.state, "detail": row.detail} for row in running.models],
        "running": running.is_running,
        "processes": running.processes,
    }
    optional = {"signin": running.signin, "key": running.key, "problem": running.problem}
    return told | {name: value for name, value in optional.items() if value is not None}


def _observed(world: World) -> Observed | None:
    """Ask how every pod or process runs; nothing where the gateway does not say."""
    try:
        with contextlib.closing(world.client()) as client:
            return client.cluster(since=time.time())  # without the figures of the past
    except SandboxError:
        return None


def observed_object(observed: Observed) -> dict[str, Any]:
    """Write how every pod or process runs as JSON, without the figures of the past."""
    told = observed.model_dump(mode="json", include={"isolation", "units", "happenings", "problems"})
    return dict(told)


def tell(running: Running, observed: Observed | None) -> None:
    """Print how the sandbox is, and how every pod or process of it runs, where that is known."""
    if observed is None:
        for name, runs in running.processes.items():
            show.line(f"{name:8} {'runs' if runs else 'does not run'}")
    show.line(f"page     {running.page}")
    show.line(f"API      {running.api}")
    show.table([model_cells(row) for row in running.models])
    for row in running.models:
        if row.detail:
            show.warning(f"{row.id}: {row.detail}")
    if observed is not None:
        _show_observed(observed)


def _show_observed(observed: Observed) -> None:
    show.line()
    show.line(place_words(observed))
    show.table([unit_cells(unit, observed.looked_at) for unit in observed.units])
    for unit in observed.units:
        if unit.detail and not unit.is_ready:
            show.warning(f"{unit.name}: {unit.detail}")
    for problem in observed.problems:
        show.warning(problem)
    if observed.happenings:
        show.line()
        show.table([happening_cells(each, observed.looked_at) for each in observed.happenings[:SHOWN_HAPPENINGS]])
