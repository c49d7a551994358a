"""An engine of this machine behind a kind cluster, tried from pods: for a journey on a cluster that is there.

It takes a model id of its own, so that a steward that runs beside it neither touches it nor is disturbed. With the
policies enforced, ``seen["gateway"]`` answers and ``seen["page"]`` reaches nothing::

    seen = try_host_engine(docker, kube, network=…, node=…, image=…, program=…, model_path=…, home=…)
    assert seen["gateway"] == ALLOWED and seen["page"] == dict.fromkeys(ALLOWED, CLOSED)
"""

from __future__ import annotations

import json
import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from lightkube.resources.core_v1 import Pod

from sandbox import catalogue, hardware, plan
from sandbox.cluster import host_serving
from sandbox.cluster.api import COMPONENT, INSTANCE, Kube
from sandbox.cluster.docker import Docker
from sandbox.cluster.host_process import HostEngine
from sandbox.cluster.host_serving import KubeRegistry
from sandbox.engine.discover import EngineProgram
from sandbox.engine.manifests import NAMESPACE, name_of
from sandbox.home import Home

ID = "host-trial"
KEY = "a-key-of-the-trial"
CLOSED = "closed"
ALLOWED = {"health": "200", "without a key": "401", "with the key": "200", "answer": "Paris", "another port": CLOSED}
"""What the gateway has to see: the engine, kept to its key, and nothing else of this machine."""
WAIT_S = 120.0

_ASK = """
import json, sys, urllib.error, urllib.request
engine, other, key = sys.argv[1:]
def ask(url, key="", body=None):
    headers = {"Content-Type": "application/json"} | ({"Authorization": "Bearer " + key} if key else {})
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=20 if body else 4) as reply:
            return str(reply.status), reply.read()
    except urllib.error.HTTPError as error:
        return str(error.code), b""
    except OSError:
        return "closed", b""
question = "What is the capital of France? Answer with one word."
body = {"messages": [{"role": "user", "content": question}], "max_tokens": 12, "temperature": 0}
status, said = ask(engine + "/v1/chat/completions", key, json.dumps(body).encode())
text = json.loads(said)["choices"][0]["message"]["content"] if said else ""
print(json.dumps({
    "health": ask(engine + "/health")[0],
    "without a key": ask(engine + "/v1/models")[0],
    "with the key": ask(engine + "/v1/models", key)[0],
    "answer": "Paris" if "Paris" in text else text or status,
    "another port": ask(other)[0],
}))
"""


class _Clock:
    monotonic = staticmethod(time.monotonic)
    sleep = staticmethod(time.sleep)


def try_host_engine(
    docker: Docker,
    kube: Kube,
    *,
    network: str,
    node: str,
    image: str,
    program: EngineProgram,
    model_path: Path,
    home: Path,
    components: tuple[str, ...] = ("gateway", "page"),
) -> dict[str, dict[str, str]]:
    """Serve the default model from this machine, ask for it from a pod of each component, and take it away again.

    Args:
        network: name of the node's Docker network.
        node: name of the node's container.
        image: an image in the node with Python, by digest: the gateway's.
        home: the data folder; what the engine leaves there is removed.
    """
    card = replace(catalogue.load()["smollm2-135m-instruct"], id=ID)
    made = plan.make(card, hardware.look(), plan.Limits(slots=1, context_tokens=512))
    engine, registry = HostEngine(card, home=Home(home), clock=_Clock()), KubeRegistry(kube)
    address = host_serving.find_address(docker, network=network, node=node)
    try:
        host_serving.serve(
            engine, card, made, registry, program=program, model_path=model_path, address=address, key=KEY
        )
        url = f"http://{kube.service_address(NAMESPACE, name_of(ID))}:8080"
        with _another_listener(address.listen) as port:
            other = f"http://{address.reached_at}:{port}/"
            return {each: _seen_from(kube, each, image, (url, other, KEY)) for each in components}
    finally:
        host_serving.withdraw(engine, card, registry)


@contextmanager
def _another_listener(address: str) -> Iterator[int]:
    """Listen beside the engine: what only the policies keep pods from."""

    class Hello(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with socketserver.ThreadingTCPServer((address, 0), Hello) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield int(server.server_address[1])
        server.shutdown()


def _seen_from(kube: Kube, component: str, image: str, told: tuple[str, ...]) -> dict[str, str]:
    name = f"host-trial-{component}"
    container = {
        "name": "ask",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python3", "-c", _ASK, *told],
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "64Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "sandbox", "labels": {COMPONENT: component, INSTANCE: "canary"}},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [container],
        },
    }
    kube.delete(Pod, name, namespace="sandbox", grace_s=0)
    kube.apply([pod])
    try:
        return _told_by(kube, name)
    finally:
        kube.delete(Pod, name, namespace="sandbox", grace_s=0)


def _told_by(kube: Kube, name: str) -> dict[str, str]:
    until = time.monotonic() + WAIT_S
    while time.monotonic() < until:
        status = kube.client.get(Pod, name, namespace="sandbox").status
        if status and status.phase in ("Succeeded", "Failed"):
            lines = kube.log("sandbox", name, lines=20)
            assert status.phase == "Succeeded", lines
            return {str(at): str(seen) for at, seen in json.loads(lines[-1]).items()}
        time.sleep(0.5)
    raise AssertionError(f"the pod {name} did not end within {WAIT_S:.0f} s")
