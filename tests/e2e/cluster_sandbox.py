"""A sandbox in a kind cluster, and what a test may ask of the cluster beneath it."""

from __future__ import annotations

import json
import os
import subprocess
import time
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pytest

from sandbox import config
from sandbox.cluster import evidence
from sandbox.cluster.api import COMPONENT, INSTANCE, Kube
from sandbox.cluster.docker import Docker
from sandbox.cluster.images import apps, node
from sandbox.errors import SandboxError
from tests.e2e.sandbox import MODEL, Sandbox

CAPITAL = "What is the capital of France? Answer with one word."
NAME = os.environ.get("E2E_CLUSTER", "sandbox-e2e")
ASK = """
import json, sys, urllib.request
told = json.load(sys.stdin)
headers = {"Authorization": "Bearer " + told["key"], "Content-Type": "application/json"}
body = told["body"] and told["body"].encode()
print(urllib.request.urlopen(urllib.request.Request(told["url"], body, headers), timeout=120).read().decode())
"""
"""What asks an engine; what it is told comes by standard input, since it holds a key."""


def need_cluster() -> None:
    """Fail in CI, and skip elsewhere, where no cluster can be made."""
    try:
        docker = Docker.connect()
        reason = "" if docker.image_id(node.ref()) else f"needs the node image {node.ref()}: make node-image"
    except SandboxError as error:
        reason = f"needs a Docker engine: {error.message}"
    if reason and os.environ.get("CI") == "true":
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)


@dataclass
class Cluster(Sandbox):
    """A sandbox whose backend is a kind cluster."""

    name: str = NAME
    first_up_s: float = 0.0
    """From `make up` to its end, seconds."""
    first_answer_s: float = 0.0
    """From `make up` to the first answered question, seconds."""
    answer: str = ""
    _kube: tuple[int, Kube] | None = None

    @property
    def environment(self) -> dict[str, str]:
        return super().environment | {"SANDBOX_CLUSTER_NAME": self.name}

    @property
    def node(self) -> str:
        return f"{self.name}-control-plane"

    @cached_property
    def docker(self) -> Docker:
        return Docker.connect()

    def another_connection(self) -> Kube:
        """Open a connection of a test's own, for it to close."""
        return Kube.from_file(self.home / "run" / "kubeconfig")

    @property
    def kube(self) -> Kube:
        """Ask the cluster as its administrator; with another connection after it was made anew."""
        kubeconfig = self.home / "run" / "kubeconfig"
        made_at = kubeconfig.stat().st_mtime_ns
        if self._kube is None or self._kube[0] != made_at:
            self.close()
            self._kube = (made_at, Kube.from_file(kubeconfig))
        return self._kube[1]

    def close(self) -> None:
        """Give back the connection to the cluster."""
        if self._kube is not None:
            self._kube[1].close()
        self._kube = None

    def run_make_up_and_ask(self) -> None:
        """Bring it up by the README's first command, and ask the first question."""
        began = time.monotonic()
        self.first_up = json.loads(self.make("up", "ARGS=--json").stdout)
        self.first_up_s = time.monotonic() - began
        self.key = self.first_up["key"]
        self.answer = self.ask(CAPITAL)
        self.first_answer_s = time.monotonic() - began

    def engine_pod(self) -> Any:
        """Read the one engine pod that is not on its way out."""
        labels = {COMPONENT: "engine", INSTANCE: MODEL}
        there = self.kube.pods("models", labels)
        found = [pod for pod in there if pod.metadata and not pod.metadata.deletionTimestamp]
        assert len(found) == 1, [evidence.name_of(pod) for pod in found]
        return found[0]

    def in_node(self, *command: str, stdin: str | None = None) -> str:
        """Run a command in the node's container."""
        done = subprocess.run(
            ["docker", "exec", "-i", self.node, *command],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"{command}: {done.stdout}\n{done.stderr}"
        return done.stdout

    def ask_engine(self, path: str, body: dict[str, Any] | None = None) -> str:
        """Ask the engine in its pod, from the node's own network, with the engine's own key."""
        key = (self.kube.secret("models", "engine-key") or {})["key"]
        url = f"http://{self.engine_pod().status.podIP}:8080{path}"
        told = {"url": url, "key": key, "body": None if body is None else json.dumps(body)}
        command = ["docker", "run", "--rm", "-i", "--network", f"container:{self.node}", "--entrypoint", "python3"]
        done = subprocess.run(
            [*command, apps.refs(config.load().settings.cache)["gateway"], "-c", ASK],
            input=json.dumps(told),
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def engine_figures(self) -> dict[str, float]:
        """Read the engine's own counters."""
        said = self.ask_engine("/metrics")
        pairs = [line.split() for line in said.splitlines() if line and not line.startswith("#")]
        return {name: float(value) for name, value in pairs}

    def busy_slots(self) -> int:
        return int(self.engine_figures()["llamacpp:requests_processing"])
