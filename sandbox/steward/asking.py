"""The API server, asked again while it is away."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio
import httpx2
from lightkube import ApiError

from sandbox.errors import ClusterFailed

Answer = TypeVar("Answer")

PATIENCE_S = 60.0
"""How long it may stay away before that is an error: right after its node has started it does for a while."""
PAUSE_S = 1.0
SETTLING_S = 10.0
"""A server that has just started refuses what it has not learnt yet to allow."""
NOT_NOW = frozenset({429, 500, 503, 504})
NOT_YET = frozenset({401, 403})
GONE = 404


async def patiently(
    what: str,
    call: Callable[[], Awaitable[Answer]],
    *,
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    patience_s: float = PATIENCE_S,
) -> Answer:
    """Ask until there is an answer.

    Args:
        what: what is asked for, as the beginning of a message.

    Raises:
        ClusterFailed: it was refused, or nobody answered in time.
    """
    begun = time.monotonic()
    while True:
        try:
            return await call()
        except ApiError as error:
            waits_s = patience_s if error.status.code in NOT_NOW else SETTLING_S if error.status.code in NOT_YET else 0
            if time.monotonic() - begun >= min(waits_s, patience_s):
                raise ClusterFailed(f"{what} was refused: {error.status.message}", hint="sandbox status") from error
        except httpx2.HTTPError as error:
            if time.monotonic() - begun >= patience_s:
                why = str(error) or type(error).__name__
                raise ClusterFailed(
                    f"{what}: the cluster's API does not answer: {why}", hint="make up starts a stopped cluster"
                ) from error
        await sleep(PAUSE_S)


async def or_none(call: Awaitable[Answer]) -> Answer | None:
    """Wait for an object; nothing where there is none."""
    try:
        return await call
    except ApiError as error:
        if error.status.code != GONE:
            raise
        return None
