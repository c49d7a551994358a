"""The sandbox's own API (``/sandbox/v1``) as data, shared by the gateway and its clients."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

MAX_TITLE_CHARS = 200
MAX_SYSTEM_CHARS = 32_000
MAX_TEXT_CHARS = 1_000_000


class _Body(BaseModel):
    """A frozen body whose unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class SamplingSettings(_Body):
    """How the next token is chosen, with the ranges that the gateway accepts."""

    max_tokens: int = Field(default=512, ge=1, le=131_072)
    temperature: float = Field(default=0.7, ge=0, le=2)
    top_p: float = Field(default=0.95, gt=0, le=1)
    top_k: int = Field(default=40, ge=0, le=1000)
    min_p: float = Field(default=0.05, ge=0, le=1)
    repeat_penalty: float = Field(default=1.1, ge=0.1, le=2)
    seed: int | None = Field(default=None, ge=0, le=2**32 - 1)


class AnswerStats(_Body):
    """What one answer cost, as the gateway measured it."""

    prompt_tokens: int
    completion_tokens: int
    first_token_s: float | None
    """Seconds from taking the request to the first piece of the answer."""
    tokens_per_s: float | None
    """Completion tokens after the first, per second, over the time they streamed; none for a single token."""
    duration_s: float


MessageState = Literal["done", "writing", "stopped", "failed"]


class ChatMessage(_Body):
    """One node of a chat's tree."""

    id: str
    parent_id: str | None
    role: Literal["user", "assistant"]
    content: str
    created_at: float
    state: MessageState = "done"
    model: str | None = None
    record_id: str | None = None
    finish_reason: str | None = None
    stats: AnswerStats | None = None
    error: str | None = None


class ChatSummary(_Body):
    """One row of the history."""

    id: str
    title: str
    model: str
    created_at: float
    updated_at: float


class Chat(ChatSummary):
    """A chat with every branch; ``leaf_id`` names the end of the branch being shown."""

    system: str = ""
    sampling: SamplingSettings = SamplingSettings()
    leaf_id: str | None = None
    messages: tuple[ChatMessage, ...] = ()


class NewChat(_Body):
    """Asks for an empty chat."""

    model: str = Field(min_length=1, max_length=200)
    title: str = Field(default="New chat", min_length=1, max_length=MAX_TITLE_CHARS)
    system: str = Field(default="", max_length=MAX_SYSTEM_CHARS)
    sampling: SamplingSettings = SamplingSettings()


class ChatChange(_Body):
    """Asks to change what is given, and leave the rest."""

    title: str | None = Field(default=None, min_length=1, max_length=MAX_TITLE_CHARS)
    model: str | None = Field(default=None, min_length=1, max_length=200)
    system: str | None = Field(default=None, max_length=MAX_SYSTEM_CHARS)
    sampling: SamplingSettings | None = None
    leaf_id: str | None = None


class Turn(_Body):
    """Asks for an answer.

    With ``text``, a new user message is put under ``parent_id`` (``None``: at the root) and answered; a
    parent that has an answer already makes a new branch, which is how a question is edited. Without
    ``text``, ``parent_id`` must name a user message, which is answered once more.
    """

    text: str | None = Field(default=None, min_length=1, max_length=MAX_TEXT_CHARS)
    parent_id: str | None = None


class TurnEvent(_Body):
    """One server-sent event of a turn.

    ``started`` comes first and carries the empty answer and the stored question; ``wait`` comes every
    quarter of a second in which nothing else does, so that a reader can look up; then ``delta``s; the last
    is ``done`` or ``error`` with the answer as it was stored.
    """

    type: Literal["started", "wait", "delta", "done", "error"]
    text: str = ""
    question: ChatMessage | None = None
    answer: ChatMessage | None = None
    code: str | None = None
    message: str | None = None


ModelState = Literal["starting", "ready", "restarting", "failed", "unknown"]


class ModelRow(_Body):
    """One served model and how its engine is."""

    id: str
    title: str
    state: ModelState
    detail: str = ""
    """Why it is in that state, in words; empty when ready."""
    licence: str
    sha256: str
    size_bytes: int
    context_tokens: int
    slots: int
    threads: int
    engine: str
    """Which engine serves it, and how it was found."""
    restarts: int = 0
    last_exit: str = ""
    """How its engine ended before the last restart, in words."""
    is_chat: bool = True
    memory_bytes: int | None = None
    planned_bytes: int | None = None
    """Memory that the plan gives its engine, and where it can be enforced, the most that it may use."""
    why: tuple[str, ...] = ()


class Status(_Body):
    """The whole sandbox at one moment."""

    version: str
    backend: str
    isolation: str = ""
    """Who enforces network policies; or ``unproved``, with why; empty where there are none."""
    page: str
    api: str
    models: tuple[ModelRow, ...]
    records: int
    """Requests on record."""
    uptime_s: float


class KeyRow(_Body):
    """One key, without its secret."""

    id: str
    name: str
    kind: Literal["user", "session", "operator"]
    owner: str
    created_at: float
    expires_at: float | None = None
    last_used_at: float | None = None


class NewKey(_Body):
    """Asks for a key."""

    name: str = Field(min_length=1, max_length=80, pattern=r"^[\w .@-]+$")


class IssuedKey(KeyRow):
    """A key just made: the only time its secret is shown."""

    key: str


class Ticket(_Body):
    """A one-time sign-in to the page."""

    ticket: str
    expires_at: float


class RedeemTicket(_Body):
    """Asks for a session in exchange for a ticket."""

    ticket: str = Field(min_length=1, max_length=200)


class Me(_Body):
    """Whose key this is."""

    owner: str
    kind: Literal["user", "session", "operator"]
    name: str
