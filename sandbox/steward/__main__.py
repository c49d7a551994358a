"""Runs the steward: ``python -m sandbox.steward``, its settings from the environment, its place from flags."""

from __future__ import annotations

import argparse
import functools
import json
import logging
import secrets
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import anyio

from sandbox import catalogue, config, hardware, plan
from sandbox.engine.discover import discover
from sandbox.errors import SandboxError
from sandbox.facts import ModelCard
from sandbox.home import Home, write_private
from sandbox.steward.keeper import Keeper
from sandbox.steward.local import LocalStarter
from sandbox.steward.observe import Lookout
from sandbox.steward.observe_local import LocalObserver
from sandbox.steward.serving import listening, serve
from sandbox.steward.starter import Starter
from sandbox.store import Store

log = logging.getLogger(__name__)


def keepers_of(settings: config.Settings) -> list[Keeper]:
    """Make one keeper for each model to be served."""
    home, engine = Home(settings.home), settings.engine
    host, limits, cards = hardware.look(), plan.Limits.of(settings.engine), catalogue.load()
    served = [catalogue.find(cards, model_id) for model_id in settings.models.serve]

    def make_plan(card: ModelCard) -> plan.EnginePlan:
        return plan.make_in_turn(served, card, host, limits)

    def starter_of(card: ModelCard) -> Starter:
        if engine.kind == "ollama":
            # its client is an extra that the other engines do not need
            from sandbox.steward.ollama import OllamaStarter  # noqa: PLC0415

            return OllamaStarter(card, store=Store(home.path), url=engine.ollama_url, make_plan=make_plan)
        kind = None if engine.kind == "auto" else engine.kind
        find = functools.partial(
            discover, kind, cache=settings.cache, configured=engine.path, accelerator=limits.accelerator
        )
        return LocalStarter(card, home=home, make_plan=make_plan, find_program=find)

    return [Keeper(card, starter_of(card), start_timeout_s=engine.start_timeout_s) for card in served]


async def serve_here(settings: config.Settings, asked: argparse.Namespace) -> None:
    """Look after engines on this machine until told to stop; then end them."""
    home, token = Home(settings.home), secrets.token_urlsafe(32)
    keepers = keepers_of(settings)
    with listening(asked.listen, settings.steward.port if asked.port is None else asked.port) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        write_private(home.steward_contact, json.dumps({"url": url, "token": token}))
        lookout = Lookout(LocalObserver(home, keepers), backend="local")
        await serve(listener, keepers, lookout=lookout, read_token=lambda: token)


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the flags; without any, the steward looks after engines on this machine."""
    parser = argparse.ArgumentParser(prog="python -m sandbox.steward", allow_abbrev=False)
    parser.add_argument("--listen", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, help="port to listen on (default: the setting steward.port)")
    parser.add_argument("--in-cluster", action="store_true", help="look after Deployments of the cluster this runs in")
    parser.add_argument("--token-file", type=Path, help="in a cluster: the token that the gateway has too")
    parser.add_argument("--engine-key-file", type=Path, help="in a cluster: the key that every engine asks for")
    parser.add_argument("--engine-image", metavar="REF", help="in a cluster: the engines' image by digest")
    asked = parser.parse_args(argv)
    needed = {
        "--token-file": asked.token_file,
        "--engine-key-file": asked.engine_key_file,
        "--engine-image": asked.engine_image,
    }
    missing = [name for name, value in needed.items() if asked.in_cluster and not value]
    needless = [name for name, value in needed.items() if not asked.in_cluster and value]
    if missing:
        parser.error(f"--in-cluster needs {', '.join(missing)}")
    if needless:
        parser.error(f"only with --in-cluster: {', '.join(needless)}")
    return asked


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until told to stop."""
    # uvicorn catches these while it serves and raises them again afterwards, with whatever handler was there
    # before: the default would end this process before it has ended its engines
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for noisy in ("httpx", "httpx2"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    asked, serving = parse(argv), serve_here
    try:
        if asked.in_cluster:
            # the cluster's client is an extra that a steward of this machine's own processes does not need
            from sandbox.steward.in_cluster import serve_in_cluster  # noqa: PLC0415

            serving = serve_in_cluster
        anyio.run(serving, config.load().settings, asked)
    except SandboxError as error:
        log.error("%s — %s", error.message, error.hint)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
