"""Writes the pages of ``docs/`` that come from the code, or checks that they are not stale.

python docs/generate.py           writes them
python docs/generate.py --check   exits with 1 and names those that differ
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import typer.main
from typer.testing import CliRunner

from sandbox import config, errors
from sandbox.cli.commands import app

HERE = Path(__file__).parent
NOTE = "<!-- written by `make docs`; do not edit -->"
DEFAULTS_ELSEWHERE = {"home": "the platform's data folder", "cache": "the platform's cache folder"}


def settings_page() -> str:
    """Write every setting with its variable, default and meaning."""
    defaults = {row.name: row.value for row in config.load(environment={}).rows()}
    lines = [
        "# Settings",
        NOTE,
        "",
        "A setting comes from, in this order: a command-line flag, the environment, `sandbox.toml` in the data",
        "folder, its default. `sandbox config show` prints each value and where it came from. A name that does not",
        "exist is an error.",
        "",
        "| setting | variable | default | meaning |",
        "|---|---|---|---|",
    ]
    for name, description in config.fields().items():
        default = DEFAULTS_ELSEWHERE.get(name, defaults[name])
        shown = "decided by the plan" if default == "None" and name != "engine.path" else default
        shown = "searched for" if name == "engine.path" else shown
        lines.append(f"| `{name}` | `{config.variable_of(name)}` | {shown} | {description} |")
    return "\n".join(lines) + "\n"


def errors_page() -> str:
    """Write every error with its code, exit status and HTTP status."""
    lines = [
        "# Errors",
        NOTE,
        "",
        "Every expected failure has a stable code. On the command line it is a message, a hint and an exit status;",
        "over HTTP it is a status and a body in the client's dialect. Ctrl-C exits with 130, a bug with 70 and a",
        "traceback.",
        "",
        "| code | exit | HTTP | meaning |",
        "|---|---|---|---|",
    ]
    for kind in _tree(errors.SandboxError):
        meaning = (kind.__doc__ or "").splitlines()[0]
        lines.append(f"| `{kind.code}` | {kind.exit_code} | {kind.http_status} | {meaning} |")
    return "\n".join(lines) + "\n"


def _tree(kind: type[errors.SandboxError]) -> Iterator[type[errors.SandboxError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from _tree(child)


def commands_page() -> str:
    """Write the help of every command."""
    parts = ["# Commands", NOTE]
    for words in _commands((), typer.main.get_command(app)):
        told = CliRunner().invoke(app, [*words, "--help"], prog_name="sandbox", env={"TERMINAL_WIDTH": "100"})
        parts += [f"## {' '.join(('sandbox', *words))}", "```text\n" + told.output.strip() + "\n```"]
    return "\n\n".join(parts) + "\n"


def _commands(words: tuple[str, ...], command: object) -> Iterator[tuple[str, ...]]:
    yield words
    inner: dict[str, object] = getattr(command, "commands", {})
    for name, each in inner.items():
        yield from _commands((*words, name), each)


PAGES = {"settings.md": settings_page, "errors.md": errors_page, "commands.md": commands_page}


def main() -> int:
    """Write or check every page; return the exit status."""
    is_check = "--check" in sys.argv[1:]
    stale = []
    for name, write in PAGES.items():
        path, text = HERE / name, write()
        if is_check:
            if not path.exists() or path.read_text(encoding="utf-8") != text:
                stale.append(name)
        else:
            path.write_text(text, encoding="utf-8")
    if stale:
        sys.stderr.write(f"stale: {', '.join(stale)}\nwrite them anew: make docs\n")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
