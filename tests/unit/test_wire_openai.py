from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.errors import ContextOverflow, InvalidRequest
from sandbox.wire import openai as wire
from sandbox.wire.neutral import ChatPrompt, Finished, JsonOutput, Message, Usage

MINIMAL: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


def parse(**fields: Any) -> wire.ChatRequest:
    request = wire.parse(wire.ChatRequest, json.dumps({**MINIMAL, **fields}).encode())
    assert isinstance(request, wire.ChatRequest)
    return request


def test_a_minimal_chat_becomes_a_question() -> None:
    question = parse().question()
    assert question.prompt == ChatPrompt((Message("user", "hi"),))
    assert question.sampling.max_tokens is None


def test_text_parts_are_joined_and_developer_is_system() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    question = parse(messages=[{"role": "developer", "content": parts}]).question()
    assert question.prompt == ChatPrompt((Message("system", "ab"),))


def test_a_schema_reaches_the_question() -> None:
    schema = {"type": "object"}
    given_format = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema, "strict": True}}
    assert parse(response_format=given_format).question().output == JsonOutput(schema)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"colour": 1}, "colour: unknown field"),
        ({"temperature": -1}, "temperature"),
        ({"temperature": 1e308}, "temperature"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 10**30}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"max_tokens": "8"}, "max_tokens"),
        ({"seed": -1}, "seed"),
        ({"n": 2}, "n"),
        ({"top_p": 0}, "top_p"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}, "image_url"),
        ({"stop": [""]}, "stop"),
        ({"stop": ["a"] * 17}, "stop"),
        ({"response_format": {"type": "json_schema"}}, "json_schema"),
        ({"model": ""}, "model"),
        ({"stream_options": {"include_usage": True, "x": 1}}, "stream_options.x: unknown field"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_wrong_field_is_refused_by_name(fields: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidRequest) as told:
        parse(**fields).question()
    assert named in told.value.message


def test_every_fault_is_named_at_once() -> None:
    with pytest.raises(InvalidRequest) as told:
        parse(colour=1, temperature=9, seed=-3)
    assert all(name in told.value.message for name in ("colour", "temperature", "seed"))


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"model": NaN}'])
def test_what_is_no_json_object_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        wire.parse(wire.ChatRequest, body)


@given(st.binary(max_size=300))
def test_any_bytes_are_parsed_or_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        wire.parse(wire.ChatRequest, body)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.dictionaries(st.sampled_from([*MINIMAL, "max_tokens", "stop", "seed", "stream", "response_format", "x"]), JSON)
)
def test_any_object_is_parsed_or_refused_without_being_repeated(fields: dict[str, Any]) -> None:
    try:
        parse(**fields).question()
    except InvalidRequest as error:
        assert error.message


def test_an_error_body_keeps_the_hint_at_home() -> None:
    body = wire.error_body(ContextOverflow("too long", hint="set SANDBOX_X"))
    assert body["error"]["code"] == "context_length_exceeded"
    assert body["error"]["type"] == "invalid_request_error"
    assert "SANDBOX" not in json.dumps(body)


def test_a_streamed_answer_is_role_pieces_reason_usage() -> None:
    writer = wire.ReplyWriter(is_chat=True, reply_id="1", model="m", created=0)
    finished = Finished("length", Usage(3, 2, 1))
    assert writer.opening()["choices"][0]["delta"]["role"] == "assistant"
    assert writer.delta("x")["choices"][0]["delta"] == {"content": "x"}
    assert writer.closing(finished)["choices"][0]["finish_reason"] == "length"
    assert writer.usage(finished)["usage"]["total_tokens"] == 5
    assert writer.usage(finished)["choices"] == []
