"""The commands, and the one place where errors become messages and exit codes."""

from __future__ import annotations

import sys
import traceback
import webbrowser
from dataclasses import asdict
from typing import Annotated, Any

import typer
from typer.exceptions import TyperException

from sandbox import __version__
from sandbox.cli import chat, keys, models, show
from sandbox.errors import NotRunning, SandboxError
from sandbox.lifecycle import doctor as doctors
from sandbox.lifecycle import up as lifecycle
from sandbox.lifecycle.up import Running
from sandbox.processes import tail
from sandbox.views import model_cells
from sandbox.wiring import host

INTERRUPTED = 130
BUG = 70
USAGE = 2

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
Backend = Annotated[str | None, typer.Option(help="Where to run: auto or local.")]

app = typer.Typer(
    name="sandbox",
    help="Open-weight models on your own machine, with proof instead of promises.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(keys.app, name="key")
app.add_typer(models.app, name="models")
app.command("chat")(chat.chat)

config_app = typer.Typer(help="Look at the settings.", no_args_is_help=True)
app.add_typer(config_app, name="config")


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        show.line(__version__)
        raise typer.Exit


@app.command()
def up(
    backend: Backend = None,
    json: Json = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List the steps and what is done, change nothing.")
    ] = False,
) -> None:
    """Bring the sandbox up: model, engine, gateway and page."""
    world = host({"backend": backend}).world
    if dry_run:
        states = lifecycle.dry_run(world)
        if json:
            show.as_json({"steps": [asdict(state) for state in states]})
        else:
            show.table([{"step": state.title, "done": "yes" if state.is_done else "no"} for state in states])
        return
    running = lifecycle.up(world, show.TerminalReporter())
    if json:
        show.as_json(_object(running))
        return
    _tell(running)
    if world.settings.page.open and running.signin and sys.stdout.isatty() and _has_desktop():
        webbrowser.open(running.signin)


def _tell(running: Running) -> None:
    show.line()
    show.line(f"backend  {running.backend} ({running.backend_reason})")
    show.line(f"models   {', '.join(f'{row.id} ({row.state})' for row in running.models)}")
    show.line(f"page     {running.page}")
    show.line(f"sign in  {running.signin}   (works once; make up prints a new one)")
    show.line(f"API      {running.api}")
    if running.key:
        show.line(f"key      {running.key}   (shown this once; another: .venv/bin/sandbox key new NAME)")
    else:
        show.line("key      shown at the first start; make another: .venv/bin/sandbox key new NAME")


def _has_desktop() -> bool:
    try:
        return not isinstance(webbrowser.get(), webbrowser.GenericBrowser)
    except webbrowser.Error:
        return False


def _object(running: Running) -> dict[str, Any]:
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


@app.command()
def down() -> None:
    """Stop everything. Chats, keys, models and the record stay."""
    lifecycle.down(host().world, show.TerminalReporter())


@app.command()
def status(json: Json = False) -> None:
    """Say how the sandbox is. Exits with 4 when it is not running."""
    running = lifecycle.status(host().world)
    if json:
        show.as_json(_object(running))
    else:
        for name, runs in running.processes.items():
            show.line(f"{name:8} {'runs' if runs else 'does not run'}")
        show.line(f"page     {running.page}")
        show.line(f"API      {running.api}")
        show.table([model_cells(row) for row in running.models])
        for row in running.models:
            if row.detail:
                show.warning(f"{row.id}: {row.detail}")
    if not running.is_running:
        if not json:
            raise NotRunning(running.problem or "a process of it is missing", hint="start it: make up")
        raise typer.Exit(NotRunning.exit_code)


@app.command()
def doctor(json: Json = False) -> None:
    """Check what must hold before the sandbox can run here."""
    findings = doctors.examine(host().world.settings)
    if json:
        show.as_json({"findings": [asdict(finding) for finding in findings]})
    else:
        for finding in findings:
            show.line(f"{'✓' if finding.is_good else '✗'} {finding.name}: {finding.detail}")
            if finding.hint:
                show.line(f"    {finding.hint}")
    if not all(finding.is_good for finding in findings):
        raise typer.Exit(2)


@app.command()
def logs(
    name: Annotated[str, typer.Argument(help="gateway, steward, page, or a model's id.")] = "gateway",
    lines: Annotated[int, typer.Option(min=1, max=100_000, help="How many of the last lines.")] = 50,
) -> None:
    """Show the end of a log."""
    world = host().world
    known = {found.stem.removeprefix("engine-"): found for found in sorted(world.home.logs.glob("*.log"))}
    if name not in known:
        there = ", ".join(known) or "none yet"
        raise NotRunning(f"there is no log of {name!r}; there are: {there}", hint="sandbox logs gateway")
    for text in tail(known[name], lines):
        show.line(text)


@config_app.command("show")
def config_show(json: Json = False) -> None:
    """Show every setting, its value and where that came from."""
    rows = host().loaded.rows()
    if json:
        show.as_json({"settings": [asdict(row) for row in rows]})
    else:
        show.table(
            [{"setting": row.name, "value": row.value, "from": row.source, "variable": row.variable} for row in rows]
        )


def main() -> None:
    """Run the command line; the only place that turns errors into messages and exit codes."""
    try:
        code = app(standalone_mode=False)
    except SandboxError as error:
        show.error(error)
        sys.exit(error.exit_code)
    except (typer.Abort, KeyboardInterrupt):
        show.warning("interrupted; nothing is lost: run the same command again, or stop everything: make down")
        sys.exit(INTERRUPTED)
    except TyperException as error:
        show.err.print(f"error: {error}", style="red", markup=False)
        show.err.print("hint:  see what there is: sandbox --help", markup=False)
        sys.exit(USAGE)
    except Exception:  # noqa: BLE001  # the boundary: a bug is shown whole
        traceback.print_exc()
        show.warning("this is a bug in the sandbox, not something that you did")
        sys.exit(BUG)
    sys.exit(code if isinstance(code, int) else 0)
