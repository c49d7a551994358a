"""Keeps a mirror of one kind of objects: lists, watches, and begins anew when that breaks."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Generic, TypeVar

import anyio

from sandbox.errors import ClusterError
from sandbox.isolation.source import Change, Listing, Source, Written

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Pace:
    """How long the agent waits for what, in seconds."""

    coalesce_s: float = 0.05
    """Changes within this time are applied together."""
    check_s: float = 5.0
    """How often to look whether the kernel still holds the rules."""
    retry_s: float = 1.0
    """Before rules that were not taken are tried again."""
    resync_s: float = 120.0
    """A watch that nothing is heard of could be dead; after this long it is begun anew, with a full list."""
    first_wait_s: float = 0.2
    """After a watch broke; doubled each time that it breaks again."""
    longest_wait_s: float = 5.0


T = TypeVar("T")


class Mirror(Generic[T]):
    """The objects of one kind that matter here, as last heard of."""

    def __init__(self, kind: str, read: Callable[[Written], T | None]) -> None:
        self.kind = kind
        self.is_current = False
        """Whether it was listed, and the watch has not broken since."""
        self.breaks = 0
        self._read = read
        self._objects: dict[tuple[str, str], T] = {}

    def __iter__(self) -> Iterator[T]:
        return iter(self._objects.values())

    def __len__(self) -> int:
        return len(self._objects)

    def replace(self, listing: Listing) -> bool:
        """Take a full list; returns whether that changes anything."""
        found = {_key(each): read for each in listing.objects if (read := self._read(each)) is not None}
        changed = found != self._objects or not self.is_current
        self._objects, self.is_current = found, True
        return changed

    def take(self, change: Change) -> bool:
        """Take one change; returns whether it changes anything."""
        key = _key(change.object)
        read = None if change.deleted else self._read(change.object)
        if read == self._objects.get(key):
            return False
        if read is None:
            del self._objects[key]
        else:
            self._objects[key] = read
        return True

    def broke(self) -> None:
        """Stop counting as current; what was heard last stays."""
        self.is_current = False
        self.breaks += 1


async def follow(mirror: Mirror[T], source: Source, changed: Callable[[], None], pace: Pace) -> None:
    """Keep the mirror like its source, for ever; ``changed`` is called after each change that matters."""
    wait_s = pace.first_wait_s
    while True:
        begun = anyio.current_time()
        try:
            await _follow_once(mirror, source, changed, pace)
            wait_s = pace.first_wait_s
        except ClusterError as error:
            mirror.broke()
            if anyio.current_time() - begun > pace.longest_wait_s:
                wait_s = pace.first_wait_s
            log.warning("%s; the last rules stay, next try in %.1f s", error, wait_s)
            await anyio.sleep(wait_s)
            wait_s = min(2 * wait_s, pace.longest_wait_s)


async def _follow_once(mirror: Mirror[T], source: Source, changed: Callable[[], None], pace: Pace) -> None:
    listing = await source.list()
    if mirror.replace(listing):
        changed()
    with anyio.move_on_after(pace.resync_s):
        async with aclosing(source.watch(listing.version)) as changes:
            async for change in changes:
                if mirror.take(change):
                    changed()


def _key(written: Written) -> tuple[str, str]:
    metadata = written["metadata"]
    return metadata.get("namespace") or "", metadata["name"]
