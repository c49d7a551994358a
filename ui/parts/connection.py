"""The way from the page to the gateway, with the key of whoever is signed in."""

from __future__ import annotations

from collections.abc import Callable, Generator
from functools import lru_cache
from typing import Protocol

import streamlit as st

from sandbox import errors
from sandbox.client import Client
from sandbox.wire import console as wire
from sandbox.wire.observed import Observed
from ui.guard import COOKIE

MAX_CLIENTS = 32


class Console(Protocol):
    """What the pages ask of the gateway; `sandbox.client.Client` does it."""

    def status(self) -> wire.Status:
        """Say how the whole sandbox is."""
        ...

    def cluster(self, since: float = 0.0) -> Observed:
        """Say how every pod or process runs, and what was sampled after a moment."""
        ...

    def models(self) -> list[wire.ModelRow]:
        """List the served models."""
        ...

    def keys(self) -> list[wire.KeyRow]:
        """List keys, without their secrets."""
        ...

    def new_key(self, name: str) -> wire.IssuedKey:
        """Make a key; its secret is shown this once."""
        ...

    def revoke_key(self, key_id: str) -> None:
        """Make a key invalid at once."""
        ...

    def chats(self, query: str = "") -> list[wire.ChatSummary]:
        """List chats, newest first, that contain a text."""
        ...

    def new_chat(self, new: wire.NewChat) -> wire.Chat:
        """Make an empty chat."""
        ...

    def chat(self, chat_id: str) -> wire.Chat:
        """Read a chat with all its branches."""
        ...

    def change_chat(self, chat_id: str, change: wire.ChatChange) -> wire.Chat:
        """Rename a chat, or change its model, settings or shown branch."""
        ...

    def delete_chat(self, chat_id: str) -> None:
        """Delete a chat for good."""
        ...

    def export_chat(self, chat_id: str, *, as_json: bool) -> str:
        """Write a chat as JSON or as Markdown."""
        ...

    def turn(self, chat_id: str, turn: wire.Turn) -> Generator[wire.TurnEvent, None, None]:
        """Ask within a chat; closing the generator stops the engine."""
        ...


class _Way:
    """Where consoles come from; set once by the server before the first page is drawn."""

    make: Callable[[str], Console] | None = None


def use_gateway(api: str) -> None:
    """Let every page talk to the gateway at this address.

    Clients are kept by key, so that a page's many small runs share their connections.
    """
    use_console(lru_cache(maxsize=MAX_CLIENTS)(lambda key: Client(api, key)))


def use_console(make: Callable[[str], Console]) -> None:
    """Let every page use the consoles that this makes of keys."""
    _Way.make = make


def console() -> Console:
    """Give the gateway's console for whoever is signed in.

    Raises:
        Unauthenticated: nobody is.
        NotRunning: the page was not started by its own server.
    """
    if _Way.make is None:
        raise errors.NotRunning("the page does not know its gateway", hint="start it with: make up")
    return _Way.make(st.context.cookies.get(COOKIE, ""))
