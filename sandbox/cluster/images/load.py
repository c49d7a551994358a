"""Brings images from the Docker engine into a kind node, where they are named by digest.

All images go in one stream, so layers that they share travel once: ``docker save`` on one side, ``ctr
images import`` in the node on the other, nothing on a disk in between.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import requests
from docker.errors import DockerException
from docker.models.containers import Container
from docker.utils import socket as docker_socket

from sandbox.cluster.docker import Docker, Say
from sandbox.errors import BuildFailed, ClusterFailed

OURS = "docker.io/sandbox/"
CTR = ("ctr", "--namespace", "k8s.io")
CHUNK_BYTES = 1024 * 1024
LAST_CHARACTERS = 2000
"""How much of what a failed import said goes into the error."""
_HINT = "see that the node has room (docker system df), then try again: sandbox up"


@dataclass(frozen=True, slots=True)
class Node:
    """The containerd of a kind node."""

    container: Container

    @classmethod
    def find(cls, docker: Docker, name: str) -> Node:
        """Find a node by the name of its container.

        Raises:
            ClusterFailed: there is none, or it does not run.
        """
        container = docker.container(name)
        if container is None or container.status != "running":
            state = "not there" if container is None else container.status
            raise ClusterFailed(f"the node {name} is {state}", hint="bring the cluster up: sandbox up")
        return cls(container)

    def images(self) -> dict[str, str]:
        """List the digest behind every name of an image."""
        return read_images(self.ctr("images", "list"))

    def in_use(self) -> set[str]:
        """List the names of those images that a container stands on, running or not."""
        return read_containers(self.ctr("containers", "list"))

    def ctr(self, *arguments: str) -> str:
        """Ask containerd.

        Raises:
            ClusterFailed: it does not do it, with what it said.
        """
        try:
            done = self.container.exec_run([*CTR, *arguments])
        except (DockerException, requests.RequestException) as error:
            raise ClusterFailed(f"the node {self.container.name} does not answer: {error}", hint=_HINT) from error
        output = done.output if isinstance(done.output, bytes) else b"".join(done.output)
        said = output.decode(errors="replace")
        if done.exit_code != 0:
            raise ClusterFailed(
                f"ctr {' '.join(arguments[:2])} in the node {self.container.name} ended with status {done.exit_code}: "
                f"{said[-LAST_CHARACTERS:]}",
                hint=_HINT,
            )
        return said


def load(docker: Docker, node_name: str, refs: Mapping[str, str], say: Say) -> dict[str, str]:
    """Bring those images into a node that are not there, and return the name by digest of every image.

    Images of the same names that are no longer wanted are removed, unless a container stands on them.

    Args:
        refs: names of images, as ``docker.io/sandbox/engine:…``, by what they are called here.

    Raises:
        BuildFailed: the Docker engine does not hand an image out.
        ClusterFailed: the node does not take it.
    """
    node = Node.find(docker, node_name)
    present = node.images()
    if missing := sorted(set(refs.values()) - present.keys()):
        say(f"loading {', '.join(name for name, ref in refs.items() if ref in missing)} into the node")
        _import(docker, node, missing)
        present = node.images()
    named = {name: by_digest(ref, present[ref]) for name, ref in refs.items()}
    for name, ref in refs.items():
        if named[name] not in present:
            node.ctr("images", "tag", ref, named[name])
    if old := superseded(present, refs.values(), node.in_use()):
        node.ctr("images", "remove", *old)
    return named


def present(docker: Docker, node_name: str, refs: Mapping[str, str]) -> dict[str, str] | None:
    """Say by which digests the node has every one of those images; nothing where one is missing.

    Raises:
        ClusterFailed: the node does not run, or does not answer.
    """
    there = Node.find(docker, node_name).images()
    if not set(refs.values()) <= there.keys():
        return None
    named = {name: by_digest(ref, there[ref]) for name, ref in refs.items()}
    return named if set(named.values()) <= there.keys() else None


def by_digest(ref: str, digest: str) -> str:
    """Name an image by its digest instead of its tag."""
    return f"{_kind(ref)}@{digest}"


def superseded(present: Mapping[str, str], wanted: Collection[str], used: Collection[str]) -> list[str]:
    """Choose the names of images that can go: ours, of the same kinds as the wanted ones, and not in use.

    All names of such an image go, the nameless ones by which Kubernetes knows it too, or else it would stay.
    """
    kinds = {_kind(ref) for ref in wanted}
    kept = {present[name] for name in (*wanted, *used) if name in present}
    old = {digest for name, digest in present.items() if name.startswith(OURS) and _kind(name) in kinds} - kept
    return sorted(name for name, digest in present.items() if digest in old)


def read_images(listed: str) -> dict[str, str]:
    """Read what ``ctr images list`` prints: a heading, then name, type and digest of each."""
    rows = [line.split() for line in listed.splitlines()[1:]]
    return {row[0]: row[2] for row in rows if len(row) > 2}


def read_containers(listed: str) -> set[str]:
    """Read what ``ctr containers list`` prints: a heading, then the id and image of each."""
    rows = [line.split() for line in listed.splitlines()[1:]]
    return {row[1] for row in rows if len(row) > 1}


def _kind(name: str) -> str:
    """Take tag and digest off the name of an image of ours, which has no port in it."""
    return name.partition("@")[0].partition(":")[0]


def _import(docker: Docker, node: Node, refs: list[str]) -> None:
    """Stream images into the node's containerd."""
    api = docker.client.api
    command = [*CTR, "images", "import", "--snapshotter", "overlayfs", "-"]
    try:
        work = api.exec_create(node.container.id, command, stdin=True)["Id"]
        with _archive(docker, refs) as archive:
            stream = api.exec_start(work, socket=True)
            try:
                _send(stream, archive.iter_content(CHUNK_BYTES))
                said = _hear(stream)
            finally:
                stream.close()
        status = api.exec_inspect(work)["ExitCode"]
    except (DockerException, requests.RequestException, OSError) as error:
        raise ClusterFailed(f"loading images into {node.container.name} broke off: {error}", hint=_HINT) from error
    if status != 0:
        raise ClusterFailed(
            f"the node {node.container.name} did not take the images, status {status}: {said[-LAST_CHARACTERS:]}",
            hint=_HINT,
        )


def _archive(docker: Docker, refs: list[str]) -> requests.Response:
    """Ask the engine for several images in one archive; the SDK's own call takes only one."""
    api = docker.client.api
    address = f"{api.base_url}/v{api.api_version}/images/get"
    answer = api.get(address, params={"names": refs}, stream=True, timeout=api.timeout)
    if answer.status_code != requests.codes.ok:
        raise BuildFailed(
            f"the Docker engine does not hand out {', '.join(refs)}: {answer.text[:LAST_CHARACTERS]}",
            hint="docker image ls; sandbox up builds what is missing",
        )
    return answer


def _send(stream: Any, pieces: Iterable[bytes]) -> None:  # its type depends on how the engine is reached
    """Write to the standard input of a command; an archive says itself where it ends."""
    socket = getattr(stream, "_sock", stream)
    try:
        for piece in pieces:
            socket.sendall(piece)
    except (BrokenPipeError, ConnectionResetError):
        return  # the command ended before its input did: its status says what to think of it


def _hear(stream: Any) -> str:  # as above
    """Read what a command says until its end; both of its streams are one text here."""
    heard = bytearray()
    try:
        for _, data in docker_socket.frames_iter(stream, tty=False):  # type: ignore[no-untyped-call]  # the SDK's
            heard += data
    except ConnectionResetError:
        pass  # it ended with input left over; whatever it said before is here
    return heard.decode(errors="replace")
