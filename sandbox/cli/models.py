"""``sandbox models``: the catalogue, and the files of it on this machine."""

from __future__ import annotations

from typing import Annotated

import typer

from sandbox import catalogue
from sandbox.cli import show
from sandbox.lifecycle.world import alone
from sandbox.store import Store
from sandbox.units import show_bytes
from sandbox.wiring import host

app = typer.Typer(help="List, fetch and verify models.", invoke_without_command=True)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
Model = Annotated[str, typer.Argument(help="A model's id, from: sandbox models")]


@app.callback()
def list_(context: typer.Context, json: Json = False) -> None:
    """List the reviewed models, and which are on this machine."""
    if context.invoked_subcommand is not None:
        return
    world = host().world
    store = Store(world.home.path)
    cards = list(catalogue.load().values())
    if json:
        rows = [
            {
                "id": card.id,
                "title": card.title,
                "licence": card.licence,
                "sha256": card.sha256,
                "size_bytes": card.size_bytes,
                "context_tokens": card.context_tokens,
                "present": store.has(card),
                "served": card.id in world.settings.models.serve,
            }
            for card in cards
        ]
        show.as_json({"models": rows})
        return
    show.table(
        [
            {
                "model": card.id,
                "size": show_bytes(card.size_bytes),
                "licence": card.licence,
                "context": f"{card.context_tokens} tokens",
                "here": "yes" if store.has(card) else "no",
                "served": "yes" if card.id in world.settings.models.serve else "no",
            }
            for card in cards
        ]
    )


@app.command("fetch")
def fetch(
    model: Model,
    replace: Annotated[bool, typer.Option("--replace", help="Fetch anew even if a file is there.")] = False,
) -> None:
    """Fetch a model's file and verify it. Nothing changes unless what comes is the reviewed file."""
    world = host().world
    card = catalogue.find(catalogue.load(), model)
    store = Store(world.home.path)
    with alone(world), show.TerminalReporter().step(f"Fetch {card.id}") as told:
        if store.has(card) and not replace:
            store.verify(card, told.progress)
            told.skipped()
        else:
            store.add(card, world.fetcher, told.progress)


@app.command("verify")
def verify(model: Model) -> None:
    """Read a model's file from end to end and compare its digest with the reviewed one."""
    card = catalogue.find(catalogue.load(), model)
    blob = Store(host().world.home.path).verify(card)
    show.line(f"{card.id}: sha256 {blob.sha256}, {blob.size_bytes} bytes, as reviewed")
