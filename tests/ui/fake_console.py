"""A console in memory: what the gateway does for the pages, without a gateway."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator
from itertools import count

from sandbox.errors import NotFound, SandboxError
from sandbox.wire import console as wire
from sandbox.wire.observed import Exit, Happening, ModelFigures, Observed, Sample, Unit, UnitFigures

Answer = Callable[[str], list[str]]

MODEL = wire.ModelRow(
    id="tiny-model",
    title="Tiny Model 135M",
    state="ready",
    licence="Apache-2.0",
    sha256="ab" * 32,
    size_bytes=98_000_000,
    context_tokens=2048,
    slots=2,
    threads=2,
    engine="llama-server (found on PATH)",
    restarts=1,
    memory_bytes=210_000_000,
    why=("2 slots: as many as there are cores", "2048 tokens: what was asked for"),
)
STATS = wire.AnswerStats(prompt_tokens=12, completion_tokens=34, first_token_s=0.21, tokens_per_s=17.5, duration_s=2.1)

MIB = 1024 * 1024
NOW = 1_700_000_000.0
UNITS = (
    Unit(
        kind="pod", namespace="sandbox", name="gateway-7d4", component="gateway", phase="running", is_ready=True,
        node="node-1", started_at=NOW - 600, image="sandbox/gateway@sha256:ab", memory_bytes=60 * MIB,
        memory_limit_bytes=256 * MIB, cpu_cores=0.02,
    ),
    Unit(
        kind="pod", namespace="models", name="engine-tiny-model-5c9", component="engine", model=MODEL.id,
        phase="running", is_ready=True, restarts=3, node="node-1", started_at=NOW - 180,
        last_exit=Exit(reason="OOMKilled", code=137, at=NOW - 180), image="sandbox/engine@sha256:cd",
        memory_bytes=210 * MIB, memory_limit_bytes=420 * MIB, cpu_cores=0.8, cpu_planned=1.0,
    ),
)  # fmt: skip
HAPPENINGS = (
    Happening(
        at=NOW - 180, about="engine-tiny-model-5c9", reason="BackOff", message="Back-off restarting failed container",
        count=4, is_warning=True,
    ),
)  # fmt: skip


def history(n_samples: int = 20) -> tuple[Sample, ...]:
    """Figures of the last minutes, as steward and gateway sample them by turns."""
    samples: list[Sample] = []
    for number in range(n_samples):
        at = NOW - 5.0 * (n_samples - number)
        used = UnitFigures(model=MODEL.id, memory_bytes=(200 + number) * MIB, cpu_cores=0.5)
        samples.append(Sample(at=at, units={"engine-tiny-model-5c9": used}))
        flow = ModelFigures(running=2, queued=number % 3, slots=2, tokens_per_s=40.0 + number)
        samples.append(Sample(at=at + 2, models={MODEL.id: flow}))
    return tuple(samples)


OBSERVED = Observed(
    backend="kind", isolation="enforced by the sandbox's policy agent", looked_at=NOW, units=UNITS,
    happenings=HAPPENINGS, history=history(),
)  # fmt: skip


def echo(question: str) -> list[str]:
    """Answer with the question, in two pieces."""
    return ["You asked: ", question]


class FakeConsole:
    """Keeps chats and keys in lists; raises what it is told to raise, once."""

    def __init__(self, answer: Answer = echo) -> None:
        self.calls: list[tuple[str, object]] = []
        self.rows = [MODEL]
        self.isolation = ""
        self.observed = OBSERVED
        self.key_rows: list[wire.KeyRow] = []
        self.kept: dict[str, wire.Chat] = {}
        self.answer = answer
        self.fails: dict[str, SandboxError] = {}
        self.ends: dict[str, object] = {"state": "done", "finish_reason": "stop"}
        self._numbers = count(1)

    def called(self, name: str) -> list[object]:
        """List what a method was called with."""
        return [given for method, given in self.calls if method == name]

    def status(self) -> wire.Status:
        self._told("status", None)
        return wire.Status(
            version="0.1.0", backend="local", page="http://127.0.0.1:8501", api="http://127.0.0.1:8502/v1",
            models=tuple(self.rows), records=1234, uptime_s=4000.0, isolation=self.isolation,
        )  # fmt: skip

    def cluster(self, since: float = 0.0) -> Observed:
        self._told("cluster", since)
        told = tuple(sample for sample in self.observed.history if sample.at > since)
        return self.observed.model_copy(update={"history": told})

    def models(self) -> list[wire.ModelRow]:
        self._told("models", None)
        return self.rows

    def keys(self) -> list[wire.KeyRow]:
        self._told("keys", None)
        return self.key_rows

    def new_key(self, name: str) -> wire.IssuedKey:
        self._told("new_key", name)
        row = wire.KeyRow(
            id=f"key{next(self._numbers)}", name=name, kind="user", owner="local", created_at=1_700_000_000
        )
        self.key_rows.append(row)
        return wire.IssuedKey(**row.model_dump(), key="the-secret-of-" + name)

    def revoke_key(self, key_id: str) -> None:
        self._told("revoke_key", key_id)
        self.key_rows = [row for row in self.key_rows if row.id != key_id]

    def chats(self, query: str = "") -> list[wire.ChatSummary]:
        self._told("chats", query)
        found = [
            chat
            for chat in self.kept.values()
            if query.lower() in " ".join([chat.title, *(one.content for one in chat.messages)]).lower()
        ]
        fields = set(wire.ChatSummary.model_fields)
        newest = sorted(found, key=lambda chat: chat.updated_at, reverse=True)
        return [wire.ChatSummary(**chat.model_dump(include=fields)) for chat in newest]

    def new_chat(self, new: wire.NewChat) -> wire.Chat:
        self._told("new_chat", new)
        at = float(next(self._numbers))
        chat = wire.Chat(
            id=f"chat{at:.0f}", title=new.title, model=new.model, created_at=at, updated_at=at, system=new.system,
            sampling=new.sampling,
        )  # fmt: skip
        self.kept[chat.id] = chat
        return chat

    def chat(self, chat_id: str) -> wire.Chat:
        self._told("chat", chat_id)
        if chat_id not in self.kept:
            raise NotFound(f"there is no chat '{chat_id}'", hint="it may have been deleted; go back to the list")
        return self.kept[chat_id]

    def change_chat(self, chat_id: str, change: wire.ChatChange) -> wire.Chat:
        self._told("change_chat", change)
        given = {name: getattr(change, name) for name in change.model_fields_set}
        self.kept[chat_id] = self.kept[chat_id].model_copy(update=given)
        return self.kept[chat_id]

    def delete_chat(self, chat_id: str) -> None:
        self._told("delete_chat", chat_id)
        del self.kept[chat_id]

    def export_chat(self, chat_id: str, *, as_json: bool) -> str:
        self._told("export_chat", (chat_id, as_json))
        chat = self.kept[chat_id]
        return chat.model_dump_json() if as_json else f"# {chat.title}\n"

    def turn(self, chat_id: str, turn: wire.Turn) -> Generator[wire.TurnEvent, None, None]:
        self._told("turn", turn)
        question, answer = self.open_turn(chat_id, turn)
        yield wire.TurnEvent(type="started", question=question, answer=answer)
        yield wire.TurnEvent(type="wait")
        pieces: list[str] = []
        try:
            for piece in self.answer(question.content):
                pieces.append(piece)
                yield wire.TurnEvent(type="delta", text=piece)
        except GeneratorExit:
            self.settle(chat_id, answer.id, "".join(pieces), state="stopped")
            raise
        settled = self.settle(chat_id, answer.id, "".join(pieces), **self.ends)
        if settled.state == "failed":
            yield wire.TurnEvent(type="error", answer=settled, code="engine_broke", message=settled.error)
        else:
            yield wire.TurnEvent(type="done", answer=settled)

    def open_turn(self, chat_id: str, turn: wire.Turn) -> tuple[wire.ChatMessage, wire.ChatMessage]:
        """Store the question, unless it is there, and an empty answer under it."""
        chat = self.kept[chat_id]
        by_id = {one.id: one for one in chat.messages}
        messages = list(chat.messages)
        if turn.text is None:
            question = by_id[str(turn.parent_id)]
        else:
            question = self._message("user", turn.parent_id, turn.text)
            messages.append(question)
        answer = self._message("assistant", question.id, "", state="writing", model=chat.model)
        title = question.content[:40] if chat.title == "New chat" else chat.title
        self.kept[chat_id] = chat.model_copy(
            update={
                "messages": (*messages, answer),
                "leaf_id": answer.id,
                "title": title,
                "updated_at": answer.created_at,
            }
        )
        return question, answer

    def settle(self, chat_id: str, message_id: str, content: str, **ended: object) -> wire.ChatMessage:
        """Store how an answer ended."""
        update = {"content": content, "stats": STATS, "record_id": "0123456789abcdef", **ended}
        chat = self.kept[chat_id]
        messages = tuple(one.model_copy(update=update) if one.id == message_id else one for one in chat.messages)
        self.kept[chat_id] = chat.model_copy(update={"messages": messages})
        return next(one for one in messages if one.id == message_id)

    def dump(self) -> str:
        """Print every chat, for a failing test."""
        return json.dumps({name: json.loads(chat.model_dump_json()) for name, chat in self.kept.items()}, indent=1)

    def _message(self, role: str, parent_id: str | None, content: str, **more: object) -> wire.ChatMessage:
        number = next(self._numbers)
        return wire.ChatMessage.model_validate(
            {"id": f"m{number}", "parent_id": parent_id, "role": role, "content": content, "created_at": number, **more}
        )

    def _told(self, name: str, given: object) -> None:
        self.calls.append((name, given))
        error = self.fails.pop(name, None)
        if error is not None:
            raise error
