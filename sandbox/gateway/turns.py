"""One turn of a chat: the question stored, the answer streamed and stored as far as it comes."""

from __future__ import annotations

import time
from contextlib import aclosing

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from sandbox.errors import SandboxError
from sandbox.gateway.chats import path_to
from sandbox.gateway.door import Door
from sandbox.gateway.keys import Identity
from sandbox.gateway.live import Write, sse
from sandbox.gateway.pipeline import END_DEADLINE_S, Ask
from sandbox.wire.console import Chat, ChatMessage, MessageState, SamplingSettings, Turn, TurnEvent
from sandbox.wire.neutral import ChatPrompt, Delta, Event, Message, Question, Sampling

PATH = "/sandbox/v1/chats/turns"
"""How a turn is named on record: without the chat's id, so that figures can be counted by path."""
WAIT_S = 0.25
"""Longest silence on the wire: a reader that is to stop looks up at every sign of life."""
SAVE_EVERY_S = 1.0
"""How much of a long answer a killed gateway can lose."""


class TurnWork:
    """Runs one turn; whatever ends it, the answer is stored with how it ended."""

    def __init__(self, door: Door, who: Identity, chat_id: str, turn: Turn) -> None:
        self._door = door
        self._who = who
        self._chat_id = chat_id
        self._turn = turn
        self._pieces: list[str] = []
        self._saved_at = 0.0

    async def __call__(self, write: Write) -> None:
        """Answer and stream; the work is cancelled when the client goes away.

        Raises:
            SandboxError: before anything was stored or sent. Later errors are the turn's last event.
        """
        chat = await self._door.chats.read(self._who.owner, self._chat_id)
        await self._door.engines.find(chat.model)  # nobody there to answer: do not even store the question
        chat, question, answer = await self._door.chats.open_turn(self._who.owner, self._chat_id, self._turn)
        ask: Ask | None = None
        state: MessageState = "stopped"
        failure: SandboxError | None = None
        try:
            await write(_event(TurnEvent(type="started", question=question, answer=answer)))
            ask = await self._door.ask(self._who, _question(chat, question), PATH, chat_id=chat.id)
            failure = await self._relay(ask, answer, write)
            state = "done" if failure is None else "failed"
        except SandboxError as error:
            state, failure = "failed", error
        except Exception:
            state = "failed"
            raise
        finally:
            with anyio.move_on_after(END_DEADLINE_S, shield=True):
                answer = self._answer(answer, ask, state, failure)
                await self._door.chats.save_answer(answer)
        if failure is None:
            await write(_event(TurnEvent(type="done", answer=answer)))
        else:
            await write(_event(TurnEvent(type="error", answer=answer, code=failure.code, message=failure.message)))

    async def _relay(self, ask: Ask, answer: ChatMessage, write: Write) -> SandboxError | None:
        """Pass the engine's events on, with a sign of life in every silence; return what cut them short.

        Errors travel as values here: raised inside the group they would come out wrapped.
        """
        send, receive = anyio.create_memory_object_stream[Event | SandboxError](0)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._produce, ask, send)
            failure = await self._consume(receive, ask, answer, write)
            tasks.cancel_scope.cancel()
        return failure

    async def _produce(self, ask: Ask, send: MemoryObjectSendStream[Event | SandboxError]) -> None:
        async with send:
            try:
                async with aclosing(self._door.way(ask)) as events:
                    async for event in events:
                        await send.send(event)
            except SandboxError as error:
                await send.send(error)

    async def _consume(
        self, receive: MemoryObjectReceiveStream[Event | SandboxError], ask: Ask, answer: ChatMessage, write: Write
    ) -> SandboxError | None:
        async with receive:
            while True:
                event: Event | SandboxError | None = None
                try:
                    with anyio.move_on_after(WAIT_S):
                        event = await receive.receive()
                except anyio.EndOfStream:
                    return None
                if event is None:
                    await write(_event(TurnEvent(type="wait")))
                elif isinstance(event, SandboxError):
                    return event
                elif isinstance(event, Delta):
                    self._pieces.append(event.text)
                    await write(_event(TurnEvent(type="delta", text=event.text)))
                    await self._save_now_and_then(ask, answer)

    async def _save_now_and_then(self, ask: Ask, answer: ChatMessage) -> None:
        if time.monotonic() - self._saved_at >= SAVE_EVERY_S:
            self._saved_at = time.monotonic()
            await self._door.chats.save_answer(self._answer(answer, ask, "writing", None))

    def _answer(
        self, answer: ChatMessage, ask: Ask | None, state: MessageState, failure: SandboxError | None
    ) -> ChatMessage:
        return answer.model_copy(
            update={
                "content": "".join(self._pieces),
                "state": state,
                "record_id": ask.record_id if ask else None,
                "finish_reason": ask.finish_reason if ask else None,
                "stats": ask.stats if ask else None,
                "error": failure.message if failure else None,
            }
        )


def _question(chat: Chat, question: ChatMessage) -> Question:
    messages = [Message("system", chat.system)] if chat.system else []
    for message in path_to(chat, question.id):
        if message.content:
            messages.append(Message(message.role, message.content))
    return Question(model=chat.model, prompt=ChatPrompt(tuple(messages)), sampling=_sampling(chat.sampling))


def _sampling(settings: SamplingSettings) -> Sampling:
    return Sampling(**settings.model_dump())


def _event(event: TurnEvent) -> bytes:
    return sse(event.model_dump(mode="json", exclude_unset=True))
