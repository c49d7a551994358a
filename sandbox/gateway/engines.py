"""Which engines there are and where, as the steward tells it."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar

import aiohttp
import anyio
from pydantic import BaseModel

from sandbox.engine.protocol import Engine, EngineAddress
from sandbox.errors import EngineUnavailable, NotRunning, UnknownModel
from sandbox.wire.console import ModelRow
from sandbox.wire.fleet import Address, Entry, Fleet
from sandbox.wire.observed import Observed

Told = TypeVar("Told", bound=BaseModel)

log = logging.getLogger(__name__)

FRESH_S = 1.0
"""How long what the steward told is taken as still true."""
STEWARD_TIMEOUT_S = 5.0
PATIENCE_S = 20.0
"""How long a question waits for an engine that is starting: a killed one is back well within it."""
POLL_S = 0.1


class Steward(Protocol):
    """The one who starts and supervises engines."""

    async def fleet(self) -> Fleet:
        """Tell every served model, how it is, and where its engine is reached.

        Raises:
            NotRunning: the steward does not answer.
        """
        ...

    async def observed(self, since: float) -> Observed:
        """Tell how every pod or process runs, and the samples after a moment.

        Raises:
            NotRunning: the steward does not answer.
        """
        ...

    async def close(self) -> None:
        """Give back connections."""
        ...


@dataclass(frozen=True, slots=True)
class Contact:
    """Where the steward is reached, and the token that it asks for."""

    url: str
    token: str = field(repr=False)


ReadContact = Callable[[], Awaitable[Contact]]
"""Reads it anew at every call: the steward, or its token, may have been replaced since the last.

Raises:
    OSError, ValueError, KeyError: it cannot be read.
"""


def contact_file(path: Path) -> ReadContact:
    """Read both from the file that a steward on this machine writes; only this user can read it."""

    async def read() -> Contact:
        told = json.loads(await anyio.Path(path).read_text(encoding="utf-8"))
        return Contact(str(told["url"]), str(told["token"]))

    return read


def contact_at(url: str, token_file: Path) -> ReadContact:
    """Take a known address, and read the token from a file."""

    async def read() -> Contact:
        return Contact(url, (await anyio.Path(token_file).read_text(encoding="utf-8")).strip())

    return read


class HttpSteward:
    """A steward reached over HTTP."""

    def __init__(self, read_contact: ReadContact) -> None:
        self._read_contact = read_contact
        self._session: aiohttp.ClientSession | None = None

    async def fleet(self) -> Fleet:
        """Ask for every served model."""
        return await self._get("/fleet", Fleet)

    async def observed(self, since: float) -> Observed:
        """Ask how every pod or process runs."""
        return await self._get(f"/observed?since={since!r}", Observed)

    async def _get(self, path: str, kind: type[Told]) -> Told:
        if self._session is None:
            # one connection a call: the steward may have been replaced since the last
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=STEWARD_TIMEOUT_S),
                connector=aiohttp.TCPConnector(force_close=True),
            )
        try:
            contact = await self._read_contact()
            headers = {"Authorization": f"Bearer {contact.token}"}
            async with self._session.get(f"{contact.url}{path}", headers=headers) as reply:
                reply.raise_for_status()
                return kind.model_validate_json(await reply.read())
        except (OSError, ValueError, KeyError, aiohttp.ClientError, TimeoutError) as error:
            raise NotRunning(
                f"the steward does not answer: {str(error) or type(error).__name__}", hint="start it: make up"
            ) from error

    async def close(self) -> None:
        """Give back connections."""
        if self._session is not None:
            await self._session.close()


@dataclass(frozen=True, slots=True)
class Served:
    """One served model and its engine."""

    row: ModelRow
    engine: Engine


class Engines:
    """The fleet as last told, and one client for each engine of it."""

    def __init__(self, steward: Steward, connect: Callable[[EngineAddress], Engine]) -> None:
        self._steward = steward
        self._connect = connect
        self._fleet = Fleet(models=())
        self._asked_at = float("-inf")
        self._clients: dict[EngineAddress, Engine] = {}
        self._lock = anyio.Lock()

    async def rows(self) -> list[ModelRow]:
        """List the served models; with the steward away, as last known, and said so."""
        is_told = await self._refresh()
        if is_told:
            return [entry.row for entry in self._fleet.models]
        away = "the steward does not answer; this is how it was when it last did"
        return [entry.row.model_copy(update={"state": "unknown", "detail": away}) for entry in self._fleet.models]

    async def find(self, model: str) -> Served:
        """Find the engine of a model, waiting a while for one that is on its way.

        Raises:
            UnknownModel: it is not served.
            EngineUnavailable: it is, but its engine is not ready in time.
        """
        deadline = time.monotonic() + PATIENCE_S
        while True:
            await self._refresh()
            entry = self._entry(model)
            if entry.address is not None:
                return Served(entry.row, await self._client(_address(entry.address)))
            if entry.row.state == "failed" or time.monotonic() >= deadline:
                raise EngineUnavailable(
                    f"the engine of {model} is not ready ({entry.row.state}); try again in a moment",
                    hint="sandbox status",
                )
            self.forget()
            await anyio.sleep(POLL_S)

    async def find_anew(self, model: str) -> Engine:
        """Find the engine of a model again after it has let a question down.

        Raises:
            UnknownModel, EngineUnavailable: as ``find``.
        """
        self.forget()
        return (await self.find(model)).engine

    async def observed(self, since: float) -> Observed:
        """Ask the steward how every pod or process runs, and for the samples after a moment.

        Raises:
            NotRunning: the steward does not answer.
        """
        return await self._steward.observed(since)

    def forget(self) -> None:
        """Ask the steward at the next call, however fresh the last answer is."""
        self._asked_at = float("-inf")

    def _entry(self, model: str) -> Entry:
        for entry in self._fleet.models:
            if entry.row.id == model:
                return entry
        if not self._fleet.models:
            raise EngineUnavailable("no model is served at the moment; try again shortly", hint="sandbox status")
        served = ", ".join(entry.row.id for entry in self._fleet.models)
        raise UnknownModel(f"the model {model[:100]!r} is not served here; served: {served}", hint="sandbox models")

    async def close(self) -> None:
        """Give back connections."""
        for client in self._clients.values():
            await client.close()
        await self._steward.close()

    async def _refresh(self) -> bool:
        async with self._lock:
            if time.monotonic() - self._asked_at < FRESH_S:
                return True
            try:
                self._fleet = await self._steward.fleet()
            except NotRunning as error:
                # engines live on without their steward: what was known still serves
                log.warning("%s", error.message)
                return False
            self._asked_at = time.monotonic()
            return True

    async def _client(self, address: EngineAddress) -> Engine:
        async with self._lock:
            if address not in self._clients:
                gone = [old for old in self._clients if old.url == address.url or old.model_name == address.model_name]
                for old in gone:
                    await self._clients.pop(old).close()
                self._clients[address] = self._connect(address)
            return self._clients[address]


def _address(told: Address) -> EngineAddress:
    return EngineAddress(
        kind=told.kind,
        url=told.url,
        model_name=told.model_name,
        key=told.key,
        context_tokens=told.context_tokens,
    )
