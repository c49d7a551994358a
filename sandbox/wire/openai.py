"""OpenAI's dialect: request bodies → questions, events → reply bodies.

Only the fields named here exist: an unknown field is refused by name, nothing is passed through unseen.
Field meanings follow the public reference of the chat completions and completions endpoints; ``top_k``,
``min_p`` and ``repeat_penalty`` are llama.cpp's.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sandbox.errors import InvalidRequest, SandboxError
from sandbox.wire.neutral import (
    ChatPrompt,
    Finished,
    JsonOutput,
    Message,
    Question,
    Sampling,
    TextPrompt,
    Usage,
)

MAX_MESSAGES = 1000
MAX_STOP_WORDS = 16
MAX_TOKENS = 131_072

Stop = Annotated[str, Field(min_length=1, max_length=500)]


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class _TextPart(_Closed):
    type: Literal["text"]
    text: str


class _Message(_Closed):
    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[_TextPart]
    name: Annotated[str, Field(max_length=64)] | None = None

    def neutral(self) -> Message:
        content = self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)
        return Message(role="system" if self.role == "developer" else self.role, content=content)


class _JsonSchema(_Closed):
    name: Annotated[str, Field(max_length=64)] = "answer"
    description: Annotated[str, Field(max_length=2000)] | None = None
    schema_: Annotated[dict[str, Any], Field(alias="schema")]
    strict: bool | None = None


class _ResponseFormat(_Closed):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: _JsonSchema | None = None

    def neutral(self) -> JsonOutput | None:
        match self.type:
            case "text":
                return None
            case "json_object":
                return JsonOutput()
            case "json_schema":
                if self.json_schema is None:
                    raise InvalidRequest(
                        "response_format.json_schema: required for type json_schema", hint="add the schema"
                    )
                return JsonOutput(self.json_schema.schema_)


class _StreamOptions(_Closed):
    include_usage: bool = False


class _Request(_Closed):
    """What both endpoints share."""

    model: Annotated[str, Field(min_length=1, max_length=200)]
    max_tokens: Annotated[int, Field(ge=1, le=MAX_TOKENS)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=0, le=1000)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    repeat_penalty: Annotated[float, Field(ge=0.1, le=2)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] | None = None
    stop: Stop | Annotated[list[Stop], Field(max_length=MAX_STOP_WORDS)] | None = None
    n: Literal[1] | None = None
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    user: Annotated[str, Field(max_length=200)] | None = None

    @property
    def is_stream(self) -> bool:
        return bool(self.stream)

    @property
    def wants_usage(self) -> bool:
        return self.stream_options is not None and self.stream_options.include_usage

    def _sampling(self, max_tokens: int | None) -> Sampling:
        return Sampling(
            max_tokens=max_tokens,
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=self.top_k,
            min_p=self.min_p,
            repeat_penalty=self.repeat_penalty,
            presence_penalty=self.presence_penalty,
            frequency_penalty=self.frequency_penalty,
            seed=self.seed,
            stop=(self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ()),
        )


class ChatRequest(_Request):
    """Body of ``POST /v1/chat/completions``."""

    messages: Annotated[list[_Message], Field(min_length=1, max_length=MAX_MESSAGES)]
    max_completion_tokens: Annotated[int, Field(ge=1, le=MAX_TOKENS)] | None = None
    response_format: _ResponseFormat | None = None

    def question(self) -> Question:
        """Turn the body into the neutral question."""
        return Question(
            model=self.model,
            prompt=ChatPrompt(tuple(message.neutral() for message in self.messages)),
            sampling=self._sampling(self.max_completion_tokens or self.max_tokens),
            output=self.response_format.neutral() if self.response_format else None,
        )


class CompletionRequest(_Request):
    """Body of ``POST /v1/completions``."""

    prompt: str

    def question(self) -> Question:
        """Turn the body into the neutral question."""
        return Question(model=self.model, prompt=TextPrompt(self.prompt), sampling=self._sampling(self.max_tokens))


AnyRequest = ChatRequest | CompletionRequest


def parse(kind: type[ChatRequest] | type[CompletionRequest], body: bytes) -> AnyRequest:
    """Read a request body.

    Raises:
        InvalidRequest: it is not JSON, or a field is unknown, missing, of the wrong type or out of range;
            every fault is named.
    """
    try:
        request: AnyRequest = kind.model_validate_json(body)
    except ValidationError as error:
        raise InvalidRequest(explain(error), hint="see the fields that are taken: docs/api.md") from error
    return request


def explain(error: ValidationError) -> str:
    """Write what is wrong with a body, field by field, without repeating what was sent."""
    told = []
    for fault in error.errors(include_url=False, include_input=False):
        if fault["type"] == "json_invalid":
            return f"the body is not valid JSON: {str(fault['msg']).removeprefix('Invalid JSON: ')}"
        name = ".".join(str(part) for part in fault["loc"] if not _is_branch(part))
        what = "unknown field" if fault["type"] == "extra_forbidden" else str(fault["msg"])
        told.append(f"{name}: {what}" if name else what)
    return "; ".join(dict.fromkeys(told[:10]))


def _is_branch(part: int | str) -> bool:
    """Say whether a part of a location names a branch of a union instead of a field."""
    return isinstance(part, str) and ("[" in part or part in {"str", "constrained-str", "_TextPart"})


def error_body(error: SandboxError) -> dict[str, Any]:
    """Write an error in the dialect's shape; the hint is for the operator and stays here."""
    return {
        "error": {
            "message": error.message,
            "type": _error_type(error.http_status),
            "param": None,
            "code": error.code,
        }
    }


def _error_type(status: int) -> str:
    match status:
        case 401:
            return "authentication_error"
        case 403:
            return "permission_error"
        case 429:
            return "rate_limit_error"
        case _ if status < 500:
            return "invalid_request_error"
        case _:
            return "server_error"


def usage_body(usage: Usage) -> dict[str, Any]:
    """Write token counts."""
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_prompt_tokens},
    }


class ReplyWriter:
    """Writes the bodies of one answer, in either endpoint's shape."""

    def __init__(self, *, is_chat: bool, reply_id: str, model: str, created: int) -> None:
        self._is_chat = is_chat
        prefix = "chatcmpl" if is_chat else "cmpl"
        self._head = {"id": f"{prefix}-{reply_id}", "created": created, "model": model}

    def whole(self, text: str, finished: Finished) -> dict[str, Any]:
        """Write the reply of a request that does not stream."""
        choice: dict[str, Any] = {"index": 0, "finish_reason": finished.reason, "logprobs": None}
        if self._is_chat:
            choice["message"] = {"role": "assistant", "content": text, "refusal": None}
        else:
            choice["text"] = text
        kind = "chat.completion" if self._is_chat else "text_completion"
        return {**self._head, "object": kind, "choices": [choice], "usage": usage_body(finished.usage)}

    def opening(self) -> dict[str, Any]:
        """Write the first chunk of a stream, which names the role."""
        return self._chunk({"role": "assistant", "content": ""}, "", None)

    def delta(self, text: str) -> dict[str, Any]:
        """Write a chunk with a piece of the answer."""
        return self._chunk({"content": text}, text, None)

    def closing(self, finished: Finished) -> dict[str, Any]:
        """Write the chunk that says why the answer ended."""
        return self._chunk({}, "", finished.reason)

    def usage(self, finished: Finished) -> dict[str, Any]:
        """Write the chunk that ``stream_options.include_usage`` asks for."""
        return {**self._head, "object": self._chunk_kind, "choices": [], "usage": usage_body(finished.usage)}

    @property
    def _chunk_kind(self) -> str:
        return "chat.completion.chunk" if self._is_chat else "text_completion"

    def _chunk(self, delta: dict[str, Any], text: str, reason: str | None) -> dict[str, Any]:
        choice: dict[str, Any] = {"index": 0, "finish_reason": reason, "logprobs": None}
        if self._is_chat:
            choice["delta"] = delta
        else:
            choice["text"] = text
        return {**self._head, "object": self._chunk_kind, "choices": [choice]}
