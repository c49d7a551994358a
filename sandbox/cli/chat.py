"""``sandbox chat``: ask from the terminal; the chat is in the page's history too."""

from __future__ import annotations

import contextlib
import re
import sys
from typing import Annotated

import typer

from sandbox.cli import show
from sandbox.client import Client
from sandbox.errors import NotRunning, SandboxError, by_code
from sandbox.views import stats_line
from sandbox.wire.console import Chat, ChatMessage, NewChat, SamplingSettings, Turn, TurnEvent
from sandbox.wiring import host

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""Control characters: a model's answer must not drive the terminal."""


def chat(
    question: Annotated[str | None, typer.Argument(help="Ask this and end; without it, a conversation.")] = None,
    model: Annotated[str | None, typer.Option(help="Which model; the first served one if not given.")] = None,
    system: Annotated[str, typer.Option(help="What the model is told before the conversation.")] = "",
    temperature: Annotated[float, typer.Option(min=0, max=2, help="0 takes the likeliest word each time.")] = 0.7,
    max_tokens: Annotated[int, typer.Option(min=1, max=131_072, help="Longest answer, in tokens.")] = 512,
    json: Annotated[bool, typer.Option("--json", help="Print the answer as one JSON object.")] = False,
) -> None:
    """Chat with a model."""
    with contextlib.closing(host().world.client()) as client:
        sampling = SamplingSettings(temperature=temperature, max_tokens=max_tokens)
        started = client.new_chat(NewChat(model=model or _first(client), system=system, sampling=sampling))
        if question is not None:
            _ask(client, started, question, None, json=json)
        else:
            _converse(client, started)


def _first(client: Client) -> str:
    rows = client.models()
    if not rows:
        raise NotRunning("no model is served", hint="see why: sandbox status")
    return rows[0].id


def _converse(client: Client, started: Chat) -> None:
    show.line(f"{started.model}. End with Ctrl-D; Ctrl-C stops an answer.")
    parent: str | None = None
    while True:
        try:
            question = input("\n> ").strip()
        except (EOFError, KeyboardInterrupt):
            show.line()
            return
        if question:
            try:
                answer = _ask(client, started, question, parent, json=False)
            except SandboxError as error:
                show.error(error)  # the conversation goes on from where it was
            else:
                parent = answer.id if answer else parent


def _ask(client: Client, chat: Chat, question: str, parent: str | None, *, json: bool) -> ChatMessage | None:
    answer: ChatMessage | None = None
    try:
        with contextlib.closing(client.turn(chat.id, Turn(text=question, parent_id=parent))) as events:
            for event in events:
                answer = event.answer or answer
                _take(event, json=json)
    except KeyboardInterrupt:
        show.line("\n(stopped)")
        if json:
            raise
        return answer
    if answer is not None and answer.state != "writing":
        if json:
            show.as_json(answer.model_dump())
        else:
            show.line()
            if answer.stats and sys.stdout.isatty():
                show.err.print(stats_line(answer.stats), style="dim", markup=False)
    return answer


def _take(event: TurnEvent, *, json: bool) -> None:
    if event.type == "error":
        raise by_code(event.code or "")(event.message or "the answer failed", hint="sandbox status")
    if event.type == "delta" and not json:
        show.piece(CONTROL.sub("", event.text))
