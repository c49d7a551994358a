"""Chats as trees: a question may have several answers, an answer several follow-ups."""

from __future__ import annotations

import json
import secrets
import sqlite3
import time
from typing import Any

from sandbox.database import Database
from sandbox.errors import InvalidRequest, NotFound
from sandbox.wire.console import AnswerStats, Chat, ChatChange, ChatMessage, ChatSummary, NewChat, Turn

SCHEMA = """
    CREATE TABLE chats (
      id TEXT PRIMARY KEY,
      owner TEXT NOT NULL,
      title TEXT NOT NULL,
      model TEXT NOT NULL,
      system TEXT NOT NULL,
      sampling TEXT NOT NULL,
      leaf_id TEXT,
      created_at REAL NOT NULL,
      updated_at REAL NOT NULL
    ) STRICT;
    CREATE INDEX chats_by_owner ON chats (owner, updated_at);
    CREATE TABLE messages (
      id TEXT PRIMARY KEY,
      chat_id TEXT NOT NULL REFERENCES chats (id) ON DELETE CASCADE,
      parent_id TEXT REFERENCES messages (id) ON DELETE CASCADE,
      role TEXT NOT NULL,
      content TEXT NOT NULL,
      created_at REAL NOT NULL,
      state TEXT NOT NULL,
      model TEXT,
      record_id TEXT,
      finish_reason TEXT,
      stats TEXT,
      error TEXT
    ) STRICT;
    CREATE INDEX messages_by_chat ON messages (chat_id, created_at);
"""

DEFAULT_TITLE = "New chat"
TITLE_CHARS = 60


class Chats:
    """The chats of all owners; every call names the owner, and finds only that owner's."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def recover(self) -> None:
        """Settle answers that a killed gateway left unfinished."""

        def job(db: sqlite3.Connection) -> None:
            db.execute(
                "UPDATE messages SET state='failed', error='the gateway was stopped while answering' "
                "WHERE state='writing'"
            )

        await self._database.run(job)

    async def rows(self, owner: str, query: str = "") -> list[ChatSummary]:
        """List chats, newest first; with a query, those whose title or messages contain it."""
        pattern = "%" + query.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"

        def job(db: sqlite3.Connection) -> list[sqlite3.Row]:
            return db.execute(
                "SELECT id, title, model, created_at, updated_at FROM chats WHERE owner=:owner AND (:query='' "
                "OR title LIKE :pattern ESCAPE '\\' OR EXISTS (SELECT 1 FROM messages WHERE chat_id=chats.id "
                "AND content LIKE :pattern ESCAPE '\\')) ORDER BY updated_at DESC, id LIMIT 500",
                {"owner": owner, "query": query, "pattern": pattern},
            ).fetchall()

        return [ChatSummary.model_validate(dict(row)) for row in await self._database.run(job)]

    async def create(self, owner: str, new: NewChat) -> Chat:
        """Make an empty chat."""
        chat_id, now = f"chat_{secrets.token_hex(8)}", time.time()

        def job(db: sqlite3.Connection) -> Chat:
            db.execute(
                "INSERT INTO chats VALUES (?, ?, ?, ?, ?, ?, NULL, ?, ?)",
                (chat_id, owner, new.title, new.model, new.system, new.sampling.model_dump_json(), now, now),
            )
            return _read(db, owner, chat_id)

        return await self._database.run(job)

    async def read(self, owner: str, chat_id: str) -> Chat:
        """Read a chat with all its branches.

        Raises:
            NotFound: this owner has no such chat.
        """
        return await self._database.run(lambda db: _read(db, owner, chat_id))

    async def change(self, owner: str, chat_id: str, change: ChatChange) -> Chat:
        """Change what is given, and leave the rest.

        Raises:
            NotFound: this owner has no such chat.
            InvalidRequest: ``leaf_id`` is no message of it.
        """

        def job(db: sqlite3.Connection) -> Chat:
            chat = _read(db, owner, chat_id)
            values: dict[str, Any] = change.model_dump(exclude_unset=True, exclude_none=True)
            if change.sampling is not None:
                values["sampling"] = change.sampling.model_dump_json()
            if change.leaf_id is not None:
                _message(chat, change.leaf_id)
            for name, value in values.items():
                db.execute(f"UPDATE chats SET {name}=? WHERE id=?", (value, chat_id))  # noqa: S608  # field names
            return _read(db, owner, chat_id)

        return await self._database.run(job)

    async def delete(self, owner: str, chat_id: str) -> None:
        """Delete a chat for good; the record of its requests stays.

        Raises:
            NotFound: this owner has no such chat.
        """

        def job(db: sqlite3.Connection) -> None:
            _read(db, owner, chat_id)
            db.execute("DELETE FROM chats WHERE id=?", (chat_id,))

        await self._database.run(job)

    async def open_turn(self, owner: str, chat_id: str, turn: Turn) -> tuple[Chat, ChatMessage, ChatMessage]:
        """Store the question (unless it is there already) and an empty answer under it.

        Returns:
            The chat, the question and the answer.

        Raises:
            NotFound: this owner has no such chat.
            InvalidRequest: ``parent_id`` is no message of it, or of the wrong role.
        """

        def job(db: sqlite3.Connection) -> tuple[Chat, ChatMessage, ChatMessage]:
            chat = _read(db, owner, chat_id)
            parent = _message(chat, turn.parent_id) if turn.parent_id is not None else None
            wanted = "assistant" if turn.text is not None else "user"
            if (parent.role if parent else "assistant") != wanted:
                raise InvalidRequest(
                    f"parent_id: must name a message of the {wanted} for this turn", hint="reload the page"
                )
            now = time.time()
            if turn.text is None:
                question = _message(chat, str(turn.parent_id))
            else:
                question = _insert(db, chat_id, role="user", parent_id=turn.parent_id, content=turn.text, now=now)
            answer = _insert(
                db, chat_id, role="assistant", parent_id=question.id, content="", now=now, state="writing",
                model=chat.model,
            )  # fmt: skip
            title = _title(question.content) if chat.title == DEFAULT_TITLE else chat.title
            db.execute("UPDATE chats SET leaf_id=?, updated_at=?, title=? WHERE id=?", (answer.id, now, title, chat_id))
            return _read(db, owner, chat_id), question, answer

        return await self._database.run(job)

    async def save_answer(self, answer: ChatMessage) -> None:
        """Store an answer as far as it has come; a chat deleted meanwhile is no error."""

        def job(db: sqlite3.Connection) -> None:
            db.execute(
                "UPDATE messages SET content=?, state=?, record_id=?, finish_reason=?, stats=?, error=? WHERE id=?",
                (
                    answer.content,
                    answer.state,
                    answer.record_id,
                    answer.finish_reason,
                    answer.stats.model_dump_json() if answer.stats else None,
                    answer.error,
                    answer.id,
                ),
            )

        await self._database.run(job)


def path_to(chat: Chat, leaf_id: str | None) -> list[ChatMessage]:
    """List the messages from the root of a chat to one of its nodes."""
    by_id = {message.id: message for message in chat.messages}
    path: list[ChatMessage] = []
    while leaf_id is not None and leaf_id in by_id:
        path.append(by_id[leaf_id])
        leaf_id = by_id[leaf_id].parent_id
    return path[::-1]


def as_json(chat: Chat) -> str:
    """Write every branch of a chat as JSON."""
    return json.dumps(chat.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n"


def as_markdown(chat: Chat) -> str:
    """Write the branch being shown as Markdown, in fences longer than any in the text."""
    parts = [f"# {chat.title}", f"Model: {chat.model}"]
    if chat.system:
        parts += ["## System prompt", _fenced(chat.system)]
    for message in path_to(chat, chat.leaf_id):
        head = "You" if message.role == "user" else message.model or "Assistant"
        state = "" if message.state == "done" else f" ({message.state})"
        parts += [f"## {head}{state}", _fenced(message.content)]
    return "\n\n".join(parts) + "\n"


def _fenced(text: str) -> str:
    longest = run = 0
    for letter in text:
        run = run + 1 if letter == "`" else 0
        longest = max(longest, run)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text}\n{fence}"


def _title(question: str) -> str:
    words = " ".join(question.split())
    return words if len(words) <= TITLE_CHARS else words[: TITLE_CHARS - 1].rstrip() + "…"


def _message(chat: Chat, message_id: str) -> ChatMessage:
    for message in chat.messages:
        if message.id == message_id:
            return message
    raise InvalidRequest(f"{message_id[:40]!r} is no message of chat {chat.id}", hint="reload the page")


def _insert(
    db: sqlite3.Connection,
    chat_id: str,
    *,
    role: str,
    parent_id: str | None,
    content: str,
    now: float,
    state: str = "done",
    model: str | None = None,
) -> ChatMessage:
    message_id = f"msg_{secrets.token_hex(8)}"
    db.execute(
        "INSERT INTO messages (id, chat_id, parent_id, role, content, created_at, state, model) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (message_id, chat_id, parent_id, role, content, now, state, model),
    )
    row = db.execute("SELECT * FROM messages WHERE id=?", (message_id,)).fetchone()
    return _as_message(row)


def _as_message(row: sqlite3.Row) -> ChatMessage:
    values = {name: row[name] for name in row.keys() if name != "chat_id"}  # noqa: SIM118  # a Row is no mapping
    values["stats"] = AnswerStats.model_validate_json(values["stats"]) if values["stats"] else None
    return ChatMessage.model_validate(values)


def _read(db: sqlite3.Connection, owner: str, chat_id: str) -> Chat:
    row = db.execute("SELECT * FROM chats WHERE id=? AND owner=?", (chat_id, owner)).fetchone()
    if row is None:
        raise NotFound(f"there is no chat {chat_id[:40]!r}", hint="it may have been deleted; go back to the list")
    values = {name: row[name] for name in row.keys() if name != "owner"}  # noqa: SIM118  # a Row is no mapping
    values["sampling"] = json.loads(values["sampling"])
    messages = db.execute("SELECT * FROM messages WHERE chat_id=? ORDER BY created_at, rowid", (chat_id,)).fetchall()
    return Chat.model_validate({**values, "messages": tuple(_as_message(each) for each in messages)})
