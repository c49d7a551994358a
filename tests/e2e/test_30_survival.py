"""Journey 3: processes are killed in mid-answer; nothing acknowledged is lost, and the next question works."""

from __future__ import annotations

import os
import signal
import sqlite3
import threading
import time
from typing import Any

import httpx
import openai
import pytest

from tests.e2e.sandbox import MODEL, Sandbox, until


def rows(sandbox: Sandbox) -> list[tuple[str, str, str | None]]:
    connection = sqlite3.connect(f"file:{sandbox.home}/state/records.db?mode=ro", uri=True)
    try:
        return connection.execute("SELECT id, state, error_code FROM records ORDER BY begun_at, id").fetchall()
    finally:
        connection.close()


def long_stream(sandbox: Sandbox) -> Any:
    return sandbox.client().chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": "Write a very long story about a lighthouse keeper and the sea."}],
        max_tokens=3000,
        stream=True,
        temperature=0.8,
    )


def test_a_killed_engine_breaks_one_answer_well_formed_and_the_next_succeeds(running: Sandbox) -> None:
    before = len(rows(running))
    first_engine = running.pid("engine")
    stream = long_stream(running)
    pieces = 0
    with pytest.raises(openai.APIError) as told:
        for chunk in stream:
            pieces += bool(chunk.choices and chunk.choices[0].delta.content)
            if pieces == 5:
                os.kill(first_engine, signal.SIGKILL)
    assert pieces >= 5
    assert isinstance(told.value.body, dict)
    assert told.value.body["code"] == "engine_broke"
    assert "Paris" in running.ask("What is the capital of France? Answer with one word.")
    assert [(state, code) for _, state, code in rows(running)[before:]] == [("failed", "engine_broke"), ("done", None)]
    assert running.pid("engine") != first_engine


def test_what_a_killed_gateway_acknowledged_is_on_record(running: Sandbox) -> None:
    before = {row[0] for row in rows(running)}
    assert "Paris" in running.ask("What is the capital of France? Answer with one word.")
    stream = long_stream(running)
    next(iter(stream))
    engine = running.pid("engine")
    os.kill(running.pid("gateway"), signal.SIGKILL)
    with pytest.raises((openai.APIError, httpx.HTTPError)):
        for _ in stream:
            pass
    assert [state for row, state, _ in rows(running) if row not in before] == ["done", "begun"]
    assert running.run("status", ok=False).returncode == 4
    running.up()
    assert [state for row, state, _ in rows(running) if row not in before] == ["done", "interrupted"]
    assert running.pid("engine") == engine, "a restarted gateway finds its engines running"
    assert "Paris" in running.ask("What is the capital of France? Answer with one word.")


def test_a_killed_steward_leaves_engines_answering_and_takes_them_over_when_back(running: Sandbox) -> None:
    engine = running.pid("engine")
    os.kill(running.pid("steward"), signal.SIGKILL)
    assert "Paris" in running.ask("What is the capital of France? Answer with one word.")
    running.up()
    assert running.pid("engine") == engine
    assert "Paris" in running.ask("What is the capital of France? Answer with one word.")


def test_a_client_that_goes_away_frees_its_slot_and_is_on_record(running: Sandbox) -> None:
    before = len(rows(running))
    streams = [long_stream(running) for _ in range(2)]  # both slots
    for stream in streams:
        next(iter(stream))
        stream.close()
    until(lambda: [s for _, s, _ in rows(running)[before:]] == ["cancelled"] * 2, 10, "both are on record")
    began = time.monotonic()
    running.ask("Say yes.", max_tokens=4)
    assert time.monotonic() - began < 10, "3,000 tokens would have taken far longer"


def test_many_at_once_all_get_an_answer_or_a_clear_error(running: Sandbox) -> None:
    answers: list[str] = []

    def one(number: int) -> None:
        answers.append(running.ask(f"Say the number {number}.", max_tokens=8))

    threads = [threading.Thread(target=one, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert len(answers) == 8
