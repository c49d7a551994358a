"""Serve the page: ``python -m ui --port 8501 --api http://127.0.0.1:8502``."""

from __future__ import annotations

import argparse
import sys

import uvicorn

from ui.guard import allowed_hosts
from ui.server import build


def main(arguments: list[str] | None = None) -> int:
    """Serve until asked to stop."""
    asked = _parser().parse_args(arguments)
    hosts = allowed_hosts(asked.public_port or asked.port, asked.allowed_host)
    app = build(api=asked.api.rstrip("/"), port=asked.port, extra_hosts=hosts)
    # No access log: addresses can hold a one-time ticket.
    uvicorn.run(
        app,
        host=asked.listen,
        port=asked.port,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=3,
    )
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ui", description="Serve the sandbox's page to this machine.")
    parser.add_argument("--port", type=int, default=8501, help="port to listen on (default: %(default)s)")
    parser.add_argument("--listen", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument(
        "--public-port",
        type=int,
        help="port that browsers name, where it is another than the one listened on",
    )
    parser.add_argument("--api", default="http://127.0.0.1:8502", help="address of the gateway (default: %(default)s)")
    parser.add_argument(
        "--allowed-host",
        action="append",
        default=[],
        metavar="NAME[:PORT]",
        help="another name the page may be opened under; may be repeated",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
