from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.database import Database
from sandbox.errors import InvalidRequest, NotFound
from sandbox.gateway.chats import SCHEMA, Chats, as_json, as_markdown, path_to
from sandbox.wire.console import Chat, ChatChange, ChatMessage, NewChat, Turn

pytestmark = pytest.mark.anyio


@pytest.fixture
def chats(tmp_path: Path) -> Iterator[Chats]:
    database = Database(tmp_path / "gateway.db", (SCHEMA,))
    yield Chats(database)
    database.close()


async def new(chats: Chats, owner: str = "local") -> Chat:
    return await chats.create(owner, NewChat(model="m"))


async def turn(chats: Chats, chat: Chat, text: str | None, parent_id: str | None, answer: str = "yes") -> ChatMessage:
    _, _, opened = await chats.open_turn("local", chat.id, Turn(text=text, parent_id=parent_id))
    await chats.save_answer(opened.model_copy(update={"content": answer, "state": "done"}))
    return opened


async def test_a_first_turn_names_the_chat_and_becomes_its_leaf(chats: Chats) -> None:
    chat = await new(chats)
    answer = await turn(chats, chat, "What is\nthe capital of France?", None)
    stored = await chats.read("local", chat.id)
    assert stored.title == "What is the capital of France?"
    assert stored.leaf_id == answer.id
    assert [message.content for message in path_to(stored, stored.leaf_id)] == [
        "What is\nthe capital of France?",
        "yes",
    ]


async def test_asking_again_makes_a_second_answer_under_the_same_question(chats: Chats) -> None:
    chat = await new(chats)
    first = await turn(chats, chat, "q", None, "one")
    second = await turn(chats, chat, None, first.parent_id, "two")
    stored = await chats.read("local", chat.id)
    assert first.parent_id == second.parent_id
    assert [message.content for message in path_to(stored, stored.leaf_id)] == ["q", "two"]
    back = await chats.change("local", chat.id, ChatChange(leaf_id=first.id))
    assert [message.content for message in path_to(back, back.leaf_id)] == ["q", "one"]


async def test_editing_a_question_makes_a_branch_and_keeps_the_old_one(chats: Chats) -> None:
    chat = await new(chats)
    first = await turn(chats, chat, "q1", None)
    follow = await turn(chats, chat, "q2", first.id)
    edited = await turn(chats, chat, "q2 edited", first.id)
    stored = await chats.read("local", chat.id)
    assert [m.content for m in path_to(stored, edited.id)] == ["q1", "yes", "q2 edited", "yes"]
    assert [m.content for m in path_to(stored, follow.id)] == ["q1", "yes", "q2", "yes"]


async def test_a_turn_under_the_wrong_role_is_refused_and_stores_nothing(chats: Chats) -> None:
    chat = await new(chats)
    answer = await turn(chats, chat, "q", None)
    with pytest.raises(InvalidRequest):
        await chats.open_turn("local", chat.id, Turn(text="q", parent_id=answer.parent_id))
    with pytest.raises(InvalidRequest):
        await chats.open_turn("local", chat.id, Turn(parent_id=answer.id))
    with pytest.raises(InvalidRequest):
        await chats.open_turn("local", chat.id, Turn(text=None, parent_id=None))
    with pytest.raises(InvalidRequest):
        await chats.open_turn("local", chat.id, Turn(text="q", parent_id="msg_of_another_chat"))
    assert len((await chats.read("local", chat.id)).messages) == 2


async def test_nobody_sees_changes_or_deletes_the_chat_of_somebody_else(chats: Chats) -> None:
    chat = await new(chats, "somebody")
    with pytest.raises(NotFound):
        await chats.read("local", chat.id)
    with pytest.raises(NotFound):
        await chats.change("local", chat.id, ChatChange(title="mine"))
    with pytest.raises(NotFound):
        await chats.delete("local", chat.id)
    assert await chats.rows("local") == []
    assert (await chats.read("somebody", chat.id)).title == "New chat"


async def test_search_finds_titles_and_messages_and_takes_wildcards_literally(chats: Chats) -> None:
    first, second = await new(chats), await new(chats)
    await turn(chats, first, "tell me of 100% wool", None, "sheep")
    await turn(chats, second, "tell me of silk", None, "worms")
    assert [row.id for row in await chats.rows("local", "100%")] == [first.id]
    assert [row.id for row in await chats.rows("local", "WORMS")] == [second.id]
    assert [row.id for row in await chats.rows("local", "_")] == []
    assert {row.id for row in await chats.rows("local")} == {first.id, second.id}


async def test_rename_changes_only_the_title(chats: Chats) -> None:
    chat = await new(chats)
    changed = await chats.change("local", chat.id, ChatChange(title="Sheep"))
    assert (changed.title, changed.model, changed.sampling) == ("Sheep", chat.model, chat.sampling)


async def test_delete_removes_the_messages_too(chats: Chats) -> None:
    chat = await new(chats)
    await turn(chats, chat, "a secret", None)
    await chats.delete("local", chat.id)
    assert await chats.rows("local", "secret") == []
    with pytest.raises(NotFound):
        await chats.read("local", chat.id)


async def test_an_answer_that_a_killed_gateway_left_is_settled_with_what_was_saved(chats: Chats) -> None:
    chat = await new(chats)
    _, _, answer = await chats.open_turn("local", chat.id, Turn(text="q"))
    await chats.save_answer(answer.model_copy(update={"content": "half an ans"}))
    await chats.recover()
    settled = (await chats.read("local", chat.id)).messages[-1]
    assert (settled.state, settled.content) == ("failed", "half an ans")
    assert settled.error


async def test_export_as_json_has_every_branch_and_markdown_the_shown_one(chats: Chats) -> None:
    chat = await new(chats)
    first = await turn(chats, chat, "q", None, "one ``` two")
    await turn(chats, chat, None, first.parent_id, "second answer")
    await chats.change("local", chat.id, ChatChange(leaf_id=first.id))
    stored = await chats.read("local", chat.id)
    assert len(json.loads(as_json(stored))["messages"]) == 3
    markdown = as_markdown(stored)
    assert "````text\none ``` two\n````" in markdown
    assert "second answer" not in markdown
