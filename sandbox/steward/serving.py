"""One steward at work: its keepers, its lookout, its socket, until it is told to stop."""

from __future__ import annotations

import socket
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import anyio
import uvicorn

from sandbox.steward.app import build
from sandbox.steward.keeper import Keeper
from sandbox.steward.observe import Lookout


@contextmanager
def listening(address: str, port: int) -> Iterator[socket.socket]:
    """Hold a socket that listens; port 0 takes a free one."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        yield listener


async def serve(
    listener: socket.socket,
    keepers: Sequence[Keeper],
    *,
    lookout: Lookout,
    read_token: Callable[[], str],
    beside: Sequence[Callable[[], Coroutine[Any, Any, None]]] = (),
) -> None:
    """Look after all engines, and answer the gateway, until a signal; then let every keeper stop.

    Args:
        beside: what else runs all the time.
    """
    app = build(keepers, read_token, lookout)
    server = uvicorn.Server(uvicorn.Config(app, access_log=False, server_header=False, log_config=None, lifespan="off"))
    async with anyio.create_task_group() as tasks:
        for work in (*(keeper.keep for keeper in keepers), lookout.keep, *beside):
            tasks.start_soon(work)
        await server.serve(sockets=[listener])
        tasks.cancel_scope.cancel()
    for keeper in keepers:
        await keeper.stop()
