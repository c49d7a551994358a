"""llama-server's dialect as data: what is sent, and what its refusals mean."""

from __future__ import annotations

import json

import pytest

from sandbox.engine import http
from sandbox.errors import ContextOverflow, EngineBroke, EngineUnavailable, InvalidRequest, SandboxError
from sandbox.wire.neutral import ChatPrompt, JsonOutput, Message, Question, Sampling, TextPrompt

CHAT = ChatPrompt((Message("system", "Be brief."), Message("user", "Hi")))


def body_of(error: object) -> bytes:
    return json.dumps({"error": error}).encode()


def test_a_chat_is_sent_with_nothing_but_what_was_asked() -> None:
    path, body = http.request(Question("ours", CHAT), "theirs")
    assert path == "/v1/chat/completions"
    assert body == {
        "model": "theirs",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "cache_prompt": True,
    }


def test_sampling_is_sent_when_set_and_zero_is_a_value() -> None:
    _, body = http.request(Question("m", CHAT, Sampling(temperature=0.0, seed=0, max_tokens=3, stop=("\n",))), "m")
    assert (body["temperature"], body["seed"], body["max_tokens"], body["stop"]) == (0.0, 0, 3, ["\n"])
    assert "top_p" not in body


@pytest.mark.parametrize(
    ("output", "wanted"),
    [
        pytest.param(JsonOutput(), {"type": "json_object"}, id="any object"),
        pytest.param(
            JsonOutput({"type": "null"}),
            {"type": "json_schema", "json_schema": {"name": "answer", "schema": {"type": "null"}}},
            id="a schema",
        ),
    ],
)
def test_a_chat_asks_for_json(output: JsonOutput, wanted: object) -> None:
    _, body = http.request(Question("m", CHAT, output=output), "m")
    assert body["response_format"] == wanted


def test_plain_text_asks_for_json_in_the_engines_own_words() -> None:
    path, body = http.request(Question("m", TextPrompt("Once"), output=JsonOutput()), "m")
    assert path == "/v1/completions"
    assert (body["prompt"], body["json_schema"]) == ("Once", {"type": "object"})


@pytest.mark.parametrize(
    ("status", "raw", "wanted"),
    [
        pytest.param(503, body_of({"message": "Loading model"}), EngineUnavailable, id="loading"),
        pytest.param(401, body_of({"message": "Invalid API Key"}), EngineUnavailable, id="wrong key"),
        pytest.param(400, body_of({"message": "bad schema"}), InvalidRequest, id="refused"),
        pytest.param(404, b"", EngineBroke, id="no such path"),
        pytest.param(500, b"<html>", EngineBroke, id="no json"),
        pytest.param(500, b"[1]", EngineBroke, id="no object"),
        pytest.param(500, body_of("words"), EngineBroke, id="error is text"),
        pytest.param(200, body_of({"code": 500}), EngineBroke, id="in a stream"),
    ],
)
def test_a_refusal_is_given_its_meaning(status: int, raw: bytes, wanted: type[SandboxError]) -> None:
    assert type(http.refusal(status, raw)) is wanted


def test_a_prompt_too_long_is_told_with_both_numbers() -> None:
    told = http.refusal(400, body_of({"type": "exceed_context_size_error", "n_prompt_tokens": 2031, "n_ctx": 1024}))
    assert isinstance(told, ContextOverflow)
    assert "2031" in told.message
    assert "1024" in told.message


def test_a_refusal_is_cut_when_the_engine_says_too_much() -> None:
    assert len(http.refusal(400, body_of({"message": "x" * 10_000})).message) < 600
