"""The command line: parse, call, show."""

from sandbox.cli.main import main

__all__ = ["main"]
