"""Hands rulesets to the kernel by the ``nft`` program; the only module that changes the node."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from typing import Protocol

import anyio

from sandbox.errors import ClusterError
from sandbox.isolation.nft import BOOTED, FRESH_S, REMOVE, TABLE

TIMEOUT_S = 30.0
SAID_CHARS = 600


class Kernel(Protocol):
    """The node's packet filter, as the agent needs it."""

    async def apply(self, text: str) -> None:
        """Carry out one transaction, wholly or not at all; ``ClusterError`` where it is refused."""
        ...

    async def has_table(self) -> bool:
        """Whether the agent's table is there, whoever made it."""
        ...

    async def holds(self, chain: str) -> bool:
        """Whether the agent's table has a chain of that name."""
        ...

    async def booted_ago_s(self) -> float | None:
        """How long ago the node was booted, in seconds; None where that was long ago or cannot be told."""
        ...


class Nft:
    """The kernel of the network namespace that this process is in."""

    async def apply(self, text: str) -> None:
        """Carry out one transaction."""
        status, said = await _run(["-f", "-"], text)
        if status != 0:
            raise ClusterError(
                f"nft refuses the rules (exit {status}): {said}",
                hint="the last rules are still in force; see what is there: nft list table " + TABLE,
            )

    async def has_table(self) -> bool:
        """Whether the agent's table is there."""
        status, said = await _run(["list", "tables"])
        return status == 0 and f"table {TABLE}" in said.splitlines()

    async def holds(self, chain: str) -> bool:
        """Whether the table has that chain."""
        status, _ = await _run(["list", "chain", *TABLE.split(), chain])
        return status == 0

    async def booted_ago_s(self) -> float | None:
        """How long ago the node was booted, as told by the table of its boot, or by the machine itself."""
        status, said = await _run(["-j", "list", "set", *TABLE.split(), BOOTED])
        left_s = re.search(r'"expires": (\d+)', said) if status == 0 else None
        told = [FRESH_S - float(left_s[1])] if left_s else []
        booted = re.search(r"^btime (\d+)$", await anyio.Path("/proc/stat").read_text(), re.MULTILINE)
        if booted:
            told.append(time.time() - float(booted[1]))
        return min((ago_s for ago_s in told if ago_s < FRESH_S), default=None)

    async def remove(self) -> None:
        """Remove the table, there or not: pods are then as open as if there were no policies."""
        await self.apply(REMOVE)


async def _run(arguments: Sequence[str], text: str = "") -> tuple[int, str]:
    try:
        with anyio.fail_after(TIMEOUT_S):
            done = await anyio.run_process(["nft", *arguments], input=text.encode(), check=False)
    except FileNotFoundError as error:
        raise ClusterError("the program nft is not there", hint="apt-get install nftables") from error
    except TimeoutError as error:
        raise ClusterError(
            f"nft {' '.join(arguments)} took longer than {TIMEOUT_S:.0f} s", hint="nft monitor"
        ) from error
    return done.returncode, (done.stdout if done.returncode == 0 else done.stderr).decode(errors="replace")[:SAID_CHARS]
