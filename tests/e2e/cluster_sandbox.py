"""A sandbox in a kind cluster, and what a test may ask of the cluster beneath it."""

from __future__ import annotations

import json
import os
import subprocess
import time
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pytest

from sandbox.cluster import evidence
from sandbox.cluster.api import COMPONENT, INSTANCE, Kube
from sandbox.cluster.docker import Docker
from sandbox.cluster.images import node
from sandbox.errors import SandboxError
from tests.e2e.sandbox import MODEL, Sandbox

CAPITAL = "What is the capital of France? Answer with one word."
NAME = "sandbox-e2e"


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
    figures: dict[str, Any] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        return super().environment | {"SANDBOX_CLUSTER_NAME": self.name}

    @property
    def node(self) -> str:
        return f"{self.name}-control-plane"

    @cached_property
    def docker(self) -> Docker:
        return Docker.connect()

    @property
    def kube(self) -> Kube:
        """Ask the cluster as its administrator; anew each time, for it may have been made anew."""
        return Kube.from_file(self.home / "run" / "kubeconfig")

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

    def engine_figures(self) -> dict[str, float]:
        """Read the engine's own counters, from the node, with the engine's own key."""
        key = (self.kube.secret("models", "engine-key") or {})["key"]
        url = f"http://{self.engine_pod().status.podIP}:8080/metrics"
        said = self.in_node("curl", "-s", "-m", "10", "-H", "@-", url, stdin=f"Authorization: Bearer {key}\n")
        pairs = [line.split() for line in said.splitlines() if line and not line.startswith("#")]
        return {name: float(value) for name, value in pairs}

    def busy_slots(self) -> int:
        return int(self.engine_figures()["llamacpp:requests_processing"])
