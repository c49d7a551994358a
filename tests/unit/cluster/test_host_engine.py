"""Engines of this machine that serve a cluster: how they are registered, started, known again and ended."""

from __future__ import annotations

import stat
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lightkube import codecs

from sandbox import catalogue, plan, processes
from sandbox.cluster import host_engine, host_process
from sandbox.cluster.host_engine import HostAddress, address_for, host_engine_objects
from sandbox.cluster.host_process import HostEngine
from sandbox.engine.arguments import EVERYWHERE
from sandbox.engine.discover import EngineProgram
from sandbox.engine.manifests import engine_objects
from sandbox.errors import AcceleratorUnavailable, StartFailed
from sandbox.facts import Host
from sandbox.home import Home
from sandbox.units import GIB

CARD = catalogue.load()["smollm2-135m-instruct"]
PLAN = plan.make(CARD, Host(cores=4, memory_bytes=16 * GIB), plan.Limits())
BRIDGE = HostAddress("172.18.0.1", "172.18.0.1")
IMAGE = "docker.io/sandbox/engine@sha256:" + "0" * 64


# Where it listens


def network(*gateways: str) -> dict[str, Any]:
    return {"Name": "sandbox-kind", "IPAM": {"Driver": "default", "Config": [{"Gateway": each} for each in gateways]}}


def test_on_a_machine_of_its_own_docker_has_the_engine_on_the_bridge() -> None:
    found = address_for(network("fc00:f853:ccd:e793::1", "172.18.0.1"), own_addresses={"127.0.0.1", "172.18.0.1"})
    assert found == BRIDGE


def test_where_docker_runs_in_a_virtual_machine_the_engine_stays_on_loopback() -> None:
    found = address_for(network("172.18.0.1"), own_addresses={"127.0.0.1", "10.1.2.3"}, outside="192.168.65.254")
    assert found == HostAddress(listen="127.0.0.1", reached_at="192.168.65.254")


@pytest.mark.parametrize(
    ("described", "outside"),
    [
        ({}, None),
        ({"IPAM": None}, None),
        ({"IPAM": {"Config": "172.18.0.1"}}, None),
        (network(), None),
        (network("172.18.0.1"), None),
        (network(EVERYWHERE), EVERYWHERE),
        (network("203.0.113.1"), "203.0.113.1"),
        (network("127.0.0.1"), "127.0.0.1"),
    ],
)
def test_where_no_way_leads_to_this_machine_alone_there_is_none(described: dict[str, Any], outside: str | None) -> None:
    with pytest.raises(AcceleratorUnavailable, match="no way to an engine"):
        address_for(described, own_addresses={EVERYWHERE, "127.0.0.1", "203.0.113.1"}, outside=outside)


@given(st.lists(st.ip_addresses().map(str) | st.text(), max_size=4), st.none() | st.ip_addresses().map(str))
def test_an_engine_is_never_told_to_listen_on_a_public_address(gateways: list[str], outside: str | None) -> None:
    try:
        found = address_for(network(*gateways), own_addresses=gateways, outside=outside)
    except AcceleratorUnavailable:
        return
    assert found.listen == "127.0.0.1" or found.listen.startswith(("10.", "172.", "192.168."))
    assert found.reached_at != "127.0.0.1"


# How it is registered


def test_it_is_reached_as_any_engine_is() -> None:
    service = host_engine_objects(CARD, "172.18.0.1", 40001)[0]
    of_pods = engine_objects(CARD, PLAN, image=IMAGE)[1]
    assert service["metadata"]["name"] == of_pods["metadata"]["name"]
    assert service["metadata"]["namespace"] == of_pods["metadata"]["namespace"]
    assert service["spec"]["ports"] == of_pods["spec"]["ports"]
    assert "selector" not in service["spec"]


def test_a_service_of_pods_is_told_from_one_of_this_machine() -> None:
    assert host_engine.is_of_pods(engine_objects(CARD, PLAN, image=IMAGE)[1])
    assert not host_engine.is_of_pods(host_engine_objects(CARD, "172.18.0.1", 40001)[0])


def test_the_objects_are_ones_that_kubernetes_knows_and_all_are_named_for_removal() -> None:
    objects = host_engine_objects(CARD, "172.18.0.1", 40001, PLAN)
    for each in objects:
        made = codecs.from_dict(each).metadata
        assert made is not None
        assert made.name == each["metadata"]["name"]
    written = {(each["kind"], each["metadata"]["namespace"], each["metadata"]["name"]) for each in objects}
    assert written == set(host_engine.object_names(CARD))


def test_the_way_there_is_one_address_and_one_port() -> None:
    way = host_engine_objects(CARD, "172.18.0.1", 40001)[2]["spec"]
    assert way["egress"] == [
        {"to": [{"ipBlock": {"cidr": "172.18.0.1/32"}}], "ports": [{"protocol": "TCP", "port": 40001}]}
    ]
    assert way["policyTypes"] == ["Egress"]
    assert way["podSelector"]["matchExpressions"][0]["values"] == ["gateway", "steward"]


@pytest.mark.parametrize("address", ["127.0.0.1", EVERYWHERE, "8.8.8.8", "169.254.1.1", "::1", "engine", ""])
def test_only_a_private_address_is_registered(address: str) -> None:
    with pytest.raises(ValueError, match="private"):
        host_engine_objects(CARD, address, 40001)


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_only_a_port_is_registered(port: int) -> None:
    with pytest.raises(ValueError, match="port"):
        host_engine_objects(CARD, "172.18.0.1", port)


def test_how_it_is_run_is_kept_with_its_service() -> None:
    assert host_engine.plan_of(host_engine_objects(CARD, "172.18.0.1", 40001, PLAN)[0]) == PLAN


@pytest.mark.parametrize(
    "service",
    [
        {},
        {"metadata": None},
        {"metadata": {"annotations": {host_engine.PLAN: "{}"}}},
        {"metadata": {"annotations": {host_engine.PLAN: "no json"}}},
        host_engine_objects(CARD, "172.18.0.1", 40001)[0],
    ],
)
def test_a_plan_that_is_not_told_is_not_guessed(service: dict[str, Any]) -> None:
    assert host_engine.plan_of(service) is None


# How it runs


@dataclass
class Time:
    """A clock that only waiting moves."""

    now: float = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, duration_s: float) -> None:
        self.now += duration_s


@dataclass
class Answers:
    """What is heard of the engine: health after some questions, and who is let in."""

    silent_for: int = 2
    key: str = "the-key"
    is_open: bool = False
    asked: list[tuple[str, str]] = field(default_factory=list)

    def __call__(self, url: str, key: str) -> int | None:
        self.asked.append((url, key))
        if url.endswith("/health"):
            self.silent_for -= 1
            return 200 if self.silent_for < 0 else None
        return 200 if self.is_open or key == self.key else 401


@pytest.fixture
def program(tmp_path: Path) -> EngineProgram:
    path = tmp_path / "llama-server"
    path.write_text(f"#!{sys.executable}\nimport sys, time\nprint(sys.argv[1:], flush=True)\ntime.sleep(120)\n")
    path.chmod(0o700)
    return EngineProgram("llama-server", path, "this test", "1")


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    made = Home(tmp_path / "home")
    yield made
    host_process.stop_all(made)
    assert host_process.running(made) == []


Start = Callable[..., tuple[HostEngine, int]]


@pytest.fixture
def start(home: Home, program: EngineProgram) -> Start:
    def begin(
        answers: Answers | None = None, *, key: str = "the-key", port: int = 40001, **other: Any
    ) -> tuple[HostEngine, int]:
        engine = HostEngine(CARD, home=home, clock=Time(), ask=answers or Answers(), find_port=lambda _: port)
        told: dict[str, Any] = {"model_path": Path("/m.gguf"), "address": BRIDGE, "key": key, **other}
        return engine, engine.ensure(told.pop("program", program), told.pop("plan", PLAN), **told)

    return begin


def test_it_is_started_on_the_bridge_with_its_key_in_a_file(home: Home, start: Start) -> None:
    answers = Answers()
    engine, port = start(answers)
    process = engine.process()
    assert process is not None
    assert port == 40001
    argv = psutil.Process(process.pid).cmdline()
    assert argv[argv.index("--host") + 1] == "172.18.0.1"
    assert "the-key" not in " ".join(argv)
    key_file = Path(argv[argv.index("--api-key-file") + 1])
    assert (key_file.read_text(), stat.S_IMODE(key_file.stat().st_mode)) == ("the-key", 0o600)
    assert answers.asked[0] == ("http://172.18.0.1:40001/health", "")
    assert engine.is_ready(BRIDGE)


def test_one_that_runs_as_asked_is_left_as_it_is(start: Start) -> None:
    first, port = start()
    before = first.process()
    second, same_port = start(Answers(silent_for=0), port=40002)
    assert (second.process(), same_port) == (before, port)


@pytest.mark.parametrize(
    "changed",
    [
        {"plan": replace(PLAN, slots=1)},
        {"key": "another"},
        {"address": HostAddress("172.19.0.1", "172.19.0.1")},
    ],
)
def test_one_that_was_asked_for_otherwise_is_started_anew(start: Start, changed: dict[str, Any]) -> None:
    first, _ = start()
    before = first.process()
    second, port = start(Answers(key=changed.get("key", "the-key")), port=40002, **changed)
    after = second.process()
    assert before is not None
    assert after is not None
    assert (after.pid != before.pid, before.is_alive, port) == (True, False, 40002)


def test_one_that_lets_anybody_in_is_ended(home: Home, start: Start) -> None:
    with pytest.raises(StartFailed, match="does not keep to its key"):
        start(Answers(is_open=True))
    assert host_process.running(home) == []


def test_without_a_key_nothing_is_started(home: Home, start: Start) -> None:
    with pytest.raises(ValueError, match="needs a key"):
        start(key="")
    assert host_process.running(home) == []


@pytest.mark.parametrize("listen", [EVERYWHERE, "8.8.8.8"])
def test_nothing_is_started_on_a_public_address(home: Home, start: Start, listen: str) -> None:
    with pytest.raises(ValueError, match="does not listen"):
        start(address=HostAddress(listen, "172.18.0.1"))
    assert host_process.running(home) == []


def test_one_that_is_not_ready_in_time_is_ended_with_its_last_words(home: Home, start: Start) -> None:
    with pytest.raises(StartFailed, match="not ready after 5 s"):
        start(Answers(silent_for=10**6), deadline_s=5)
    assert host_process.running(home) == []


def test_one_that_ends_while_starting_is_told_with_its_last_words(home: Home, start: Start, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.write_text(f"#!{sys.executable}\nprint('no such model')\n")
    broken.chmod(0o700)
    gone = EngineProgram("llama-server", broken, "this test", "1")

    def wait_for_the_end(url: str, key: str) -> int | None:
        while processes.read(home.run / "host-engines" / f"{CARD.id}.process.json") is not None:
            pass
        return None

    with pytest.raises(StartFailed, match=r"ended while starting: .*no such model"):
        start(wait_for_the_end, program=gone)


def test_it_is_not_one_of_the_local_backends_processes(home: Home, start: Start) -> None:
    engine, _ = start()
    assert engine.process() is not None
    assert processes.marked(home.path) == []
    assert len(host_process.running(home)) == 1


def test_one_whose_files_were_lost_is_found_and_ended_before_another_starts(home: Home, start: Start) -> None:
    first, _ = start()
    lost = first.process()
    assert lost is not None
    for path in (home.run / "host-engines").glob("*"):
        path.unlink()
    second, _ = start(port=40002)
    assert not lost.is_alive
    assert [found.pid for found in host_process.running(home)] == [second.process().pid]  # type: ignore[union-attr]


def test_all_are_ended_and_forgotten(home: Home, start: Start) -> None:
    engine, _ = start()
    host_process.stop_all(home)
    assert engine.process() is None
    assert host_process.running(home) == []
    assert not (home.run / "host-engines").exists()
    host_process.stop_all(home)  # twice is once


def test_a_port_is_found_on_an_address_of_this_machine_only() -> None:
    assert 0 < host_process.free_port("127.0.0.1") < 65536
    with pytest.raises(StartFailed, match=r"cannot listen on 203\.0\.113\.1"):
        host_process.free_port("203.0.113.1")


def test_this_machine_has_loopback() -> None:
    assert "127.0.0.1" in host_process.own_addresses()


def test_nobody_answering_is_no_status(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> httpx.Response:
        raise httpx.ConnectError("refused")

    monkeypatch.setattr(httpx, "get", refuse)
    assert host_process.ask("http://127.0.0.1:1/health", "") is None
