"""Runs the steward: ``python -m sandbox.steward``, its settings from the environment."""

from __future__ import annotations

import functools
import json
import logging
import secrets
import signal
import socket

import anyio
import uvicorn

from sandbox import catalogue, config, hardware, plan
from sandbox.engine.discover import discover
from sandbox.facts import ModelCard
from sandbox.home import Home, write_private
from sandbox.steward.app import build
from sandbox.steward.keeper import Keeper
from sandbox.steward.local import LocalStarter
from sandbox.steward.observe import Lookout
from sandbox.steward.observe_local import LocalObserver
from sandbox.steward.starter import Starter
from sandbox.store import Store


def keepers_of(settings: config.Settings) -> list[Keeper]:
    """Make one keeper for each model to be served."""
    home, engine = Home(settings.home), settings.engine
    host, limits, cards = hardware.look(), plan.Limits.of(settings.engine), catalogue.load()

    def make_plan(card: ModelCard) -> plan.EnginePlan:
        return plan.make(card, host, limits)

    def starter_of(card: ModelCard) -> Starter:
        if engine.kind == "ollama":
            # its client is an extra that the other engines do not need
            from sandbox.steward.ollama import OllamaStarter  # noqa: PLC0415

            return OllamaStarter(card, store=Store(home.path), url=engine.ollama_url, make_plan=make_plan)
        kind = None if engine.kind == "auto" else engine.kind
        find = functools.partial(discover, kind, cache=settings.cache, configured=engine.path)
        return LocalStarter(card, home=home, make_plan=make_plan, find_program=find)

    served = [catalogue.find(cards, model_id) for model_id in settings.models.serve]
    return [Keeper(card, starter_of(card), start_timeout_s=engine.start_timeout_s) for card in served]


async def serve(settings: config.Settings) -> None:
    """Look after all engines, and answer the gateway, until told to stop; then end the engines."""
    home, token = Home(settings.home), secrets.token_urlsafe(32)
    keepers = keepers_of(settings)
    lookout = Lookout(LocalObserver(home, keepers), backend="local")
    app = build(keepers, token, lookout)
    server = uvicorn.Server(uvicorn.Config(app, access_log=False, server_header=False, log_config=None, lifespan="off"))
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", settings.steward.port))
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        write_private(home.steward_contact, json.dumps({"url": url, "token": token}))
        async with anyio.create_task_group() as tasks:
            for keeper in keepers:
                tasks.start_soon(keeper.keep)
            tasks.start_soon(lookout.keep)
            await server.serve(sockets=[listener])
            tasks.cancel_scope.cancel()
        for keeper in keepers:
            await keeper.stop()


def main() -> None:
    """Serve until told to stop."""
    # uvicorn catches these while it serves and raises them again afterwards, with whatever handler was there
    # before: the default would end this process before it has ended its engines
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    anyio.run(serve, config.load().settings)


if __name__ == "__main__":
    main()
