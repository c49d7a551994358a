"""Journey 5: from images to an answer out of a pod, in the same places as before."""

from __future__ import annotations

import json
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
from playwright.sync_api import Browser

from sandbox import config
from sandbox.cluster import evidence
from sandbox.engine.build import recipe_of
from sandbox.engine.recipes import llama_server_program
from sandbox.processes import free_port
from tests.e2e.cluster_sandbox import CAPITAL, Cluster
from tests.e2e.page_visit import visiting
from tests.e2e.sandbox import MODEL, until

PROMPT = "Write a story about a lighthouse keeper and the sea."
PAIRS = 5
ANSWER_TOKENS = 64


def test_up_ends_with_the_same_addresses_and_an_answer(cluster: Cluster, figure: Callable[[str], None]) -> None:
    told = cluster.first_up
    assert told["backend"] == "kind"
    assert (told["page"], told["api"]) == (cluster.page_url, cluster.api_url)
    assert [(model["id"], model["state"]) for model in told["models"]] == [(MODEL, "ready")]
    assert "Paris" in cluster.answer
    figure(f"make up: {cluster.first_up_s:.1f} s; to the first answer: {cluster.first_answer_s:.1f} s")
    assert cluster.first_answer_s <= 90


def test_the_answer_comes_from_a_pod_in_models(cluster: Cluster) -> None:
    before = cluster.engine_figures()["llamacpp:tokens_predicted_total"]
    assert "Paris" in cluster.ask(CAPITAL)
    assert cluster.engine_figures()["llamacpp:tokens_predicted_total"] > before
    assert not list((cluster.home / "run").glob("engines/*")), "no engine runs as a process of this machine"


def test_a_second_up_changes_nothing_and_takes_seconds(cluster: Cluster, figure: Callable[[str], None]) -> None:
    before = pod_ids(cluster)
    began = time.monotonic()
    done = cluster.make("up")
    took_s = time.monotonic() - began
    assert pod_ids(cluster) == before
    assert cluster.key not in done.stdout
    figure(f"second make up: {took_s:.1f} s")
    assert took_s <= 15, done.stderr


def test_an_engine_pod_is_ready_within_ten_seconds_of_being_created(
    cluster: Cluster, figure: Callable[[str], None]
) -> None:
    pod = cluster.engine_pod()
    (ready,) = (each for each in pod.status.conditions if each.type == "Ready")
    took_s = (_moment(ready.lastTransitionTime) - _moment(pod.metadata.creationTimestamp)).total_seconds()
    figure(f"engine pod: Ready {took_s:.0f} s after it was created")
    assert took_s <= 10


def pod_ids(cluster: Cluster) -> set[str]:
    """Name the pods that are there: another id for each that was made anew."""
    pods = [pod for space in ("sandbox", "models") for pod in cluster.kube.pods(space)]
    return {str(pod.metadata.uid) for pod in pods if pod.metadata}


def _moment(value: Any) -> datetime:
    return value if isinstance(value, datetime) else datetime.fromisoformat(str(value))


def test_ports_are_published_on_this_machine_only(cluster: Cluster) -> None:
    container = cluster.docker.container(cluster.node)
    assert container is not None
    container.reload()
    published = {entry["HostIp"] for entries in container.ports.values() for entry in entries or []}
    assert published == {"127.0.0.1"}


def test_no_secret_stands_in_a_manifest_a_log_or_an_argument(cluster: Cluster) -> None:
    kube = cluster.kube
    pairs = (("models", "engine-key", "key"), ("sandbox", "steward-token", "token"), ("sandbox", "operator-key", "key"))
    secrets = [(kube.secret(space, name) or {})[key] for space, name, key in pairs] + [cluster.key]
    assert all(len(secret) > 20 for secret in secrets)
    for namespace in ("sandbox", "models"):
        for pod in kube.pods(namespace):
            name = evidence.name_of(pod)
            written = json.dumps(pod.to_dict(), default=str)
            said = "\n".join(kube.log(namespace, name, lines=10_000))
            for secret in secrets:
                assert secret not in written, name
                assert secret not in said, name
    arguments = cluster.in_node("sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '")
    assert "llama-server" in arguments
    assert not any(secret in arguments for secret in secrets)


def test_an_engine_runs_closed_down_with_the_memory_of_its_plan(cluster: Cluster) -> None:
    pod = cluster.engine_pod()
    (container,) = pod.spec.containers
    assert container.securityContext.readOnlyRootFilesystem is True
    assert container.securityContext.capabilities.drop == ["ALL"]
    assert not container.securityContext.capabilities.add
    assert pod.spec.automountServiceAccountToken is False
    (row,) = cluster.json("status")["models"]
    assert row["state"] == "ready"
    processes = cluster.in_node("sh", "-c", "ps -eo uid,comm | awk '/llama-server/ {print $1}'").split()
    assert set(processes) == {"65532"}


def test_status_tells_of_the_pods_in_words(cluster: Cluster) -> None:
    said = cluster.run("status").stdout
    for part in ("gateway", "steward", "page", MODEL):
        assert part in said
    assert cluster.json("status")["running"] is True


def test_logs_of_every_part_can_be_read(cluster: Cluster) -> None:
    for part in ("gateway", "steward", "page", MODEL):
        assert cluster.run("logs", part).returncode == 0
    assert "llama" in cluster.run("logs", MODEL).stdout or "srv" in cluster.run("logs", MODEL).stdout
    done = cluster.run("logs", "nobody", ok=False)
    assert done.returncode == 4
    assert "there is no pod of 'nobody'" in done.stderr


def test_the_same_chat_works_in_the_browser(cluster: Cluster, browser: Browser, tmp_path: Path) -> None:
    with visiting(browser, cluster.page_url) as visit:
        visit.sign_in(cluster.signin_url())
        visit.ask(CAPITAL)
        visit.wait_until_answered()
        assert visit.answers.first.is_visible()
        visit.photograph("cluster chat", tmp_path)
        visit.page.goto(f"{cluster.page_url}/cluster")
        visit.page.get_by_text("enforced by").first.wait_for(timeout=60_000)
        visit.page.get_by_text("engine").first.wait_for()
        visit.photograph("cluster page", tmp_path)


def test_an_engine_in_a_pod_is_nearly_as_quick_as_on_the_host(
    cluster: Cluster, tmp_path: Path, figure: Callable[[str], None]
) -> None:
    pod = cluster.engine_pod()
    arguments = [str(each) for each in pod.spec.containers[0].args]
    key = (cluster.kube.secret("models", "engine-key") or {})["key"]
    in_pod, on_host = [], []
    with host_engine(cluster, arguments, key, tmp_path) as url:
        for _ in range(PAIRS):
            in_pod.append(_speed_in_pod(cluster))
            on_host.append(_speed_on_host(url, key))
    ratio = statistics.median(in_pod) / statistics.median(on_host)
    figure(
        f"tokens/s in the pod {statistics.median(in_pod):.1f}, on the host {statistics.median(on_host):.1f}, "
        f"ratio {ratio:.2f} (medians of {PAIRS} pairs)"
    )
    assert ratio >= 0.9


@contextmanager
def host_engine(cluster: Cluster, arguments: list[str], key: str, folder: Path) -> Iterator[str]:
    """Run the same binary with the same arguments as a process of this machine."""
    program = llama_server_program(recipe_of("llama-server").folder(config.load().settings.cache))
    port = free_port()
    key_file = folder / "key"
    key_file.write_text(key)
    replaced = {"--host": "127.0.0.1", "--port": str(port), "--api-key-file": str(key_file)}
    given = list(arguments)
    for at, word in enumerate(given):
        if word in replaced:
            given[at + 1] = replaced[word]
        if word == "--model":
            given[at + 1] = str(cluster.home / "blobs" / Path(given[at + 1]).name)
    with (folder / "engine.log").open("wb") as log:
        process = subprocess.Popen([str(program), *given], stdout=log, stderr=log)
    try:
        url = f"http://127.0.0.1:{port}"
        until(lambda: _is_healthy(url), 60, "the engine on the host is ready")
        yield url
    finally:
        process.terminate()
        process.wait(timeout=20)


def _is_healthy(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


def _question() -> dict[str, Any]:
    return {"prompt": PROMPT, "n_predict": ANSWER_TOKENS, "temperature": 0, "ignore_eos": True, "cache_prompt": False}


def _speed_on_host(url: str, key: str) -> float:
    reply = httpx.post(
        f"{url}/completion",
        json=_question(),
        headers={"Authorization": f"Bearer {key}"},
        timeout=120,
        trust_env=False,
    )
    return float(reply.json()["timings"]["predicted_per_second"])


def _speed_in_pod(cluster: Cluster) -> float:
    return float(json.loads(cluster.ask_engine("/completion", _question()))["timings"]["predicted_per_second"])
