"""A chat as a tree of messages: which branch is shown, and which others there are."""

from __future__ import annotations

from dataclasses import dataclass

from sandbox.wire.console import Chat, ChatMessage


@dataclass(frozen=True, slots=True)
class Fork:
    """Where one message stands among those that share its parent."""

    ids: tuple[str, ...]
    at: int

    @property
    def has_others(self) -> bool:
        """Whether there is a branch to move to."""
        return len(self.ids) > 1

    def neighbour(self, step: int) -> str | None:
        """Name the message that many places on, if there is one."""
        place = self.at + step
        return self.ids[place] if 0 <= place < len(self.ids) else None


class Tree:
    """Reads a chat's messages by parent."""

    def __init__(self, chat: Chat) -> None:
        self._by_id = {message.id: message for message in chat.messages}
        self._children: dict[str | None, list[str]] = {}
        for message in sorted(chat.messages, key=lambda one: one.created_at):
            self._children.setdefault(message.parent_id, []).append(message.id)

    def branch(self, leaf_id: str | None) -> list[ChatMessage]:
        """List the messages from the root to a leaf; of an unknown leaf, none."""
        found: list[ChatMessage] = []
        seen: set[str] = set()
        while leaf_id is not None and leaf_id in self._by_id and leaf_id not in seen:
            seen.add(leaf_id)
            found.append(self._by_id[leaf_id])
            leaf_id = self._by_id[leaf_id].parent_id
        return found[::-1]

    def fork(self, message: ChatMessage) -> Fork:
        """Say which messages stand beside this one, oldest first."""
        ids = tuple(self._children.get(message.parent_id, [message.id]))
        return Fork(ids, ids.index(message.id) if message.id in ids else 0)

    def newest_leaf(self, message_id: str) -> str:
        """Follow the newest children down from a message."""
        seen = {message_id}
        while children := self._children.get(message_id):
            message_id = children[-1]
            if message_id in seen:
                break
            seen.add(message_id)
        return message_id
