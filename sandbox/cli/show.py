"""Shows values: results to standard output, progress and errors to standard error."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn
from rich.table import Table

from sandbox.errors import SandboxError
from sandbox.ports import Told
from sandbox.units import show_bytes, show_seconds

out = Console(soft_wrap=True, highlight=False)
err = Console(stderr=True, soft_wrap=True, highlight=False)

PLAIN_EVERY_S = 5.0


def as_json(value: Any) -> None:
    """Print one JSON value."""
    out.print_json(json.dumps(value)) if out.is_terminal else out.print(json.dumps(value), markup=False)


def line(text: str = "") -> None:
    """Print a line as it is."""
    out.print(text, markup=False)


def piece(text: str) -> None:
    """Print a piece of a line, at once."""
    sys.stdout.write(text)
    sys.stdout.flush()


def table(rows: Sequence[Mapping[str, str]]) -> None:
    """Print rows that share their labels."""
    if not rows:
        return
    if not out.is_terminal:
        for row in rows:
            line("  ".join(f"{label}={value}" for label, value in row.items()))
        return
    shown = Table(box=None, pad_edge=False)
    for label in rows[0]:
        shown.add_column(label, style="bold" if label in ("model", "name") else "")
    for row in rows:
        shown.add_row(*row.values())
    out.print(shown)


def error(told: SandboxError) -> None:
    """Print an error and how to mend it."""
    err.print(f"error: {told.message}", style="red", markup=False)
    if told.hint:
        err.print(f"hint:  {told.hint}", markup=False)


def warning(text: str) -> None:
    """Print something worth knowing that is no error."""
    err.print(text, style="yellow", markup=False)


class TerminalReporter:
    """Shows steps as they are taken: live on a terminal, as plain lines elsewhere."""

    @contextmanager
    def step(self, title: str) -> Iterator[Told]:
        """Open the line of one step."""
        began = time.monotonic()
        line_ = _Line(title)
        if err.is_terminal:
            err.print(f"… {title}", end="\r", style="dim", markup=False)
        try:
            yield line_
        except BaseException:
            line_.close()
            err.print(f"✗ {title}", style="red", markup=False)
            raise
        line_.close()
        took = show_seconds(time.monotonic() - began)
        if line_.is_skipped:
            err.print(f"✓ {title}: nothing to do", style="dim", markup=False)
        else:
            err.print(f"✓ {title} ({took})", style="green" if err.is_terminal else "", markup=False)


class _Line:
    def __init__(self, title: str) -> None:
        self._title = title
        self.is_skipped = False
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._said_at = time.monotonic()

    def skipped(self) -> None:
        self.is_skipped = True

    def note(self, text: str) -> None:
        err.print(f"  {self._title}: {text}", markup=False)

    def progress(self, done: int, total: int) -> None:
        if not err.is_terminal:
            if time.monotonic() - self._said_at >= PLAIN_EVERY_S:
                self._said_at = time.monotonic()
                self.note(f"{show_bytes(done)} of {show_bytes(total)}")
            return
        if self._bar is None or self._task is None:
            self._bar = Progress(
                TextColumn("  {task.description}"), BarColumn(), DownloadColumn(), console=err, transient=True
            )
            self._task = self._bar.add_task(self._title, total=total)
            self._bar.start()
        self._bar.update(self._task, completed=done)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
