from __future__ import annotations

import hashlib
import json
import sqlite3
from typing import Any

import anyio
import pytest

from sandbox.gateway import engines as engines_module
from tests.unit.gateway.conftest import MODEL, Gateway

pytestmark = pytest.mark.anyio

HELLO: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": "capital of France"}]}


def events(text: str) -> list[Any]:
    data = [line[len("data: ") :] for line in text.splitlines() if line.startswith("data: ")]
    return [json.loads(each) if each != "[DONE]" else each for each in data]


async def test_a_question_is_answered_and_on_record(gateway: Gateway) -> None:
    reply = await gateway.http.post("/v1/chat/completions", json={**HELLO, "seed": 7})
    body = reply.json()
    assert body["choices"][0]["message"]["content"] == "The capital of France is Paris."
    assert body["usage"] == {
        "prompt_tokens": 3,
        "completion_tokens": 6,
        "total_tokens": 9,
        "prompt_tokens_details": {"cached_tokens": 0},
    }
    (row,) = await gateway.door.records.recent()
    assert (row.state, row.model, row.model_sha256, row.finish_reason) == ("done", MODEL, "a" * 64, "stop")
    assert row.answer_sha256 == hashlib.sha256(b"The capital of France is Paris.").hexdigest()
    assert (row.prompt_tokens, row.completion_tokens) == (3, 6)
    assert row.first_token_s is not None
    assert json.loads(row.sampling) == {"seed": 7}


async def test_no_text_of_the_conversation_is_in_the_record(gateway: Gateway) -> None:
    await gateway.http.post("/v1/chat/completions", json=HELLO)
    (row,) = await gateway.door.records.recent()
    assert "France" not in str(row)


async def test_a_stream_has_role_pieces_reason_usage_and_an_end(gateway: Gateway) -> None:
    body = {**HELLO, "stream": True, "stream_options": {"include_usage": True}}
    reply = await gateway.http.post("/v1/chat/completions", json=body)
    told = events(reply.text)
    assert reply.headers["content-type"].startswith("text/event-stream")
    assert told[0]["choices"][0]["delta"]["role"] == "assistant"
    assert "".join(e["choices"][0]["delta"].get("content", "") for e in told[:-2]) == "The capital of France is Paris."
    assert told[-3]["choices"][0]["finish_reason"] == "stop"
    assert told[-2]["usage"]["completion_tokens"] == 6
    assert told[-1] == "[DONE]"


async def test_the_usage_of_a_stream_comes_only_when_asked_for(gateway: Gateway) -> None:
    reply = await gateway.http.post("/v1/chat/completions", json={**HELLO, "stream": True})
    assert not any("usage" in event for event in events(reply.text)[:-1])


async def test_a_text_is_continued(gateway: Gateway) -> None:
    reply = await gateway.http.post("/v1/completions", json={"model": MODEL, "prompt": "x", "max_tokens": 2})
    assert reply.json()["choices"][0] == {
        "index": 0,
        "finish_reason": "length",
        "logprobs": None,
        "text": "The capital ",
    }


async def test_an_engine_that_breaks_before_the_first_piece_is_an_error_status(gateway: Gateway) -> None:
    gateway.engine.break_after = 0
    reply = await gateway.http.post("/v1/chat/completions", json={**HELLO, "stream": True})
    assert (reply.status_code, reply.json()["error"]["code"]) == (502, "engine_broke")
    (row,) = await gateway.door.records.recent()
    assert (row.state, row.error_code) == ("failed", "engine_broke")


async def test_an_engine_that_breaks_in_the_middle_is_a_last_event(gateway: Gateway) -> None:
    gateway.engine.break_after = 2
    reply = await gateway.http.post("/v1/chat/completions", json={**HELLO, "stream": True})
    told = events(reply.text)
    assert reply.status_code == 200
    assert told[-1]["error"]["code"] == "engine_broke"
    assert "[DONE]" not in told
    (row,) = await gateway.door.records.recent()
    assert row.state == "failed"
    assert row.answer_sha256 == hashlib.sha256(b"The capital ").hexdigest()


async def test_a_prompt_that_is_too_long_is_named(gateway: Gateway) -> None:
    gateway.engine.context_words = 2
    reply = await gateway.http.post("/v1/chat/completions", json=HELLO)
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "context_length_exceeded")


async def test_nothing_is_answered_that_cannot_be_recorded(gateway: Gateway) -> None:
    def drop(db: sqlite3.Connection) -> None:
        db.execute("DROP TABLE records")

    await gateway.door.records._database.run(drop)
    reply = await gateway.http.post("/v1/chat/completions", json=HELLO)
    assert (reply.status_code, reply.json()["error"]["code"]) == (503, "record_unavailable")
    assert gateway.engine.questions == []


async def test_a_bug_in_an_engine_is_a_plain_500_and_on_record(gateway: Gateway) -> None:
    gateway.engine.deltas = (None,)  # type: ignore[assignment]  # a bug
    reply = await gateway.http.post("/v1/chat/completions", json=HELLO)
    assert (reply.status_code, reply.json()["error"]["code"]) == (500, "sandbox_error")
    (row,) = await gateway.door.records.recent()
    assert (row.state, row.error_code) == ("failed", "internal")


async def test_a_question_waits_for_an_engine_that_is_coming_back(gateway: Gateway) -> None:
    gateway.engine.is_down = True

    async def come_back() -> None:
        while not gateway.engine.questions:
            await anyio.sleep(0.01)
        gateway.engine.is_down = False

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(come_back)
        reply = await gateway.http.post("/v1/chat/completions", json=HELLO)
    assert reply.status_code == 200
    assert len(gateway.engine.questions) >= 2
    assert [row.state for row in await gateway.door.records.recent()] == ["done"]


async def test_a_model_whose_engine_stays_away_is_a_503_with_a_time_to_come_back(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines_module, "PATIENCE_S", 0.2)
    gateway.steward.state = "restarting"
    reply = await gateway.http.post("/v1/chat/completions", json=HELLO)
    assert (reply.status_code, reply.json()["error"]["code"]) == (503, "engine_unavailable")
    assert reply.headers["retry-after"] == "2"


async def test_a_failed_engine_is_not_waited_for(gateway: Gateway) -> None:
    gateway.steward.state = "failed"
    with anyio.fail_after(2):
        reply = await gateway.http.post("/v1/chat/completions", json=HELLO)
    assert reply.status_code == 503


async def test_engines_known_before_serve_on_while_the_steward_is_away(gateway: Gateway) -> None:
    assert (await gateway.http.post("/v1/chat/completions", json=HELLO)).status_code == 200
    gateway.steward.is_away = True
    gateway.door.engines.forget()
    assert (await gateway.http.post("/v1/chat/completions", json=HELLO)).status_code == 200
    told = (await gateway.http.get("/sandbox/v1/models")).json()["models"]
    assert told[0]["state"] == "unknown"


async def test_only_the_models_that_are_served_are_listed_and_found(gateway: Gateway) -> None:
    assert [row["id"] for row in (await gateway.http.get("/v1/models")).json()["data"]] == [MODEL]
    assert (await gateway.http.get(f"/v1/models/{MODEL}")).json()["id"] == MODEL
    missing = await gateway.http.get("/v1/models/other")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "model_not_found")


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Bearer nonsense", "Basic abc", "bearer sb_x_y"])
@pytest.mark.parametrize("path", ["/v1/models", "/sandbox/v1/status", "/sandbox/v1/chats"])
async def test_nothing_is_told_without_a_valid_key(gateway: Gateway, path: str, header: str) -> None:
    reply = await gateway.http.get(path, headers={"Authorization": header})
    assert reply.status_code == 401
    assert reply.headers["www-authenticate"] == "Bearer"


async def test_health_ready_and_metrics_tell_no_text(gateway: Gateway) -> None:
    await gateway.http.post("/v1/chat/completions", json=HELLO)
    assert (await gateway.http.get("/health")).text == "ok"
    assert (await gateway.http.get("/ready")).json()["ready"] is True
    figures = (await gateway.http.get("/metrics")).text
    assert 'sandbox_tokens_total{direction="completion",model="fake-model"} 6.0' in figures
    assert "France" not in figures
    gateway.steward.state = "failed"
    gateway.door.engines.forget()
    assert (await gateway.http.get("/ready")).status_code == 503


async def test_an_unknown_path_or_method_is_answered_in_the_dialect(gateway: Gateway) -> None:
    missing = await gateway.http.get("/v1/nothing")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "not_found")
    wrong = await gateway.http.get("/v1/chat/completions")
    assert wrong.status_code == 405
    assert "GET" in wrong.json()["error"]["message"]
