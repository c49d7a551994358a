"""Journey 9: down leaves nothing running, and up again still has everything."""

from __future__ import annotations

import httpx
import psutil

from sandbox.processes import MARK, mark_of
from tests.e2e.sandbox import Sandbox, is_open


def test_down_leaves_no_process_and_no_port_and_up_again_has_history_and_keys(running: Sandbox) -> None:
    running.run("chat", "Remember the lighthouse.", "--max-tokens", "8")
    pids = [running.pid(name) for name in ("steward", "gateway", "page", "engine")]
    running.make("down")
    assert not any(psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie" for pid in pids)
    assert not is_open(running.page_port)
    assert not is_open(running.api_port)
    mark = mark_of(running.home)
    mine = [
        process.pid for process in psutil.process_iter(["environ"]) if (process.info["environ"] or {}).get(MARK) == mark
    ]
    assert mine == []
    assert not (running.home / "run").exists()

    running.run("down")  # once more is harmless
    told = running.up()
    assert "key" not in told, "the first key is shown once"
    assert "Paris" in running.ask("What is the capital of France? Answer with one word."), "the key still works"
    titles = [row["title"] for row in chats(running)]
    assert "Remember the lighthouse." in titles


def chats(sandbox: Sandbox) -> list[dict[str, str]]:

    url = f"http://127.0.0.1:{sandbox.api_port}/sandbox/v1/chats"
    reply = httpx.get(url, headers={"Authorization": f"Bearer {sandbox.key}"}, trust_env=False)
    rows: list[dict[str, str]] = reply.json()["chats"]
    return rows
