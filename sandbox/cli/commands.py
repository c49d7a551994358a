"""The commands, and the one place where errors become messages and exit codes."""

from __future__ import annotations

import sys
import traceback
import webbrowser
from dataclasses import asdict
from typing import Annotated

import typer
from typer.exceptions import TyperException

from sandbox import __version__
from sandbox.cli import chat, keys, looking, models, show
from sandbox.errors import SandboxError
from sandbox.lifecycle import up as lifecycle
from sandbox.lifecycle.up import Running
from sandbox.wiring import host

INTERRUPTED = 130
BUG = 70
USAGE = 2

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
Backend = Annotated[str | None, typer.Option(help="Where to run: auto, local or kind.")]
Unproved = Annotated[
    bool, typer.Option("--allow-unproved", help="Run where isolation is not enforced; every page then says so.")
]

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
    allow_unproved: Unproved = False,
    json: Json = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List the steps and what is done, change nothing.")
    ] = False,
) -> None:
    """Bring the sandbox up: model, engine, gateway and page."""
    world = host({"backend": backend, "cluster.allow_unproved": allow_unproved or None}).world
    if dry_run:
        states = lifecycle.dry_run(world)
        if json:
            show.as_json({"steps": [asdict(state) for state in states]})
        else:
            show.table([{"step": state.title, "done": "yes" if state.is_done else "no"} for state in states])
        return
    running = lifecycle.up(world, show.TerminalReporter())
    if json:
        show.as_json(looking.as_object(running))
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


@app.command()
def down() -> None:
    """Stop everything. Chats, keys, models and the record stay."""
    lifecycle.down(host().world, show.TerminalReporter())


app.command("status")(looking.status)
app.command("doctor")(looking.doctor)
app.command("logs")(looking.logs)


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
