"""Builds the images of a cluster: ``python -m sandbox.cluster.images [node|apps|conformance|all]``."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from sandbox import config
from sandbox.cluster.docker import Docker, Say
from sandbox.cluster.images import apps, conformance, node
from sandbox.errors import SandboxError


def _apps(docker: Docker, cache: Path, say: Say) -> None:
    for ref in apps.ensure(docker, cache, say).values():
        say(ref)


def _conformance(docker: Docker, cache: Path, say: Say) -> None:
    say(str(conformance.cyclonus(cache, say)))
    say(conformance.agnhost(docker, cache, say))


BUILDERS: dict[str, Callable[[Docker, Path, Say], object]] = {
    "node": node.build,
    "apps": _apps,
    "conformance": _conformance,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Build what the command line names and return the exit status."""
    names = ", ".join(BUILDERS)
    parser = argparse.ArgumentParser(prog="python -m sandbox.cluster.images", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{names} or all (default: node)")
    parser.add_argument("--cache-dir", type=Path, default=None, help="cache folder (default: the setting cache)")
    chosen = parser.parse_args(argv)
    if unknown := [name for name in chosen.names if name not in (*BUILDERS, "all")]:
        parser.error(f"unknown: {', '.join(unknown)}; known: {names} and all")
    started = time.monotonic()

    def say(text: str) -> None:
        sys.stderr.write(f"{time.monotonic() - started:7.1f} s  {text}\n")

    try:
        cache = chosen.cache_dir.absolute() if chosen.cache_dir else config.load().settings.cache
        docker = Docker.connect()
        for name in list(BUILDERS) if "all" in chosen.names else chosen.names or ["node"]:
            BUILDERS[name](docker, cache, say)
    except SandboxError as error:
        sys.stderr.write(f"error: {error.message}\nhint:  {error.hint}\n")
        return error.exit_code
    except KeyboardInterrupt:
        sys.stderr.write("stopped; what is finished is kept, and the same command goes on from there\n")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
