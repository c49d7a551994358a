"""Asks a running Ollama on loopback, and registers our verified files with it.

Two things it does by itself are undone here. It silently drops the beginning of a prompt that is too
long: that is found out before the question is asked and checked again when the answer ends. And it
forgets the oldest text when an answer outgrows the context: answers are limited to one context's length.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Any, Literal, cast

import anyio
import httpx
import ollama

from sandbox.engine.protocol import Deadlines, EngineAddress
from sandbox.errors import ContextOverflow, EngineBroke, EngineTimeout, EngineUnavailable, InvalidRequest, SandboxError
from sandbox.wire.neutral import ChatPrompt, Delta, Event, Finished, FinishReason, JsonOutput, Question, Usage

TEMPLATE_TOKENS = 64
"""Room for what a chat template adds once, such as a system prompt of its own; SmolLM2's is 23 tokens."""
TURN_TOKENS = 16
"""Room for what it adds to each turn; ChatML's is 5 tokens."""
DEFAULT_CONTEXT_TOKENS = 2048  # Ollama 0.6.5's own
REGISTER_S = 600.0
READY_S = 2.0
HINT = "look at the log of ollama serve"
_REFUSED_SCHEMA = ("invalid JSON schema", "failed to parse grammar", "invalid format")


class OllamaEngine:
    """Client of one model in a running Ollama."""

    def __init__(self, address: EngineAddress, deadlines: Deadlines) -> None:
        self._address = address
        self._deadlines = deadlines
        self._n_ctx = address.context_tokens or DEFAULT_CONTEXT_TOKENS
        # trust_env: a proxy of the environment has no business between here and loopback.
        self._client = _client(address.url, deadlines.connect_s)

    async def answer(self, question: Question) -> AsyncGenerator[Event, None]:
        """Stream the answer; see ``Engine.answer``."""
        wait_s = self._deadlines.first_event_s
        try:
            with anyio.fail_after(wait_s):
                at_least = await self._measure(question)
                parts = await self._ask(question)
            async with aclosing(parts):  # closing it unfinished ends the work
                while True:
                    with anyio.fail_after(wait_s):
                        part = await anext(parts, None)
                    wait_s = self._deadlines.between_events_s
                    if part is None:
                        raise EngineBroke("ollama ended the answer without finishing it", hint=HINT)
                    if text := _text(part):
                        yield Delta(text)
                    if part.done:
                        yield self._finished(part, at_least)
                        return
        except TimeoutError as error:
            raise EngineTimeout(f"ollama said nothing for {wait_s:g} s", hint=HINT) from error
        except (httpx.HTTPError, httpx.StreamError, ollama.ResponseError, ConnectionError, ValueError) as error:
            raise _meaning(error, self._address.url) from error

    async def is_ready(self) -> bool:
        """Say whether Ollama answers and knows the model; it loads a model at the first question."""
        try:
            with anyio.fail_after(READY_S):
                await self._client.show(self._address.model_name)
        except (httpx.HTTPError, ollama.ResponseError, OSError):
            return False
        return True

    async def close(self) -> None:
        """Give back connections."""
        await self._client.close()  # type: ignore[no-untyped-call]  # the package leaves it untyped

    async def _measure(self, question: Question) -> int:
        """Count the prompt's tokens without its template, where that is needed to know that it fits.

        A token stands for at least one byte, so a prompt of few bytes surely fits. A longer one is put
        to ``/api/embed`` without truncation, which counts first and refuses what does not fit. Ollama
        0.6.5 has nothing that only counts, so such a prompt is read twice.

        Returns:
            Tokens, or 0 when it fits for sure.

        Raises:
            ContextOverflow: the prompt does not fit.
        """
        text, turns = _all_text(question)
        extra = TEMPLATE_TOKENS + TURN_TOKENS * turns
        if len(text.encode()) + extra <= self._n_ctx:
            return 0
        try:
            counted = await self._client.embed(
                self._address.model_name, text, truncate=False, options={"num_ctx": self._n_ctx}
            )
        except ollama.ResponseError as error:
            if "maximum context length" in error.error:
                raise self._overflow(f"more than {self._n_ctx}") from error
            raise
        tokens = int(counted.prompt_eval_count or 0)
        if tokens + extra > self._n_ctx:
            raise self._overflow(f"{tokens} and up to {extra} of its template")
        return tokens

    def _overflow(self, needed: str) -> ContextOverflow:
        return ContextOverflow(
            f"the prompt has {needed} tokens, and this engine holds {self._n_ctx}",
            hint="shorten the chat, or raise SANDBOX_ENGINE_CONTEXT_TOKENS",
        )

    async def _ask(self, question: Question) -> AsyncGenerator[ollama.ChatResponse | ollama.GenerateResponse, None]:
        options = options_of(question, self._n_ctx)
        output = _format(question.output)
        # The package types its streams as iterators; they are generators, and have to be closed.
        if isinstance(question.prompt, ChatPrompt):
            turns = [{"role": turn.role, "content": turn.content} for turn in question.prompt.messages]
            answer: Any = await self._client.chat(
                self._address.model_name, turns, stream=True, format=output, options=options
            )
        else:
            text = question.prompt.text
            answer = await self._client.generate(
                self._address.model_name, text, raw=True, stream=True, format=output, options=options
            )
        return cast(AsyncGenerator["ollama.ChatResponse | ollama.GenerateResponse", None], answer)

    def _finished(self, part: ollama.ChatResponse | ollama.GenerateResponse, at_least: int) -> Finished:
        prompt_tokens = int(part.prompt_eval_count or 0)
        # Exactly a full context was read: the rest was cut off. Less than the text alone: turns were left out.
        if prompt_tokens >= self._n_ctx or prompt_tokens < at_least - TURN_TOKENS:
            raise self._overflow("too many")
        reason: FinishReason = "length" if part.done_reason == "length" else "stop"
        return Finished(reason, Usage(prompt_tokens, int(part.eval_count or 0)))


async def register(url: str, blob: Path, digest: str, name: str) -> None:
    """Make a model in a running Ollama of a verified file.

    Args:
        url: where it listens, without a path.
        digest: the file's SHA-256, 64 hexadecimal digits.
        name: what the model is to be called there.

    Raises:
        EngineBroke: Ollama would not take the file, or the file is not the verified one any more.
        EngineUnavailable: nobody listens.
        EngineTimeout: it took longer than ten minutes.
    """
    client = _client(url, Deadlines().connect_s)
    try:
        with anyio.fail_after(REGISTER_S):
            sent = await client.create_blob(blob)
            if sent != f"sha256:{digest}":
                raise EngineBroke(
                    f"{blob} has digest {sent}, reviewed is sha256:{digest}", hint="sandbox models verify"
                )
            await client.create(model=name, files={f"{name}.gguf": sent})
    except TimeoutError as error:
        raise EngineTimeout(f"ollama took longer than {REGISTER_S:g} s for {blob}", hint=HINT) from error
    except (httpx.HTTPError, ollama.ResponseError, ConnectionError) as error:
        raise _meaning(error, url) from error
    finally:
        await client.close()  # type: ignore[no-untyped-call]  # the package leaves it untyped


def _client(url: str, connect_s: float) -> ollama.AsyncClient:
    # trust_env: a proxy of the environment has no business between here and loopback.
    return ollama.AsyncClient(host=url, timeout=httpx.Timeout(None, connect=connect_s), trust_env=False)


def options_of(question: Question, n_ctx: int) -> dict[str, Any]:
    """Write the sampling of a question as Ollama's options; pure."""
    sampling = question.sampling
    options: dict[str, Any] = {"num_ctx": n_ctx, "num_predict": min(sampling.max_tokens or n_ctx, n_ctx)}
    for name in _SAMPLING:
        if (value := getattr(sampling, name)) is not None:
            options[name] = value
    if sampling.stop:
        options["stop"] = list(sampling.stop)
    return options


_SAMPLING = (
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "repeat_penalty",
    "presence_penalty",
    "frequency_penalty",
    "seed",
)


def _format(output: JsonOutput | None) -> dict[str, Any] | Literal["json"] | None:
    if output is None:
        return None
    return dict(output.schema) if output.schema else "json"


def _all_text(question: Question) -> tuple[str, int]:
    """Join everything that goes into the prompt, and count the turns."""
    if isinstance(question.prompt, ChatPrompt):
        return "\n".join(turn.content for turn in question.prompt.messages), len(question.prompt.messages)
    return question.prompt.text, 0


def _text(part: ollama.ChatResponse | ollama.GenerateResponse) -> str:
    return (part.message.content if isinstance(part, ollama.ChatResponse) else part.response) or ""


def _meaning(error: Exception, url: str) -> SandboxError:
    """Say which of our errors one of Ollama's or of its transport stands for; pure."""
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | ConnectionError):
        return EngineUnavailable(f"no ollama answers at {url}: {error}", hint="ollama serve")
    if not isinstance(error, ollama.ResponseError):
        return EngineBroke(f"ollama broke off: {error}", hint=HINT)
    if any(words in error.error for words in _REFUSED_SCHEMA) or error.status_code == 400:
        return InvalidRequest(f"ollama refused the request: {error.error[:500]}", hint="see the message")
    if error.status_code in (404, 503):
        return EngineUnavailable(f"ollama cannot serve the model: {error.error[:500]}", hint="ollama list")
    return EngineBroke(f"ollama failed with status {error.status_code}: {error.error[:500]}", hint=HINT)
