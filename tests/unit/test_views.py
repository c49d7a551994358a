from __future__ import annotations

from typing import Any

import pytest

from sandbox.views import (
    REASON_CHARS,
    age,
    cpu_words,
    exit_words,
    happening_cells,
    memory_words,
    place_words,
    restart_words,
    state_words,
    unit_cells,
)
from sandbox.wire.observed import Exit, Happening, Observed, Unit

MIB = 1024 * 1024
NOW = 10_000.0


def unit(**fields: Any) -> Unit:
    given = {"kind": "pod", "name": "engine-tiny-1", "component": "engine", "model": "tiny", "phase": "running"}
    return Unit.model_validate(given | {"is_ready": True} | fields)


def test_a_unit_is_a_row_of_words() -> None:
    cells = unit_cells(
        unit(memory_bytes=200 * MIB, memory_limit_bytes=800 * MIB, cpu_cores=0.5, cpu_planned=1, started_at=NOW - 200),
        NOW,
    )
    assert cells == {
        "part": "engine of tiny",
        "state": "ready",
        "memory": "200 MiB of 800 MiB (25%)",
        "CPU": "0.50 of 1 planned",
        "restarts": "never",
        "since": "3 min",
    }


def test_what_is_not_known_is_said_to_be() -> None:
    blind = unit(component="page", model="")
    assert (memory_words(blind), cpu_words(blind)) == ("not known", "not known")
    assert unit_cells(blind, NOW)["since"] == "–"


def test_a_unit_without_limits_is_told_without() -> None:
    assert memory_words(unit(memory_bytes=200 * MIB)) == "200 MiB"
    assert cpu_words(unit(cpu_cores=0.021)) == "0.02 cores"


@pytest.mark.parametrize(
    ("phase", "is_ready", "words"),
    [
        ("running", True, "ready"),
        ("running", False, "not ready"),
        ("pending", False, "pending"),
        ("gone", False, "gone"),
    ],
)
def test_its_state_is_one_word(phase: str, is_ready: bool, words: str) -> None:
    assert state_words(unit(phase=phase, is_ready=is_ready)) == words


@pytest.mark.parametrize(
    ("ended", "words"),
    [
        (Exit(reason="OOMKilled", code=137, at=NOW - 180), "out of memory (exit 137), 3 min ago"),
        (Exit(reason="Error", code=1), "failed (exit 1)"),
        (Exit(reason="Error", code=137), "killed (exit 137)"),
        (Exit(reason="Error", code=139), "crashed (exit 139)"),
        (Exit(reason="it ended by itself", at=NOW - 5), "it ended by itself, 5 s ago"),
        (Exit(reason="", code=2), "ended (exit 2)"),
    ],
)
def test_an_end_is_told_in_words(ended: Exit, words: str) -> None:
    assert exit_words(ended, NOW) == words


@pytest.mark.parametrize(
    ("restarts", "words"),
    [(0, "never"), (1, "once, last: out of memory (exit 137)"), (3, "3 times, last: out of memory (exit 137)")],
)
def test_restarts_are_told_with_the_last_end(restarts: int, words: str) -> None:
    assert restart_words(unit(restarts=restarts, last_exit=Exit(reason="OOMKilled", code=137)), NOW) == words


def test_restarts_whose_cause_nobody_knows_are_counted() -> None:
    assert restart_words(unit(restarts=2), NOW) == "2 times"


def test_last_words_of_pages_are_cut_to_a_line() -> None:
    words = exit_words(Exit(reason="it ended\n" + "llama " * 500), NOW)
    assert len(words) == REASON_CHARS
    assert "\n" not in words


def test_a_happening_is_a_row_of_words() -> None:
    happening = Happening(at=NOW - 60, about="engine-tiny-1", reason="BackOff", message="Back-off restarting", count=4)
    assert happening_cells(happening, NOW) == {
        "when": "1 min ago",
        "to": "engine-tiny-1",
        "what": "BackOff: Back-off restarting (4 times)",
    }


@pytest.mark.parametrize(
    ("backend", "isolation", "words"),
    [
        (
            "local",
            "",
            "processes of this machine, on its loopback alone. Isolation by network policies does not apply.",
        ),
        ("kind", "enforced by the policy agent", "kind cluster of this machine. Isolation of the network: enforced by"),
        ("context:work", "unproved: no answer", "the context work. Isolation of the network: unproved: no answer."),
        ("kind", "", "nobody has said whether it is enforced"),
    ],
)
def test_the_place_is_told_with_its_isolation(backend: str, isolation: str, words: str) -> None:
    assert words in place_words(Observed(backend=backend, isolation=isolation))


@pytest.mark.parametrize(
    ("duration_s", "words"),
    [(-3, "0 s"), (0.4, "0 s"), (59, "59 s"), (61, "1 min"), (3700, "1 h"), (100_000, "28 h"), (200_000, "2 days")],
)
def test_an_age_is_told_as_a_person_would(duration_s: float, words: str) -> None:
    assert age(duration_s) == words
