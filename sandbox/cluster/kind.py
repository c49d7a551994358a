"""The kind cluster of one data folder: how it is made, found again, started and removed.

State machine::

    absent ──create──► unfinished ──► running ◄──start── stopped
                           └──remove──► absent     changed: runs, but was made with other ports, folders or image

Everything that is special to kind is in this module and in ``kind_binary``. A cluster is ours when its
node has our data folder mounted; one of the same name that has not is somebody else's and is left alone.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml
from docker.errors import APIError, NotFound
from docker.models.containers import Container
from docker.models.networks import Network

from sandbox.cluster.docker import Docker
from sandbox.errors import ClusterFailed, ForeignCluster
from sandbox.home import Home, write_private
from sandbox.processes import fingerprint

State = Literal["absent", "unfinished", "stopped", "changed", "running"]
Say = Callable[[str], None]

PAGE_NODE_PORT = 30501
API_NODE_PORT = 30502
POD_SUBNET = "10.244.0.0/16"
MODELS_IN_NODE = "/sandbox/models"
STATE_IN_NODE = "/sandbox/state"
LABEL = "io.x-k8s.kind.cluster"
OUTPUT_LINES = 30
DONE = "✓"
"""What kind writes before a step it has taken; the rest is for people who run kind by hand."""


@dataclass(frozen=True, slots=True)
class KindCluster:
    """One single-node cluster, ports on loopback, with the models read-only and the state mounted in."""

    name: str
    node_image: str
    page_port: int
    api_port: int
    home: Home
    extra_mounts: tuple[tuple[str, str], ...] = ()
    """More folders of this machine in the node, read-only: (here, there); accelerators need one."""

    @property
    def node(self) -> str:
        """Name of the node, and of the container that plays it."""
        return f"{self.name}-control-plane"

    @property
    def network(self) -> str:
        """Name of the Docker network, our own, so that removing it harms nobody."""
        return f"{self.name}-kind"

    def config(self) -> dict[str, Any]:
        """Write kind's own configuration."""
        ports = [
            {"containerPort": inside, "hostPort": outside, "listenAddress": "127.0.0.1", "protocol": "TCP"}
            for inside, outside in ((PAGE_NODE_PORT, self.page_port), (API_NODE_PORT, self.api_port))
        ]
        mounts: list[dict[str, Any]] = [
            {"hostPath": str(self.home.path / "blobs"), "containerPath": MODELS_IN_NODE, "readOnly": True},
            {"hostPath": str(self.home.path / "state"), "containerPath": STATE_IN_NODE},
        ]
        mounts += [{"hostPath": here, "containerPath": there, "readOnly": True} for here, there in self.extra_mounts]
        node = {"role": "control-plane", "extraPortMappings": ports, "extraMounts": mounts}
        return {
            "kind": "Cluster",
            "apiVersion": "kind.x-k8s.io/v1alpha4",
            "name": self.name,
            "networking": {"apiServerAddress": "127.0.0.1", "podSubnet": POD_SUBNET},
            "nodes": [node],
        }

    def state(self, docker: Docker) -> State:
        """Say how the cluster is.

        Raises:
            ForeignCluster: a cluster of that name is not of this data folder.
        """
        found = self._nodes(docker)
        if not found:
            return "absent"
        if not all(self._is_ours(node) for node in found):
            raise ForeignCluster(
                f"a kind cluster named {self.name!r} is there, and it does not belong to the data folder "
                f"{self.home.path}; it was left alone",
                hint="take another name: SANDBOX_CLUSTER_NAME=sandbox-2 make up",
            )
        made_with = self._made_with()
        if made_with is None:
            return "unfinished"
        if made_with != self._fingerprint():
            return "changed"
        return "running" if all(node.status == "running" for node in found) else "stopped"

    def create(self, docker: Docker, program: Path, environment: Mapping[str, str], say: Say) -> None:
        """Make the cluster; a failed or interrupted try leaves no container behind.

        Raises:
            ClusterFailed: with the end of what kind said.
        """
        for folder in ("blobs", "state"):
            (self.home.path / folder).mkdir(mode=0o700, parents=True, exist_ok=True)
        command = [str(program), "create", "cluster", "--name", self.name, "--image", self.node_image]
        command += ["--config", "-", "--kubeconfig", str(self.home.kubeconfig), "--wait", "0s", "--retain"]
        self.home.run.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            last = _run(command, yaml.safe_dump(self.config()), self._environment(environment), say)
            if last is not None:
                raise ClusterFailed(
                    f"kind could not make the cluster {self.name}:\n{_indented(last)}\n{self._node_log(docker)}",
                    hint="make up tries again; a node image of another Kubernetes version? "
                    "unset SANDBOX_CLUSTER_NODE_IMAGE, or make node-image",
                )
        except BaseException:
            self.remove(docker)
            raise
        told = {"name": self.name, "node_image": self.node_image, "fingerprint": self._fingerprint()}
        write_private(self.home.cluster, json.dumps(told))

    def start(self, docker: Docker) -> None:
        """Start a cluster that was stopped with Docker or with the machine.

        Raises:
            ClusterFailed: Docker would not start the node.
        """
        for node in self._nodes(docker):
            try:
                node.start()
            except APIError as error:
                raise ClusterFailed(
                    f"the node {node.name} could not be started: {error.explanation or error}",
                    hint="make it anew, nothing is lost: make down, then make up",
                ) from error

    def remove(self, docker: Docker) -> None:
        """Remove nodes, network and kubeconfig; what is in the data folder stays."""
        for node in self._nodes(docker):
            if self._is_ours(node):
                _remove_container(node)
        for network in self._networks(docker):
            try:
                network.remove()
            except NotFound:
                continue
            except APIError as error:
                raise ClusterFailed(
                    f"the Docker network {self.network} could not be removed: {error.explanation or error}",
                    hint=f"docker network inspect {self.network} says who still uses it",
                ) from error
        for left in (self.home.cluster, self.home.kubeconfig, self.home.kubeconfig.with_suffix(".lock")):
            left.unlink(missing_ok=True)

    def is_removed(self, docker: Docker) -> bool:
        """Say whether nothing of ours is left in Docker."""
        is_left = any(self._is_ours(node) for node in self._nodes(docker))
        return not is_left and not self._networks(docker)

    def _networks(self, docker: Docker) -> list[Network]:
        """Find our network; one that somebody else's cluster of the same name is in is not ours."""
        if any(not self._is_ours(node) for node in self._nodes(docker)):
            return []
        return docker.client.networks.list(names=[f"^{self.network}$"])

    def _nodes(self, docker: Docker) -> list[Container]:
        return docker.client.containers.list(all=True, filters={"label": f"{LABEL}={self.name}"}, ignore_removed=True)

    def _is_ours(self, node: Container) -> bool:
        wanted = os.path.realpath(self.home.path / "state")
        # endswith: Docker Desktop puts the name of its own mount point before the folder's
        return any(
            mount.get("Destination") == STATE_IN_NODE and str(mount.get("Source")).endswith(wanted)
            for mount in node.attrs.get("Mounts", [])
        )

    def _made_with(self) -> str | None:
        return remembered(self.home).get("fingerprint")

    def _fingerprint(self) -> str:
        return fingerprint(self.node_image, sorted(self.config().items()))

    def _environment(self, environment: Mapping[str, str]) -> dict[str, str]:
        """Give kind a Docker network of its own, and no say to a user's other choices of provider."""
        kept = {name: value for name, value in environment.items() if not name.startswith("KIND_")}
        return kept | {"KIND_EXPERIMENTAL_DOCKER_NETWORK": self.network, "KIND_EXPERIMENTAL_PROVIDER": "docker"}

    def _node_log(self, docker: Docker) -> str:
        """Read the end of what the node said, for an error; it goes with the node."""
        found = docker.container(self.node)
        said = found.logs(tail=OUTPUT_LINES).decode("utf-8", "replace").splitlines() if found else []
        return "the node's last words:\n" + _indented(said) if said else ""


def remembered(home: Home) -> dict[str, str]:
    """Recall the cluster that was made whole for a data folder: name, node_image, fingerprint; empty where none was."""
    try:
        told = json.loads(home.cluster.read_text(encoding="utf-8"))
        return {str(name): str(value) for name, value in told.items()}
    except (OSError, ValueError, AttributeError):
        return {}


def _run(command: list[str], stdin: str, environment: Mapping[str, str], say: Say) -> list[str] | None:
    """Run kind, telling what it says line by line; return its last lines if it failed."""
    last: deque[str] = deque(maxlen=OUTPUT_LINES)
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=dict(environment),
    ) as kind:
        try:
            assert kind.stdin is not None and kind.stdout is not None  # noqa: S101  # both are pipes
            kind.stdin.write(stdin)
            kind.stdin.close()
            for line in kind.stdout:
                if text := line.strip():
                    last.append(text)
                    if text.startswith(DONE):
                        say(text.removeprefix(DONE).strip())
        except BaseException:
            kind.terminate()
            raise
    return None if kind.returncode == 0 else list(last)


def _remove_container(node: Container) -> None:
    try:
        node.remove(force=True, v=True)
    except NotFound:
        return
    except APIError as error:
        raise ClusterFailed(
            f"the container {node.name} could not be removed: {error.explanation or error}",
            hint=f"docker rm -f -v {node.name}",
        ) from error


def _indented(lines: list[str]) -> str:
    return "\n".join(f"  {line}" for line in lines)
