"""The command line: parse, call, show."""

from __future__ import annotations

import sys

__all__ = ["main"]

INTERRUPTED = 130


def main() -> None:
    """Run the command line; Ctrl-C is answered in a line from the first moment on, not by a traceback."""
    try:
        from sandbox.cli.commands import main as run  # noqa: PLC0415  # reading it takes a while, and may be interrupted
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; nothing was done\n")
        sys.exit(INTERRUPTED)
    run()
