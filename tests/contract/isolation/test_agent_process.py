"""The agent itself, as a process in the node's namespace: what it leaves in the kernel whatever happens to it."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from sandbox.isolation import deny_all
from tests.contract.isolation.api_server import ApiServer
from tests.contract.isolation.netns import Lab, in_space, run
from tests.unit.isolation.reference import Connection
from tests.unit.isolation.worlds import ADDRESSES, namespace, pod, policy

A, B, C = ADDRESSES[:3]


def now() -> str:
    """The time as the API server writes it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


NOW = now()
"""Pods count as started since the machine was booted, however short ago that was."""
POD_A, POD_B, POD_C = (
    pod("x", name, address, {"pod": name}, startTime="2026-01-01T00:00:00Z")
    for name, address in zip("abc", (A, B, C), strict=True)
)
ISOLATE_B = policy("x", "isolate-b", {"podSelector": {"matchLabels": {"pod": "b"}}})
ROOT = Path(__file__).parents[3]
HEALTH_PORT = 8504
TYPICAL_S = 0.3
MEMORY_BYTES = 80 * 1024 * 1024


class Process:
    """A running agent."""

    def __init__(self, lab: Lab, kubeconfig: Path, log: Path) -> None:
        self._lab, self._log = lab, log
        command = ["ip", "netns", "exec", lab.node, sys.executable, "-m", "sandbox.isolation"]
        command += ["--node-name", "node-1", "--kubeconfig", str(kubeconfig)]
        with log.open("ab") as out:
            self.process = subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=out)

    def ask(self, path: str) -> tuple[int, str]:
        """What it answers on the node's loopback; 0 where it does not."""
        try:
            with closing(
                in_space(self._lab.node, lambda: socket.create_connection(("127.0.0.1", HEALTH_PORT), 2))
            ) as asking:
                asking.sendall(f"GET {path} HTTP/1.1\r\n\r\n".encode())
                said = b"".join(iter(lambda: asking.recv(4096), b"")).decode()
        except OSError:
            return 0, ""
        return int(said.split(" ", 2)[1]), said.partition("\r\n\r\n")[2]

    def is_healthy(self) -> bool:
        """Whether it says so."""
        return self.ask("/healthz")[0] == 200

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Tell it to stop; its exit status."""
        self.process.send_signal(number)
        return self.process.wait(timeout=30)

    def said(self) -> str:
        """Its log."""
        return self._log.read_text()


@pytest.fixture
def api(lab: Lab) -> Iterator[ApiServer]:
    server = ApiServer(in_space(lab.node, lambda: socket.create_server(("127.0.0.1", 16443), reuse_port=True)))
    server.put("namespaces", namespace("x"))
    server.put("pods", POD_A, POD_B)
    yield server
    server.close()


@pytest.fixture
def start(lab: Lab, api: ApiServer, tmp_path: Path) -> Iterator[Callable[[], Process]]:
    kubeconfig = tmp_path / "kubeconfig"
    cluster = {"name": "c", "cluster": {"server": "http://127.0.0.1:16443"}}
    context = {"name": "c", "context": {"cluster": "c", "user": "u"}}
    users = [{"name": "u", "user": {}}]
    kubeconfig.write_text(
        yaml.safe_dump({"clusters": [cluster], "contexts": [context], "users": users, "current-context": "c"})
    )
    started: list[Process] = []

    def begin() -> Process:
        started.append(Process(lab, kubeconfig, tmp_path / "agent.log"))
        return started[-1]

    yield begin
    for each in started:
        if each.process.poll() is None:
            each.stop(signal.SIGKILL)


def until(claim: Callable[[], bool], *, process: Process, within_s: float = 20) -> float:
    """Wait for a claim; how long it took."""
    begun = time.monotonic()
    while not claim():
        if time.monotonic() - begun > within_s:
            raise AssertionError(f"not within {within_s} s; the agent said:\n{process.said()}")
        time.sleep(0.005)
    return time.monotonic() - begun


def opens(lab: Lab, source: str = A, destination: str = B, *, expected: bool) -> bool:
    each = Connection(source, destination, "TCP", 80)
    return lab.tried([each], {each: expected})[each]


def has_table(lab: Lab) -> bool:
    return "sandbox_isolation" in run("ip", "netns", "exec", lab.node, "nft", "list", "tables")


def knocked(lab: Lab, source: str, destination: str) -> bool:
    """One quick try."""
    with closing(lab.open_socket(source)) as near:
        near.settimeout(0.02)
        return near.connect_ex((destination, 80)) == 0


def test_it_closes_the_node_before_it_knows_anything(lab: Lab, api: ApiServer, start: Callable[[], Process]) -> None:
    assert opens(lab, expected=True), "negative control: open without an agent"
    api.refused = {"networkpolicies"}
    agent = start()
    until(lambda: agent.ask("/healthz")[0] == 503, process=agent)
    until(lambda: has_table(lab), process=agent)
    assert not opens(lab, expected=False)
    assert agent.ask("/healthz")[1] == "waiting for networkpolicies\n"
    api.refused = set()
    until(agent.is_healthy, process=agent)
    assert opens(lab, expected=True)


def test_it_takes_over_from_the_rules_of_the_nodes_boot(lab: Lab, api: ApiServer, start: Callable[[], Process]) -> None:
    """A pod is known once it was started since: what the API says of it before can be of before the boot."""
    old = {"startTime": "2026-01-01T00:00:00Z"}
    api.put("pods", *({**each, "status": {**each["status"], **old}} for each in (POD_A, POD_B)))
    lab.nft(deny_all(["10.244.0.0/16"]))
    agent = start()
    until(agent.is_healthy, process=agent)
    assert not opens(lab, expected=False)
    running = {"containerStatuses": [{"state": {"running": {"startedAt": now()}}}]}
    api.put("pods", *({**each, "status": {**each["status"], **old, **running}} for each in (POD_A, POD_B)))
    until(lambda: knocked(lab, A, B), process=agent)
    assert "the node was booted" in agent.said()


def test_news_are_in_force_soon(lab: Lab, api: ApiServer, start: Callable[[], Process]) -> None:
    agent = start()
    until(agent.is_healthy, process=agent)
    took_s = []
    for _ in range(10):
        assert not opens(lab, A, C, expected=False)
        api.put("pods", POD_C)
        took_s.append(until(lambda: knocked(lab, A, C), process=agent))
        api.delete("pods", POD_C)
        until(lambda: not knocked(lab, A, C), process=agent)
    api.put("networkpolicies", ISOLATE_B)
    until(lambda: not knocked(lab, A, B), process=agent)
    print(f"a new pod is known after {sorted(took_s)[5] * 1000:.0f} ms (median of 10)")  # noqa: T201 – a figure for people
    assert sorted(took_s)[5] < TYPICAL_S


def test_it_stays_small_with_many_pods(api: ApiServer, start: Callable[[], Process]) -> None:
    for number in range(1000):
        labels = {"pod": f"p{number % 40}"}
        api.put("pods", pod("x", f"many-{number}", f"10.244.{4 + number // 250}.{number % 250}", labels, startTime=NOW))
    for number in range(40):
        rule = {"from": [{"podSelector": {"matchLabels": {"pod": f"p{number}"}}}]}
        api.put(
            "networkpolicies",
            policy("x", f"p{number}", {"podSelector": {"matchLabels": {"pod": f"p{number}"}}, "ingress": [rule]}),
        )
    agent = start()
    until(agent.is_healthy, process=agent, within_s=60)
    api.put("pods", POD_C)
    until(lambda: "sandbox_isolation_pods 1003\n" in agent.ask("/metrics")[1], process=agent)
    status = Path(f"/proc/{agent.process.pid}/status").read_text()
    resident = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert resident is not None
    latency_s = float(re.findall(r"apply_latency_seconds (\S+)", agent.ask("/metrics")[1])[0])
    print(f"1003 pods: {int(resident[1]) // 1024} MiB at most, a change in force after {latency_s * 1000:.0f} ms")  # noqa: T201
    assert int(resident[1]) * 1024 <= MEMORY_BYTES


def test_a_broken_watch_is_taken_up_again(lab: Lab, api: ApiServer, start: Callable[[], Process]) -> None:
    agent = start()
    until(agent.is_healthy, process=agent)
    for _ in range(3):
        api.end_watches()
        api.put("networkpolicies", ISOLATE_B)
        until(lambda: not knocked(lab, A, B), process=agent)
        api.delete("networkpolicies", ISOLATE_B)
        until(lambda: knocked(lab, A, B), process=agent)
    until(agent.is_healthy, process=agent)


def test_while_policies_cannot_be_heard_a_new_pod_stays_closed(
    lab: Lab, api: ApiServer, start: Callable[[], Process]
) -> None:
    agent = start()
    until(agent.is_healthy, process=agent)
    api.refused = {"networkpolicies"}
    api.end_watches()
    until(lambda: not agent.is_healthy(), process=agent)
    api.put("pods", POD_C)
    assert not opens(lab, A, C, expected=False)
    assert opens(lab, expected=True), "what was known stays as it was"
    api.refused = set()
    until(lambda: knocked(lab, A, C), process=agent)


THERE = {"metadata": {"name": "sandbox-agent"}}
GOING = {"metadata": {"name": "sandbox-agent", "deletionTimestamp": "2026-01-01T00:00:00Z"}}


@pytest.mark.parametrize(
    ("answer", "stays"),
    [
        pytest.param((200, THERE), True, id="restart or upgrade"),
        pytest.param((200, GOING), False, id="being deleted"),
        pytest.param((404, {"kind": "Status", "code": 404, "message": "not found"}), False, id="deleted"),
        pytest.param((403, {"kind": "Status", "code": 403, "message": "may not"}), True, id="may not ask"),
        pytest.param((503, {"kind": "Status", "code": 503, "message": "shutting down"}), True, id="no answer"),
    ],
)
def test_told_to_stop_it_removes_the_rules_only_where_it_is_deleted(
    lab: Lab, api: ApiServer, start: Callable[[], Process], answer: tuple[int, dict[str, object]], stays: bool
) -> None:
    api.put("networkpolicies", ISOLATE_B)
    agent = start()
    until(agent.is_healthy, process=agent)
    assert not opens(lab, expected=False)
    api.daemonset = answer
    assert agent.stop() == 0, agent.said()
    assert has_table(lab) == stays
    assert opens(lab, expected=not stays) != stays


def test_killed_it_leaves_the_rules_and_the_next_one_goes_on(
    lab: Lab, api: ApiServer, start: Callable[[], Process]
) -> None:
    api.put("networkpolicies", ISOLATE_B)
    agent = start()
    until(agent.is_healthy, process=agent)
    agent.stop(signal.SIGKILL)
    assert not opens(lab, expected=False)
    again = start()
    while not again.is_healthy():
        assert again.process.poll() is None, again.said()
        assert not knocked(lab, A, B)
    assert knocked(lab, B, A)


def test_rules_that_somebody_removes_come_back(lab: Lab, api: ApiServer, start: Callable[[], Process]) -> None:
    api.put("networkpolicies", ISOLATE_B)
    agent = start()
    until(agent.is_healthy, process=agent)
    lab.nft("delete table inet sandbox_isolation")
    until(lambda: has_table(lab), process=agent)
    assert not opens(lab, expected=False)
    assert "put back" in agent.said()


def test_the_rules_are_removed_by_hand(lab: Lab) -> None:
    lab.nft(deny_all(["10.244.0.0/16"]))
    for _ in range(2):
        run("ip", "netns", "exec", lab.node, sys.executable, "-m", "sandbox.isolation", "--remove")
        assert not has_table(lab)
