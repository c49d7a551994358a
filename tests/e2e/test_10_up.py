"""Journey 1: from an empty folder to an answer, and once more without a change."""

from __future__ import annotations

import time

import psutil

from tests.e2e.sandbox import MODEL, Sandbox


def test_up_from_nothing_ends_with_addresses_and_a_key(running: Sandbox) -> None:
    told = running.first_up
    assert told["backend"] == "local"
    assert told["page"] == running.page_url
    assert told["api"] == running.api_url
    assert [(model["id"], model["state"]) for model in told["models"]] == [(MODEL, "ready")]
    assert told["key"].startswith("sb_")
    assert told["signin"].startswith(running.page_url)


def test_a_question_through_the_official_client_gets_an_answer(running: Sandbox) -> None:
    assert "Paris" in running.ask("What is the capital of France? Answer with one word.")


def test_a_second_up_changes_nothing_and_takes_seconds(running: Sandbox) -> None:
    before = {name: running.pid(name) for name in ("steward", "gateway", "page", "engine")}
    began = time.monotonic()
    done = running.make("up", "BACKEND=local")
    assert time.monotonic() - began < 15
    assert {name: running.pid(name) for name in before} == before
    assert done.stderr.count("nothing to do") >= 5
    assert "key      shown at the first start" in done.stdout
    assert running.key not in done.stdout


def test_status_tells_scripts_what_they_need(running: Sandbox) -> None:
    told = running.json("status")
    assert told["running"] is True
    assert (told["backend"], told["page"], told["api"]) == ("local", running.page_url, running.api_url)
    assert [(model["id"], model["state"]) for model in told["models"]] == [(MODEL, "ready")]


def test_a_new_key_works_and_a_revoked_one_does_not(running: Sandbox) -> None:
    made = running.json("key", "new", "journey")
    mine, running.key = running.key, made["key"]
    try:
        assert running.client().models.list().data[0].id == MODEL
        running.run("key", "revoke", made["id"])
        try:
            running.client().models.list()
        except Exception as error:  # noqa: BLE001  # whatever the client makes of a 401
            assert "not valid" in str(error)
        else:
            raise AssertionError("a revoked key was taken")
    finally:
        running.key = mine


def test_no_secret_stands_in_an_argument_list_or_a_log(running: Sandbox) -> None:
    engine_key = (running.home / "run" / "engines" / f"{MODEL}.key").read_text()
    operator_key = (running.home / "run" / "operator.key").read_text()
    secrets = [engine_key, operator_key, running.key]
    for name in ("steward", "gateway", "page", "engine"):
        arguments = " ".join(psutil.Process(running.pid(name)).cmdline())
        assert not any(secret in arguments for secret in secrets), name
    for log in (running.home / "logs").iterdir():
        text = log.read_text(errors="replace")
        assert not any(secret in text for secret in secrets), log.name


def test_the_command_line_chats(running: Sandbox) -> None:
    done = running.run("chat", "What is the capital of France? Answer with one word.", "--temperature", "0")
    assert "Paris" in done.stdout


def test_nothing_listens_anywhere_but_on_this_machine(running: Sandbox) -> None:
    for name in ("steward", "gateway", "page", "engine"):
        sockets = psutil.Process(running.pid(name)).net_connections("inet")
        listening = [each.laddr[0] for each in sockets if each.status == psutil.CONN_LISTEN]
        assert listening, f"{name} listens nowhere"
        assert set(listening) == {"127.0.0.1"}, name
