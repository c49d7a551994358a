"""The command line: parse, call, show."""

from sandbox.cli.commands import main

__all__ = ["main"]
