"""Only images that differ travel into a node, and what is in use there stays."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from sandbox.cluster.docker import Docker
from sandbox.cluster.images import load
from sandbox.errors import BuildFailed, ClusterFailed

ENGINE, GATEWAY = "docker.io/sandbox/engine:0123456789ab", "docker.io/sandbox/gateway:0123456789ab"
REFS = {"engine": ENGINE, "gateway": GATEWAY}
KIND = "application/vnd.docker.distribution.manifest.v2+json"


def _digest(letter: str) -> str:
    return "sha256:" + letter * 64


class Node:
    """A containerd that knows names, and the container it runs in."""

    def __init__(self, images: dict[str, str], *, in_use: tuple[str, ...] = (), status: str = "running") -> None:
        self.id, self.name, self.status = "node-id", "sandbox-control-plane", status
        self.images, self.in_use = images, in_use
        self.asked: list[list[str]] = []
        self.refuses = ""

    def exec_run(self, command: list[str]) -> Any:
        assert command[:3] == ["ctr", "--namespace", "k8s.io"]
        asked = command[3:]
        self.asked.append(asked)
        code, said = (1, "no space left on device") if asked[1] == self.refuses else (0, self._do(asked))
        return type("Done", (), {"exit_code": code, "output": said.encode()})()

    def _do(self, asked: list[str]) -> str:
        if asked == ["images", "list"]:
            rows = [f"{name} {KIND} {digest} 1.0 MiB linux/amd64 -" for name, digest in self.images.items()]
            return "\n".join(["REF TYPE DIGEST SIZE PLATFORMS LABELS", *rows, ""])
        if asked == ["containers", "list"]:
            rows = [f"{number:064x} {name} io.containerd.runc.v2" for number, name in enumerate(self.in_use)]
            return "\n".join(["CONTAINER IMAGE RUNTIME", *rows, ""])
        if asked[:2] == ["images", "tag"]:
            self.images[asked[3]] = self.images[asked[2]]
        if asked[:2] == ["images", "remove"]:
            for name in asked[2:]:
                del self.images[name]
        return ""

    def changed(self) -> list[list[str]]:
        return [asked for asked in self.asked if asked[1] in ("tag", "remove")]


class Api:
    """The part of the engine's API that images go through; the node's end is a thread on a pair of sockets."""

    base_url, api_version, timeout = "http+docker://localhost", "1.41", 900

    def __init__(
        self, node: Node, digests: dict[str, str], *, takes_bytes: int | None = None, exit_code: int = 0
    ) -> None:
        self.node, self.digests, self.takes_bytes, self.exit_code = node, digests, takes_bytes, exit_code
        self.asked_for: list[str] = []
        self.received = 0
        self.answers = 200

    def get(self, address: str, *, params: dict[str, Any], stream: bool, timeout: float) -> Any:
        assert (address, stream, timeout) == ("http+docker://localhost/v1.41/images/get", True, 900)
        self.asked_for = params["names"]
        return Answer(self.answers, [b"x" * 100_000] * 8)

    def exec_create(self, container: str, command: list[str], *, stdin: bool) -> dict[str, str]:
        assert (container, stdin, command[-1]) == ("node-id", True, "-")
        return {"Id": "work"}

    def exec_start(self, work: str, *, socket: bool) -> Any:
        del work, socket
        here, there = _pair()
        threading.Thread(target=self._take, args=(there,), daemon=True).start()
        return here

    def exec_inspect(self, work: str) -> dict[str, int]:
        del work
        return {"ExitCode": self.exit_code}

    def _take(self, end: socket.socket) -> None:
        wanted = 800_000 if self.takes_bytes is None else self.takes_bytes
        with end:
            while self.received < wanted and (piece := end.recv(65536)):
                self.received += len(piece)
            said = b"unpacking\n" if self.exit_code == 0 else b"ctr: unexpected EOF\n"
            end.sendall(struct.pack(">BxxxL", 2, len(said)) + said)
            if self.exit_code == 0:
                self.node.images.update({name: self.digests[name] for name in self.asked_for})


class Answer:
    """An archive as the engine streams it."""

    def __init__(self, status_code: int, pieces: list[bytes]) -> None:
        self.status_code, self.pieces, self.text = status_code, pieces, "no such image"

    def iter_content(self, chunk_bytes: int) -> Iterator[bytes]:
        assert chunk_bytes > 0
        return iter(self.pieces)

    def __enter__(self) -> Answer:
        return self

    def __exit__(self, *of: object) -> None:
        pass


def _pair() -> tuple[socket.socket, socket.socket]:
    return socket.socketpair()


def _docker(node: Node, api: Api | None = None) -> Docker:
    containers = type("Containers", (), {"get": staticmethod(lambda name: node)})()
    return Docker(type("Client", (), {"containers": containers, "api": api})())


def test_missing_images_travel_together_and_are_named_by_digest() -> None:
    node = Node({"registry.k8s.io/pause:3.10": _digest("f")})
    api = Api(node, {ENGINE: _digest("a"), GATEWAY: _digest("b")})
    said: list[str] = []
    named = load.load(_docker(node, api), node.name, REFS, said.append)
    assert named == {
        "engine": f"docker.io/sandbox/engine@{_digest('a')}",
        "gateway": f"docker.io/sandbox/gateway@{_digest('b')}",
    }
    assert api.asked_for == [ENGINE, GATEWAY]
    assert api.received == 800_000
    assert {*REFS.values(), *named.values(), "registry.k8s.io/pause:3.10"} == node.images.keys()
    assert said == ["loading engine, gateway into the node"]


def test_nothing_travels_or_changes_when_nothing_differs() -> None:
    present = {
        ENGINE: _digest("a"),
        f"docker.io/sandbox/engine@{_digest('a')}": _digest("a"),
        GATEWAY: _digest("b"),
        f"docker.io/sandbox/gateway@{_digest('b')}": _digest("b"),
    }
    node = Node(present)
    said: list[str] = []
    assert load.load(_docker(node), node.name, REFS, said.append)["gateway"].endswith(_digest("b"))
    assert (node.changed(), said) == ([], [])


def test_an_import_cut_off_before_its_naming_is_only_named() -> None:
    node = Node({ENGINE: _digest("a")})
    named = load.load(_docker(node), node.name, {"engine": ENGINE}, print)
    assert node.changed() == [["images", "tag", ENGINE, named["engine"]]]


OLD = "docker.io/sandbox/engine:ffffffffffff"
OLD_NAMES = {OLD: _digest("c"), f"docker.io/sandbox/engine@{_digest('c')}": _digest("c"), _digest("9"): _digest("c")}
NEW_NAMES = {ENGINE: _digest("a"), f"docker.io/sandbox/engine@{_digest('a')}": _digest("a"), _digest("8"): _digest("a")}
OTHERS = {"docker.io/sandbox/page:ffffffffffff": _digest("d"), "docker.io/library/engine:1": _digest("e")}


def test_a_superseded_image_goes_with_all_its_names() -> None:
    node = Node({**OLD_NAMES, **NEW_NAMES, **OTHERS})
    load.load(_docker(node), node.name, {"engine": ENGINE}, print)
    assert node.images == {**NEW_NAMES, **OTHERS}


@pytest.mark.parametrize("name", OLD_NAMES)
def test_a_superseded_image_stays_while_a_container_stands_on_it(name: str) -> None:
    node = Node({**OLD_NAMES, **NEW_NAMES}, in_use=(name,))
    load.load(_docker(node), node.name, {"engine": ENGINE}, print)
    assert node.images == {**OLD_NAMES, **NEW_NAMES}


def test_an_image_that_the_wanted_one_equals_is_not_superseded() -> None:
    assert load.superseded({OLD: _digest("a"), ENGINE: _digest("a")}, [ENGINE], []) == []


def test_a_node_that_does_not_take_the_images_says_why() -> None:
    node = Node({})
    api = Api(node, {}, takes_bytes=1000, exit_code=1)
    with pytest.raises(ClusterFailed, match="unexpected EOF"):
        load.load(_docker(node, api), node.name, REFS, print)


def test_a_node_that_does_not_name_an_image_says_why() -> None:
    node = Node({ENGINE: _digest("a")})
    node.refuses = "tag"
    with pytest.raises(ClusterFailed, match="no space left on device"):
        load.load(_docker(node), node.name, {"engine": ENGINE}, print)


def test_an_image_that_the_engine_does_not_have_is_an_error() -> None:
    node = Node({})
    api = Api(node, {})
    api.answers = 404
    with pytest.raises(BuildFailed, match="no such image"):
        load.load(_docker(node, api), node.name, REFS, print)


def test_a_stopped_node_is_named_as_such() -> None:
    node = Node({}, status="exited")
    with pytest.raises(ClusterFailed, match="sandbox-control-plane is exited"):
        load.load(_docker(node), node.name, REFS, print)
