"""The canary's program says open only of what answers, and concludes nothing from what it could not try."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from sandbox.cluster.images import contents

PROGRAM = contents.folder("engine") / "canary"
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="runs in Linux images; needs their bash and coreutils")


def _canary(*targets: str, path: str = "/usr/bin:/bin") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/bin/bash", str(PROGRAM), *targets],
        env={"PATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )


@pytest.fixture
def tcp_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


@pytest.fixture
def name_server() -> Iterator[tuple[int, list[bytes]]]:
    """Answer each question with its own number and nothing else."""
    asked: list[bytes] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(10)

        def answer() -> None:
            question, sender = server.recvfrom(2048)
            asked.append(question)
            server.sendto(question[:2] + b"\x81\x83" + question[4:], sender)

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        yield server.getsockname()[1], asked
        thread.join(10)


def test_each_target_gets_its_line_in_order(tcp_port: int, closed_port: int) -> None:
    done = _canary(
        f"first=tcp:127.0.0.1:{tcp_port}", f"second=tcp:127.0.0.1:{closed_port}", f"third=tcp:localhost:{tcp_port}"
    )
    assert (done.returncode, done.stdout) == (0, "first open\nsecond closed\nthird open\n")


def test_a_name_server_that_answers_is_open(name_server: tuple[int, list[bytes]], closed_port: int) -> None:
    port, asked = name_server
    done = _canary(f"dns=udp:127.0.0.1:{port}", f"none=udp:127.0.0.1:{closed_port}")
    assert (done.returncode, done.stdout) == (0, "dns open\nnone closed\n")
    assert [question[12:] for question in asked] == [
        b"\x0akubernetes\x07default\x03svc\x07cluster\x05local\x00\x00\x01\x00\x01"
    ]


def test_no_targets_give_no_lines() -> None:
    done = _canary()
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize(
    "target",
    [
        "",
        "a",
        "a=tcp:host",
        "a=icmp:host:1",
        "a=tcp:ho st:1",
        "a=tcp:$(id):1",
        "a b=tcp:host:1",
        "a=tcp:host:1x",
        "a=tcp:[::1:1",
    ],
)
def test_a_word_that_is_no_target_stops_everything(target: str, tcp_port: int) -> None:
    done = _canary(f"good=tcp:127.0.0.1:{tcp_port}", target)
    assert (done.returncode, done.stdout) == (2, "")
    assert "is no target" in done.stderr


def test_without_its_tools_it_does_not_call_a_path_closed(tcp_port: int) -> None:
    done = _canary(f"a=tcp:127.0.0.1:{tcp_port}", path="/nowhere")
    assert (done.returncode, done.stdout) == (2, "")
