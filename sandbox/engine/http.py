"""Asks an engine that speaks llama-server's dialect over HTTP."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any

import aiohttp
import anyio

from sandbox.engine.protocol import Deadlines, EngineAddress
from sandbox.errors import ContextOverflow, EngineBroke, EngineTimeout, EngineUnavailable, InvalidRequest, SandboxError
from sandbox.wire.neutral import ChatPrompt, Delta, Event, Finished, FinishReason, Question, Usage

EVENT_BYTES = 1024 * 1024
"""The longest event that is believed; llama-server's are below a kibibyte."""
ERROR_BYTES = 64 * 1024
LOGS = "sandbox status names the model; its log: sandbox logs MODEL"
READY_S = 2.0


class HttpEngine:
    """Client of one llama-server, or of a process that answers like one."""

    def __init__(self, address: EngineAddress, deadlines: Deadlines) -> None:
        self._address = address
        self._deadlines = deadlines
        self._session: aiohttp.ClientSession | None = None

    async def answer(self, question: Question) -> AsyncGenerator[Event, None]:
        """Stream the answer; see ``Engine.answer``."""
        path, body = request(question, self._address.model_name)
        response = await self._post(path, body)
        try:
            if response.status != 200:
                raise await self._refusal(response)
            async with aclosing(self._events(response)) as events:
                async for event in events:
                    yield event
        finally:
            # Closing an unfinished response closes the connection, and that is what frees the slot.
            response.close()

    async def is_ready(self) -> bool:
        """Say whether the model is loaded; an engine that does not answer is not ready."""
        try:
            with anyio.fail_after(READY_S):
                async with self._client().get(self._url("/health"), allow_redirects=False) as response:
                    return response.status == 200
        except (aiohttp.ClientError, OSError):  # TimeoutError is an OSError
            return False

    async def close(self) -> None:
        """Give back connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _client(self) -> aiohttp.ClientSession:
        # Made at the first question: aiohttp wants a running loop, and a client may be wired before one runs.
        if self._session is None:
            # force_close: llama-server closes its connection after a streamed answer, and a pool would
            # hand the dead one to the next question. A fresh one on loopback costs 0.2 ms.
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(force_close=True, limit=0),
                headers={"Authorization": f"Bearer {self._address.key}"} if self._address.key else None,
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._deadlines.connect_s),
            )
        return self._session

    def _url(self, path: str) -> str:
        return self._address.url.rstrip("/") + path

    async def _post(self, path: str, body: Mapping[str, Any]) -> aiohttp.ClientResponse:
        """Send the question and wait for the head of the answer, which llama-server sends with the first token."""
        wait_s = self._deadlines.first_event_s
        try:
            with anyio.fail_after(wait_s):
                return await self._client().post(self._url(path), json=body, allow_redirects=False)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise EngineUnavailable(f"no engine answers at {self._address.url}: {error}", hint=LOGS) from error
        except TimeoutError as error:
            raise _silence(wait_s, "before the first piece of the answer") from error
        except (aiohttp.ClientError, OSError) as error:
            raise EngineBroke(f"the engine closed the connection before it answered: {error}", hint=LOGS) from error

    async def _events(self, response: aiohttp.ClientResponse) -> AsyncGenerator[Event, None]:
        reading = _Reading()
        async with aclosing(self._data(response)) as lines:
            async for line in lines:
                if line == b"[DONE]":
                    break
                if text := reading.take(line):
                    yield Delta(text)
        yield reading.finished()

    async def _data(self, response: aiohttp.ClientResponse) -> AsyncGenerator[bytes, None]:
        """Yield the payload of each server-sent event; pings do not count as signs of life."""
        wait_s, where = self._deadlines.first_event_s, "before the first piece of the answer"
        lines = _lines(response.content)
        try:
            while True:
                with anyio.fail_after(wait_s):
                    line = await _next_payload(lines)
                if line is None:
                    return
                wait_s, where = self._deadlines.between_events_s, "in the middle of an answer"
                yield line
        except TimeoutError as error:
            raise _silence(wait_s, where) from error
        except (aiohttp.ClientError, OSError) as error:
            raise EngineBroke(f"the engine broke off in the middle of an answer: {error}", hint=LOGS) from error

    async def _refusal(self, response: aiohttp.ClientResponse) -> SandboxError:
        """Turn a status other than 200 into the error it stands for."""
        try:
            with anyio.fail_after(self._deadlines.between_events_s):
                raw = await response.content.read(ERROR_BYTES)
        except (aiohttp.ClientError, OSError) as error:
            return EngineBroke(f"the engine answered {response.status} and broke off: {error}", hint=LOGS)
        return refusal(response.status, raw)


async def _next_payload(lines: AsyncIterator[bytes]) -> bytes | None:
    async for line in lines:
        if line.startswith(b"data:"):
            return line[5:].strip()
        if line.startswith(b"error:"):
            return b'{"error":' + line[6:].strip() + b"}"
    return None


async def _lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Split a byte stream into lines without trusting their length."""
    kept = b""
    while piece := await content.readany():
        *whole, kept = (kept + piece).split(b"\n")
        for line in whole:
            yield line
        if len(kept) > EVENT_BYTES:
            raise EngineBroke(f"the engine sent an event of more than {EVENT_BYTES} bytes", hint=LOGS)


class _Reading:
    """What has been heard of one answer."""

    def __init__(self) -> None:
        self._reason: FinishReason | None = None
        self._usage: Usage | None = None

    def take(self, line: bytes) -> str:
        """Take in one event and return the text in it."""
        try:
            event = json.loads(line)
            if "error" in event:
                raise refusal(int(event["error"].get("code", 500)), line)
            if event.get("usage"):
                self._usage = _usage(event["usage"])
            text = ""
            for choice in event.get("choices", ()):
                text += choice.get("text") or choice.get("delta", {}).get("content") or ""
                if choice.get("finish_reason"):
                    self._reason = "length" if choice["finish_reason"] == "length" else "stop"
        except (ValueError, TypeError, AttributeError, KeyError) as error:
            raise EngineBroke(f"the engine sent an event that cannot be read: {line[:80]!r}", hint=LOGS) from error
        return text

    def finished(self) -> Finished:
        """Give the end of the answer, if there was one."""
        if self._reason is None or self._usage is None:
            missing = "a finish reason" if self._reason is None else "its token counts"
            raise EngineBroke(f"the engine ended the answer without {missing}", hint=LOGS)
        return Finished(self._reason, self._usage)


def _usage(raw: Mapping[str, Any]) -> Usage:
    cached = (raw.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    return Usage(int(raw["prompt_tokens"]), int(raw["completion_tokens"]), int(cached))


def _silence(waited_s: float, where: str) -> EngineTimeout:
    return EngineTimeout(f"the engine said nothing for {waited_s:g} s {where}", hint=LOGS)


def request(question: Question, model_name: str) -> tuple[str, dict[str, Any]]:
    """Write a question in llama-server's dialect: the path and the body, known fields only; pure."""
    body: dict[str, Any] = {
        "model": model_name,
        "stream": True,
        "stream_options": {"include_usage": True},
        # The slot keeps its last prompt, so a longer chat is read from where it went on.
        "cache_prompt": True,
    }
    sampling = question.sampling
    for name in _SAMPLING:
        if (value := getattr(sampling, name)) is not None:
            body[name] = value
    if sampling.stop:
        body["stop"] = list(sampling.stop)
    if isinstance(question.prompt, ChatPrompt):
        body["messages"] = [{"role": turn.role, "content": turn.content} for turn in question.prompt.messages]
        if question.output is not None:
            body["response_format"] = _response_format(question.output.schema)
        return "/v1/chat/completions", body
    body["prompt"] = question.prompt.text
    if question.output is not None:
        body["json_schema"] = dict(question.output.schema or {"type": "object"})
    return "/v1/completions", body


_SAMPLING = (
    "max_tokens",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "repeat_penalty",
    "presence_penalty",
    "frequency_penalty",
    "seed",
)


def _response_format(schema: Mapping[str, Any] | None) -> dict[str, Any]:
    if schema is None:
        return {"type": "json_object"}
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": dict(schema)}}


def refusal(status: int, raw: bytes) -> SandboxError:
    """Say which error llama-server's status and error body stand for; pure."""
    body = _error_body(raw)
    message = str(body.get("message") or "no reason given")[:500]
    if body.get("type") == "exceed_context_size_error":
        needed, offered = body.get("n_prompt_tokens", "?"), body.get("n_ctx", "?")
        return ContextOverflow(
            f"the prompt has {needed} tokens, and a slot of this engine holds {offered}",
            hint="shorten the chat, or raise SANDBOX_ENGINE_CONTEXT_TOKENS",
        )
    if status == 503:
        return EngineUnavailable(f"the engine is not ready: {message}", hint="sandbox status")
    if status == 401:
        return EngineUnavailable("the engine refused the gateway's key", hint="sandbox down && sandbox up")
    if 400 <= status < 500 and status != 404:
        return InvalidRequest(f"the engine refused the request: {message}", hint="see the message")
    return EngineBroke(f"the engine answered with status {status}: {message}", hint=LOGS)


def _error_body(raw: bytes) -> Mapping[str, Any]:
    try:
        body = json.loads(raw)
    except ValueError:
        return {}
    error = body.get("error") if isinstance(body, dict) else None
    return error if isinstance(error, dict) else {}
