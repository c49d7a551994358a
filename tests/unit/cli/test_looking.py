"""What ``sandbox status`` prints."""

from __future__ import annotations

import json

import pytest

from sandbox.cli.looking import observed_object, tell
from sandbox.lifecycle.up import Running
from sandbox.wire.observed import Exit, Happening, Observed, Sample, Unit

NOW = 10_000.0
MIB = 1024 * 1024
RUNNING = Running(
    backend="kind", backend_reason="a Docker engine answers", page="http://127.0.0.1:8501",
    api="http://127.0.0.1:8502/v1", models=(), processes={"gateway": True, "steward": False},
)  # fmt: skip
ENGINE = Unit(
    kind="pod", namespace="models", name="engine-tiny-1", component="engine", model="tiny", phase="starting",
    is_ready=False, restarts=2, last_exit=Exit(reason="OOMKilled", code=137, at=NOW - 120), started_at=NOW - 60,
    memory_bytes=300 * MIB, memory_limit_bytes=400 * MIB, detail="engine waits: CrashLoopBackOff: 40s",
)  # fmt: skip
OBSERVED = Observed(
    backend="kind", isolation="enforced by the policy agent", looked_at=NOW, units=(ENGINE,),
    happenings=tuple(Happening(at=NOW - age, about="engine-tiny-1", reason=f"r{age}", message="") for age in range(9)),
    problems=("memory and CPU on node n are not known: HTTP 403",), history=(Sample(at=NOW),),
)  # fmt: skip


def test_every_pod_is_told_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    tell(RUNNING, OBSERVED)
    said = capsys.readouterr()
    for words in (
        "in the kind cluster of this machine. Isolation of the network: enforced by the policy agent.",
        "part=engine of tiny  state=starting  memory=300 MiB of 400 MiB (75%)",
        "restarts=2 times, last: out of memory (exit 137), 2 min ago",
    ):
        assert words in said.out
    assert "engine-tiny-1: engine waits: CrashLoopBackOff: 40s" in said.err
    assert "memory and CPU on node n are not known: HTTP 403" in said.err


def test_only_the_last_happenings_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    tell(RUNNING, OBSERVED)
    said = capsys.readouterr().out
    assert "what=r4" in said
    assert "what=r5" not in said


def test_where_nothing_can_be_seen_the_parts_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    tell(RUNNING, None)
    said = capsys.readouterr().out
    assert "gateway  runs" in said
    assert "steward  does not run" in said


def test_as_json_it_is_all_there_but_the_past() -> None:
    told = json.loads(json.dumps(observed_object(OBSERVED)))
    assert (told["units"][0]["name"], told["units"][0]["last_exit"]["code"]) == ("engine-tiny-1", 137)
    assert len(told["happenings"]) == 9
    assert told["isolation"] == "enforced by the policy agent"
    assert "history" not in told
