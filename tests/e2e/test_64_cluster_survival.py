"""Journey 6: pods die and nodes restart; broken streams say so, nothing hangs, later questions are answered."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import httpx
import openai
from lightkube.resources.core_v1 import Pod

from sandbox.cluster import evidence
from tests.e2e.cluster_sandbox import CAPITAL, Cluster
from tests.e2e.sandbox import MODEL, until

CLIENTS = 8
ENDS_S = 120


@dataclass
class Streamed:
    """How one client's stream went."""

    pieces: int = 0
    finish_reason: str = ""
    error: str = ""


def stream(cluster: Cluster, told: Streamed) -> None:
    """Ask for a long answer and take it piece by piece, to whatever end."""
    try:
        asked = cluster.client().chat.completions.create(
            model=MODEL,
            messages=[{"role": "user", "content": "Write a very long story about a lighthouse keeper."}],
            max_tokens=400,
            temperature=0.8,
            stream=True,
        )
        for chunk in asked:
            if chunk.choices:
                told.pieces += bool(chunk.choices[0].delta.content)
                told.finish_reason = chunk.choices[0].finish_reason or told.finish_reason
    except openai.APIError as error:
        told.error = str((error.body if isinstance(error.body, dict) else {}).get("code") or error)


def test_a_deleted_engine_pod_breaks_streams_that_say_so_and_is_back_soon(
    cluster: Cluster, figure: Callable[[str], None]
) -> None:
    told = [Streamed() for _ in range(CLIENTS)]
    threads = [threading.Thread(target=stream, args=(cluster, each)) for each in told]
    for thread in threads:
        thread.start()
    until(lambda: sum(each.pieces > 3 for each in told) >= 2, 60, "two answers are being streamed")
    before = cluster.engine_pod()
    began = time.monotonic()
    cluster.kube.delete(Pod, before.metadata.name, namespace="models", grace_s=0)

    def is_back() -> bool:
        pods = [pod for pod in cluster.kube.pods("models") if evidence.is_ready(pod)]
        return any(pod.metadata and pod.metadata.uid != before.metadata.uid for pod in pods)

    until(is_back, 30, "another engine pod is ready")
    back_s = time.monotonic() - began
    for thread in threads:
        thread.join(ENDS_S)
    assert not any(thread.is_alive() for thread in threads), "no request hangs"
    broken = [each for each in told if each.error]
    whole = [each for each in told if each.finish_reason]
    figure(
        f"engine pod deleted under {CLIENTS} streams: another Ready after {back_s:.1f} s; {len(broken)} said that "
        f"they broke, {len(whole)} were answered whole"
    )
    assert len(broken) + len(whole) == CLIENTS, f"a stream ended without saying how: {told}"
    assert broken, "the pod was deleted in mid-stream"
    assert {each.error for each in broken} <= {"engine_broke", "engine_unavailable"}
    assert "Paris" in cluster.ask(CAPITAL)


def test_everything_answers_again_after_the_node_was_restarted(cluster: Cluster, figure: Callable[[str], None]) -> None:
    container = cluster.docker.container(cluster.node)
    assert container is not None
    began = time.monotonic()
    container.restart(timeout=10)

    def answers() -> bool:
        try:
            page = httpx.get(f"{cluster.page_url}/healthz", timeout=5, trust_env=False)
            return page.status_code == 200 and "Paris" in cluster.ask(CAPITAL)
        except (openai.APIError, httpx.HTTPError):
            return False

    until(answers, 120, "page and model answer again, by themselves")
    figure(f"docker restart of the node: everything answers after {time.monotonic() - began:.0f} s")
    assert cluster.up()["models"][0]["state"] == "ready"


def test_a_stopped_cluster_is_started_by_up(cluster: Cluster) -> None:
    container = cluster.docker.container(cluster.node)
    assert container is not None
    container.stop(timeout=10)
    assert cluster.run("status", ok=False).returncode == 4
    done = cluster.make("up")
    assert "it was stopped: starting it" in done.stderr
    assert "Paris" in cluster.ask(CAPITAL)
