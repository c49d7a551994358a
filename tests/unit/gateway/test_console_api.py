from __future__ import annotations

import json
from typing import Any

import anyio
import pytest
from starlette.types import Message

from sandbox.wire.console import TurnEvent
from tests.unit.gateway.conftest import HOST, MODEL, Gateway

pytestmark = pytest.mark.anyio


async def new_chat(gateway: Gateway, **more: Any) -> str:
    reply = await gateway.http.post("/sandbox/v1/chats", json={"model": MODEL, **more})
    assert reply.status_code == 201, reply.text
    return str(reply.json()["id"])


async def turn(gateway: Gateway, chat_id: str, **body: Any) -> list[TurnEvent]:
    reply = await gateway.http.post(f"/sandbox/v1/chats/{chat_id}/turns", json=body)
    assert reply.status_code == 200, reply.text
    lines = [line[len("data: ") :] for line in reply.text.splitlines() if line.startswith("data: ")]
    return [TurnEvent.model_validate(json.loads(line)) for line in lines]


async def test_a_turn_streams_stores_and_records(gateway: Gateway) -> None:
    chat_id = await new_chat(gateway, system="Be brief.")
    told = await turn(gateway, chat_id, text="capital of France")
    assert [event.type for event in told if event.type != "wait"] == ["started", *["delta"] * 6, "done"]
    answer = told[-1].answer
    assert answer is not None
    assert answer.content == "The capital of France is Paris."
    assert answer.state == "done"
    assert answer.stats is not None
    assert answer.stats.completion_tokens == 6
    (row,) = await gateway.door.records.recent()
    assert (row.id, row.chat_id) == (answer.record_id, chat_id)
    stored = (await gateway.http.get(f"/sandbox/v1/chats/{chat_id}")).json()
    assert [m["content"] for m in stored["messages"]] == ["capital of France", "The capital of France is Paris."]
    prompt = gateway.engine.questions[0].prompt
    assert [m.role for m in prompt.messages] == ["system", "user"]  # type: ignore[union-attr]  # a chat's prompt


async def test_a_second_turn_carries_the_branch_that_is_shown(gateway: Gateway) -> None:
    chat_id = await new_chat(gateway)
    first = (await turn(gateway, chat_id, text="one"))[-1].answer
    assert first is not None
    await turn(gateway, chat_id, text="two", parent_id=first.id)
    prompt = gateway.engine.questions[1].prompt
    said = [m.content for m in prompt.messages]  # type: ignore[union-attr]  # a chat's prompt
    assert said == ["one", "The capital of France is Paris.", "two"]


async def test_an_engine_that_breaks_leaves_a_partial_answer_with_its_reason(gateway: Gateway) -> None:
    gateway.engine.break_after = 3
    chat_id = await new_chat(gateway)
    last = (await turn(gateway, chat_id, text="q"))[-1]
    assert (last.type, last.code) == ("error", "engine_broke")
    stored = (await gateway.http.get(f"/sandbox/v1/chats/{chat_id}")).json()["messages"][-1]
    assert (stored["state"], stored["content"]) == ("failed", "The capital of ")
    assert stored["error"]


async def test_a_slow_engine_is_bridged_by_signs_of_life(gateway: Gateway) -> None:
    gateway.engine.delay_s, gateway.engine.deltas = 1.2, ("yes",)
    told = await turn(gateway, await new_chat(gateway), text="q")
    assert [event.type for event in told].count("wait") >= 2


async def test_going_away_stops_the_engine_and_keeps_what_was_said(gateway: Gateway) -> None:
    gateway.engine.delay_s = 0.05
    chat_id = await new_chat(gateway)
    said = anyio.Event()
    body = json.dumps({"text": "q"}).encode()
    inbox: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        if inbox:
            return inbox.pop()
        await said.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        if b'"delta"' in message.get("body", b""):
            said.set()

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "path": f"/sandbox/v1/chats/{chat_id}/turns",
        "raw_path": b"",
        "query_string": b"",
        "headers": [(b"host", HOST.encode()), (b"authorization", f"Bearer {gateway.key}".encode())],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8502),
        "scheme": "http",
        "root_path": "",
    }
    with anyio.fail_after(5):
        await gateway.app(scope, receive, send)
    assert gateway.engine.busy == 0
    stored = (await gateway.http.get(f"/sandbox/v1/chats/{chat_id}")).json()["messages"][-1]
    assert stored["state"] == "stopped"
    assert stored["content"].startswith("The ")
    assert stored["content"] != "The capital of France is Paris."
    (row,) = await gateway.door.records.recent()
    assert row.state == "cancelled"


async def test_nothing_is_stored_for_a_model_that_nobody_serves(gateway: Gateway) -> None:
    chat_id = await new_chat(gateway, model="other")
    reply = await gateway.http.post(f"/sandbox/v1/chats/{chat_id}/turns", json={"text": "q"})
    assert (reply.status_code, reply.json()["error"]["code"]) == (404, "model_not_found")
    assert (await gateway.http.get(f"/sandbox/v1/chats/{chat_id}")).json()["messages"] == []


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/sandbox/v1/chats", {"model": MODEL, "colour": 1}, 400),
        ("POST", "/sandbox/v1/chats", {"model": MODEL, "sampling": {"temperature": 9}}, 400),
        ("GET", "/sandbox/v1/chats/none", None, 404),
        ("PATCH", "/sandbox/v1/chats/none", {"title": "x"}, 404),
        ("DELETE", "/sandbox/v1/chats/none", None, 404),
        ("POST", "/sandbox/v1/chats/none/turns", {"text": "q"}, 404),
        ("POST", "/sandbox/v1/keys", {"name": ""}, 400),
        ("POST", "/sandbox/v1/keys", {"name": "<script>"}, 400),
        ("DELETE", "/sandbox/v1/keys/none", None, 404),
        ("POST", "/sandbox/v1/sessions", {"ticket": "none"}, 401),
        ("DELETE", "/sandbox/v1/sessions/current", None, 403),
        ("GET", "/sandbox/v1/records?limit=0", None, 400),
        ("GET", "/sandbox/v1/records?limit=x", None, 400),
    ],
)
async def test_a_bad_request_is_refused_with_its_status(
    gateway: Gateway, method: str, path: str, body: Any, status: int
) -> None:
    reply = await gateway.http.request(method, path, json=body)
    assert reply.status_code == status
    assert reply.json()["error"]["message"]


async def test_a_ticket_becomes_a_session_that_can_be_closed(gateway: Gateway) -> None:
    ticket = (await gateway.http.post("/sandbox/v1/tickets")).json()["ticket"]
    opened = await gateway.http.post("/sandbox/v1/sessions", json={"ticket": ticket}, headers={"Authorization": ""})
    session = {"Authorization": f"Bearer {opened.json()['key']}"}
    assert (await gateway.http.get("/sandbox/v1/me", headers=session)).json()["kind"] == "session"
    assert (await gateway.http.delete("/sandbox/v1/sessions/current", headers=session)).status_code == 204
    assert (await gateway.http.get("/sandbox/v1/me", headers=session)).status_code == 401


async def test_status_keys_records_and_exports_are_told(gateway: Gateway) -> None:
    chat_id = await new_chat(gateway)
    await turn(gateway, chat_id, text="q")
    status = (await gateway.http.get("/sandbox/v1/status")).json()
    assert (status["backend"], status["records"], status["models"][0]["id"]) == ("local", 1, MODEL)
    assert (await gateway.http.get("/sandbox/v1/records?limit=5")).json()["records"][0]["state"] == "done"
    assert [key["name"] for key in (await gateway.http.get("/sandbox/v1/keys")).json()["keys"]] == ["test"]
    markdown = await gateway.http.get(f"/sandbox/v1/chats/{chat_id}/export?format=markdown")
    assert "Paris" in markdown.text
    assert (await gateway.http.get(f"/sandbox/v1/chats/{chat_id}/export?format=json")).json()["id"] == chat_id
    assert (await gateway.http.get(f"/sandbox/v1/chats/{chat_id}/export?format=pdf")).status_code == 400
