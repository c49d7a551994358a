"""A kernel and an API server that do as they are told."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import anyio

from sandbox.errors import ClusterError
from sandbox.isolation.nft import marker
from sandbox.isolation.source import Change, Listing, Written


class FakeKernel:
    """Remembers what it was given; can be told to refuse it."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.text: str | None = None
        """What is in force; None: no table."""
        self.refuses = False
        self.booted: float | None = None

    async def booted_ago_s(self) -> float | None:
        return self.booted

    async def apply(self, text: str) -> None:
        await anyio.lowlevel.checkpoint()
        if self.refuses:
            raise ClusterError("nft refuses the rules", hint="nft list ruleset")
        self.texts.append(text)
        self.text = text

    async def has_table(self) -> bool:
        return self.text is not None

    async def holds(self, chain: str) -> bool:
        return self.text is not None and marker(self.text) == chain


class FakeSource:
    """Objects of one kind, which the test changes; can be told to break."""

    def __init__(self, kind: str, *objects: Written) -> None:
        self.kind = kind
        self.lists = 0
        self.refuses = False
        self._objects = {self._key(each): each for each in objects}
        self._changes: list[Change | None] = []
        self._news = anyio.Event()

    @staticmethod
    def _key(written: Written) -> tuple[str, str]:
        return written["metadata"].get("namespace", ""), written["metadata"]["name"]

    async def list(self) -> Listing:
        self.lists += 1
        await anyio.lowlevel.checkpoint()
        if self.refuses:
            raise ClusterError(f"{self.kind} cannot be listed", hint="kubectl get --raw /readyz")
        return Listing(tuple(self._objects.values()), str(len(self._changes)))

    async def watch(self, version: str) -> AsyncGenerator[Change, None]:
        position = int(version)
        while True:
            while position < len(self._changes):
                change, position = self._changes[position], position + 1
                if change is None:
                    raise ClusterError(f"{self.kind} cannot be watched", hint="kubectl get --raw /readyz")
                yield change
            await self._news.wait()

    def put(self, written: Written) -> None:
        """Add or change an object."""
        self._objects[self._key(written)] = written
        self._tell(Change(written, deleted=False))

    def delete(self, written: Written) -> None:
        """Delete an object."""
        del self._objects[self._key(written)]
        self._tell(Change(written, deleted=True))

    def put_unheard(self, written: Written) -> None:
        """Add or change an object that the watch does not tell of, as while it is broken."""
        self._objects[self._key(written)] = written

    def break_off(self) -> None:
        """End the watch with an error."""
        self._tell(None)

    def _tell(self, change: Change | None) -> None:
        self._changes.append(change)
        self._news.set()
        self._news = anyio.Event()


async def until(claim: Any, *, what: str, within_s: float = 5.0) -> None:
    """Wait until a claim holds."""
    with anyio.move_on_after(within_s):
        while not claim():
            await anyio.sleep(0.002)
    assert claim(), what
