"""The composition root of the command line: real parts, put together from this machine's settings."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sandbox import config
from sandbox.lifecycle.fetch import PipFetcher
from sandbox.lifecycle.world import World


class SystemClock:
    """The time of this machine."""

    def monotonic(self) -> float:
        """Seconds since some fixed moment."""
        return time.monotonic()

    def sleep(self, duration_s: float) -> None:
        """Wait."""
        time.sleep(duration_s)  # noqa: TID251  # the one clock behind the port


@dataclass(frozen=True, slots=True)
class Host:
    """This machine as the command line works on it."""

    loaded: config.Loaded
    world: World


def host(flags: Mapping[str, Any] | None = None) -> Host:
    """Read the settings and put the real parts together.

    Raises:
        ConfigError: a setting is wrong.
    """
    loaded = config.load(flags)
    world = World(
        settings=loaded.settings,
        environment=config.environment(),
        fetcher=PipFetcher(),
        clock=SystemClock(),
    )
    return Host(loaded, world)
