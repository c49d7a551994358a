"""One model in this process through ``llama-cpp-python``: a prompt becomes tokens, tokens become pieces."""

from __future__ import annotations

import json
import random
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import llama_cpp
from llama_cpp.llama_chat_format import Jinja2ChatFormatter

from sandbox.engine.children.spec import Spec
from sandbox.engine.children.text import StoppingText

CHUNK_TOKENS = 64
"""Prompt tokens read between two looks at whether the question was cancelled; under half a second."""
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{{ '<|im_start|>assistant\n' }}"
)
"""Used when a model has no chat template, as llama-server does."""
SAMPLING = {
    "temperature": "temp",
    "top_p": "top_p",
    "top_k": "top_k",
    "min_p": "min_p",
    "repeat_penalty": "repeat_penalty",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
}
"""Names in requests → names in the binding."""


class BadRequest(Exception):
    """The request has a field that this engine cannot follow."""


class PromptTooLong(Exception):
    """The prompt leaves no room for an answer."""

    def __init__(self, n_prompt_tokens: int, n_ctx: int) -> None:
        super().__init__(f"request ({n_prompt_tokens} tokens) exceeds the available context size ({n_ctx} tokens)")
        self.n_prompt_tokens = n_prompt_tokens
        self.n_ctx = n_ctx


@dataclass(slots=True)
class Job:
    """One question, ready to be worked on, and how far it got."""

    tokens: list[int]
    max_tokens: int
    seed: int
    sampling: dict[str, float]
    stop: Sequence[str]
    grammar: Any  # LlamaGrammar, which has no types
    n_cached: int = 0
    n_answered: int = 0
    finish_reason: Literal["stop", "length"] = field(default="length")


class Model:
    """The loaded model; one job at a time."""

    def __init__(self, spec: Spec) -> None:
        self._llama = llama_cpp.Llama(
            str(spec.model),
            n_ctx=spec.context_tokens,
            n_threads=spec.threads,
            n_threads_batch=spec.threads,
            n_batch=CHUNK_TOKENS,
            n_gpu_layers=0,
            verbose=False,
        )
        self._n_ctx = int(self._llama.n_ctx())
        template = self._llama.metadata.get("tokenizer.chat_template", CHATML)
        self._bos, self._eos = self._text_of(self._llama.token_bos()), self._text_of(self._llama.token_eos())
        self._format = Jinja2ChatFormatter(template, eos_token=self._eos, bos_token=self._bos)

    def _text_of(self, token: int) -> str:
        return str(self._llama.detokenize([token], special=True).decode("utf-8", "replace")) if token >= 0 else ""

    def chat_text(self, messages: Sequence[Mapping[str, str]]) -> str:
        """Write a conversation as the model's template wants it.

        Raises:
            BadRequest: the template refuses it, for instance two questions in a row.
        """
        try:
            text = str(self._format(messages=list(messages)).prompt)
        except Exception as error:  # a template comes with the model and raises what it likes
            raise BadRequest(f"the model's chat template refuses these messages: {error}") from error
        # The tokeniser adds the first token itself where the model wants one.
        return text.removeprefix(self._bos) if self._bos else text

    def prepare(self, text: str, body: Mapping[str, Any]) -> Job:
        """Make a job of a prompt and the fields of its request.

        Raises:
            PromptTooLong: no token of an answer would fit.
            BadRequest: the schema cannot be followed.
        """
        tokens = list(self._llama.tokenize(text.encode(), add_bos=True, special=True))
        if not tokens:
            tokens = [self._llama.token_bos()]
        if len(tokens) >= self._n_ctx:
            raise PromptTooLong(len(tokens), self._n_ctx)
        room = self._n_ctx - len(tokens)
        seed = body.get("seed")
        return Job(
            tokens=tokens,
            max_tokens=min(body.get("max_tokens") or room, room),
            seed=random.getrandbits(32) if seed is None else seed % 2**32,  # no secret depends on it
            sampling={theirs: body[ours] for ours, theirs in SAMPLING.items() if body.get(ours) is not None},
            stop=[body["stop"]] if isinstance(body.get("stop"), str) else body.get("stop") or [],
            grammar=_grammar(body),
        )

    def work(self, job: Job) -> Generator[str, None, None]:
        """Yield the answer piece by piece; empty pieces while the prompt is read. May be closed between any two."""
        llama = self._llama
        yield from self._read(job)
        llama.set_seed(job.seed)
        text = StoppingText(job.stop)
        answer = llama.generate(list(job.tokens), grammar=job.grammar, **job.sampling)
        for token in answer:
            if llama_cpp.llama_vocab_is_eog(llama._model.vocab, token):
                job.finish_reason = "stop"
                break
            job.n_answered += 1
            yield text.feed(llama.detokenize([token], prev_tokens=job.tokens))
            if text.is_stopped:
                job.finish_reason = "stop"
                break
            if job.n_answered >= job.max_tokens:
                break
        answer.close()
        if not text.is_stopped:
            yield text.rest()

    def _read(self, job: Job) -> Iterator[str]:
        """Read the prompt, from where it differs from what the model read last."""
        llama = self._llama
        common = 0
        # The last token is read in any case: the next one is chosen from what it leaves behind.
        for ours, theirs in zip(job.tokens[:-1], list(llama.eval_tokens), strict=False):
            if ours != theirs:
                break
            common += 1
        if not llama._ctx.kv_cache_seq_rm(-1, common, -1):
            common = 0  # a recurrent model cannot forget only its latest tokens
            llama.reset()
        llama.n_tokens = job.n_cached = common
        for at in range(common, len(job.tokens), CHUNK_TOKENS):
            llama.eval(job.tokens[at : at + CHUNK_TOKENS])
            yield ""


def _grammar(body: Mapping[str, Any]) -> Any:  # LlamaGrammar, which has no types
    """Make the grammar that a request asks for, if any."""
    schema = body.get("json_schema")
    wanted = body.get("response_format") or {}
    if wanted.get("type") == "json_object":
        schema = {"type": "object"}
    elif wanted.get("type") == "json_schema":
        schema = wanted["json_schema"]["schema"]
    if schema is None:
        return None
    try:
        grammar = llama_cpp.LlamaGrammar.from_json_schema(json.dumps(schema))
    except Exception as error:  # its converter raises whatever the schema makes it stumble over
        raise BadRequest(f"JSON schema error: {error!r}") from error
    return grammar
