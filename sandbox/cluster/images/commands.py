"""Runs the tools that images are built with; quiet, and with their last words when they fail."""

from __future__ import annotations

import subprocess
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from sandbox.errors import BuildFailed

Say = Callable[[str], None]
OUTPUT_LINES = 25
"""Lines of a failed command that go into the error."""


def run(
    argv: Sequence[str],
    *,
    hint: str,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
    standard_input: str = "",
    heard: Say | None = None,
) -> str:
    """Run one command to its end and return what it wrote to standard output.

    Args:
        environment: variables on top of this process's own.
        heard: told each line the command writes to standard error, as it writes it.

    Raises:
        BuildFailed: it could not be started, or ended with another status than 0.
    """
    # env(1), because a subprocess with one more variable would need a copy of the whole environment.
    extra = ["env", *(f"{name}={value}" for name, value in environment.items())] if environment else []
    last: deque[str] = deque(maxlen=OUTPUT_LINES)
    try:
        process = subprocess.Popen(
            [*extra, *argv],
            cwd=cwd,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE if heard is None else subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
    except OSError as error:
        raise BuildFailed(f"could not run {argv[0]}: {error}", hint=hint) from error
    with process:
        try:
            written = _listen(process, last, standard_input, heard)
        except BaseException:
            process.terminate()  # Ctrl-C as well: what was started here does not outlive this
            raise
    if process.returncode != 0:
        raise BuildFailed(
            f"{' '.join(argv[:6])} … ended with status {process.returncode}:\n" + "\n".join(last), hint=hint
        )
    return written


def _listen(process: subprocess.Popen[str], last: deque[str], standard_input: str, heard: Say | None) -> str:
    """Read a command to its end, line by line where somebody wants to hear them."""
    if heard is None:
        written, complaints = process.communicate(standard_input)
        last.extend((written + complaints).splitlines())
        return written
    if process.stdin is not None:
        process.stdin.write(standard_input)
        process.stdin.close()
    for line in process.stderr or ():
        last.append(line.rstrip())
        heard(line.rstrip())
    return ""
