"""The neutral question and answer between clients' dialects and engines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Role = Literal["system", "user", "assistant"]
FinishReason = Literal["stop", "length"]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class ChatPrompt:
    """A conversation; the model's own template turns it into text."""

    messages: tuple[Message, ...]


@dataclass(frozen=True, slots=True)
class TextPrompt:
    """Plain text to be continued."""

    text: str


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is chosen; ``None`` means the engine's default."""

    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    repeat_penalty: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class JsonOutput:
    """The answer must be JSON; with a schema, JSON of that shape."""

    schema: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """One validated request to an engine."""

    model: str
    prompt: ChatPrompt | TextPrompt
    sampling: Sampling = field(default_factory=Sampling)
    output: JsonOutput | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the engine counted them."""

    prompt_tokens: int
    completion_tokens: int
    cached_prompt_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of the answer."""

    text: str


@dataclass(frozen=True, slots=True)
class Finished:
    """The end of the answer; always the last event, exactly once."""

    reason: FinishReason
    usage: Usage


Event = Delta | Finished
