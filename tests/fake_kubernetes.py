"""A Kubernetes API at the transport: server-side apply, lists, watches, and a controller that makes pods."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio
import httpx2
from lightkube import AsyncClient, KubeConfig
from lightkube.config.models import Cluster, User

Object = dict[str, Any]
PATH = re.compile(r"^/apis?/(?:apps/)?v1/namespaces/(?P<namespace>[^/]+)/(?P<plural>[a-z]+)(?:/(?P<name>[^/]+))?$")
KINDS = {"deployments": "Deployment", "services": "Service", "pods": "Pod", "events": "Event"}
GIB_KI = 1024 * 1024


class FakeCluster:
    """One node, one namespace, and whatever was applied; pods come at once and are ready when a test says so."""

    def __init__(self, *, node_memory_gib: int = 16, node_cpu: str = "4") -> None:
        self.nodes: list[Object] = [node("one", cpu=node_cpu, memory=f"{node_memory_gib * GIB_KI}Ki")]
        self.stored: dict[str, dict[str, Object]] = {plural: {} for plural in KINDS}
        self.applied: list[Object] = []
        """Everything that was sent to be applied, in order."""
        self.managers: set[str] = set()
        self.is_away = False
        self.refusal: Object | None = None
        """A status that every apply is answered with."""
        self.brings_up = True
        """Whether new pods become ready by themselves."""
        self._version = 100
        self._made = 0
        self._watchers: list[tuple[str, Callable[[str, Object], None]]] = []

    def client(self) -> AsyncClient:
        """Speak to it as the steward does."""
        config = KubeConfig.from_one(
            cluster=Cluster(server="http://cluster.invalid"), user=User(token="t"), namespace="models"
        ).get()
        return AsyncClient(
            config=config,
            transport=httpx2.MockTransport(self._answer),
            trust_env=False,
            field_manager="sandbox-steward",
        )

    def pods(self) -> list[Object]:
        """List the pods, oldest first."""
        return sorted(self.stored["pods"].values(), key=lambda pod: str(pod["metadata"]["creationTimestamp"]))

    def change_pod(self, name: str, status: Object) -> None:
        """Put a pod into a state, as its node would tell it."""
        pod = self.stored["pods"][name]
        pod["status"] = pod["status"] | status
        self._tell("MODIFIED", "pods", pod)

    def make_ready(self, name: str) -> None:
        """Say that a pod takes requests."""
        self.change_pod(name, ready_status())

    def delete_pod(self, name: str) -> None:
        """Take a pod away, as `kubectl delete pod` does: it is ending for a moment, and another one comes at once."""
        pod = self.stored["pods"][name]
        pod["metadata"]["deletionTimestamp"] = self._now()
        self._tell("MODIFIED", "pods", pod)
        for deployment in self.stored["deployments"].values():
            if deployment["spec"]["template"]["metadata"]["annotations"] == pod["metadata"]["annotations"]:
                self._make_pod(deployment)

    def forget_pod(self, name: str) -> None:
        """Let an ending pod be gone."""
        self._tell("DELETED", "pods", self.stored["pods"].pop(name))

    def edit(self, plural: str, name: str, change: Callable[[Object], None]) -> None:
        """Change an object as somebody else would."""
        found = self.stored[plural][name]
        before = copy.deepcopy(found.get("spec"))
        change(found)
        if found.get("spec") != before:
            found["metadata"]["generation"] = found["metadata"].get("generation", 1) + 1

    async def _answer(self, request: httpx2.Request) -> httpx2.Response:
        if self.is_away:
            raise httpx2.ConnectError("connection refused", request=request)
        if request.url.path == "/api/v1/nodes":
            return _list("Node", self.nodes, self._version)
        found = PATH.match(request.url.path)
        assert found is not None, f"the fake cluster knows no {request.url.path}"
        plural, name = found["plural"], found["name"]
        match request.method:
            case "PATCH":
                assert request.headers["content-type"] == "application/apply-patch+yaml"
                assert request.url.params["force"] == "true"
                return self._apply(plural, str(name), json.loads(request.content), request.url.params["fieldManager"])
            case "DELETE":
                return self._delete(plural, str(name))
            case "GET" if name is not None:
                there = self.stored[plural].get(name)
                return httpx2.Response(200, json=there) if there is not None else _missing(plural, name)
            case "GET" if request.url.params.get("watch") == "true":
                return httpx2.Response(200, stream=_Stream(self._watch(plural, request.url.params)))
            case _:
                items = [each for each in self.stored[plural].values() if _matches(each, request.url.params)]
                return _list(KINDS[plural], items, self._version)

    def _apply(self, plural: str, name: str, sent: Object, manager: str) -> httpx2.Response:
        if self.refusal is not None:
            return httpx2.Response(self.refusal["code"], json=self.refusal)
        self.applied.append(sent)
        self.managers.add(manager)
        before = self.stored[plural].get(name)
        made = copy.deepcopy(sent)
        made["metadata"]["generation"] = 1
        if before is not None:
            is_same = _without_defaults(before["spec"]) == sent["spec"]
            made["metadata"]["generation"] = before["metadata"]["generation"] + (0 if is_same else 1)
            made["status"] = before.get("status", {})
        if plural == "services":
            made["spec"]["clusterIP"] = before["spec"]["clusterIP"] if before else f"10.96.0.{len(self.applied) + 10}"
        self.stored[plural][name] = made
        if plural == "deployments" and (before is None or before["spec"]["template"] != sent["spec"]["template"]):
            self._roll(made)
        return httpx2.Response(200, json=made)

    def _roll(self, deployment: Object) -> None:
        """Do as a Deployment with the strategy Recreate: end what is old, then make what is new."""
        instance = deployment["metadata"]["labels"]["app.kubernetes.io/instance"]
        for pod in self.pods():
            if pod["metadata"]["labels"]["app.kubernetes.io/instance"] == instance:
                self.forget_pod(pod["metadata"]["name"])
        self._make_pod(deployment)

    def _make_pod(self, deployment: Object) -> None:
        self._made += 1
        name = f"{deployment['metadata']['name']}-{self._made}"
        template = copy.deepcopy(deployment["spec"]["template"])
        metadata = template["metadata"] | {
            "name": name,
            "namespace": "models",
            "uid": f"uid-{self._made}",
            "creationTimestamp": self._now(),
        }
        status = ready_status() if self.brings_up else {"phase": "Pending"}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"], "status": status}
        self.stored["pods"][name] = pod
        self._tell("ADDED", "pods", pod)

    def _delete(self, plural: str, name: str) -> httpx2.Response:
        if self.stored[plural].pop(name, None) is None:
            return _missing(plural, name)
        return httpx2.Response(200, json={"kind": "Status", "apiVersion": "v1", "status": "Success"})

    def _tell(self, kind: str, plural: str, found: Object) -> None:
        self._version += 1
        found["metadata"]["resourceVersion"] = str(self._version)
        for watched, tell in self._watchers:
            if watched == plural:
                tell(kind, copy.deepcopy(found))

    def break_watches(self) -> None:
        """End every watch, as a server that goes away does."""
        for _, tell in list(self._watchers):
            tell("", {})

    async def _watch(self, plural: str, params: httpx2.QueryParams) -> AsyncIterator[bytes]:
        send, receive = anyio.create_memory_object_stream[tuple[str, Object]](1000)
        watcher = (plural, lambda kind, found: send.send_nowait((kind, found)))
        self._watchers.append(watcher)
        try:
            with send, receive:
                async for kind, found in receive:
                    if not kind:
                        raise httpx2.ReadError("the connection was reset")
                    if _matches(found, params):
                        yield json.dumps({"type": kind, "object": found}).encode() + b"\n"
        finally:
            self._watchers.remove(watcher)

    def _now(self) -> str:
        self._version += 1
        return f"2026-01-01T00:{self._version // 60 % 60:02d}:{self._version % 60:02d}Z"


class _Stream(httpx2.AsyncByteStream):
    def __init__(self, pieces: AsyncIterator[bytes]) -> None:
        self._pieces = pieces

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._pieces

    async def aclose(self) -> None:
        close = getattr(self._pieces, "aclose", None)
        if close is not None:
            await close()


def node(name: str, *, cpu: str, memory: str, is_ready: bool = True, **more: Any) -> Object:
    """Write a node."""
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name},
        "spec": {key: value for key, value in more.items() if key in ("taints", "unschedulable")},
        "status": {
            "allocatable": {"cpu": cpu, "memory": memory} | more.get("offers", {}),
            "conditions": [{"type": "Ready", "status": "True" if is_ready else "False"}],
        },
    }


def ready_status(restarts: int = 0) -> Object:
    """Write the status of a pod whose engine is ready."""
    return {
        "phase": "Running",
        "conditions": [{"type": "Ready", "status": "True"}],
        "initContainerStatuses": [container("verify", {"terminated": {"exitCode": 0, "reason": "Completed"}})],
        "containerStatuses": [
            container("engine", {"running": {"startedAt": "2026-01-01T00:00:00Z"}}, restarts=restarts, is_ready=True)
        ],
    }


def unready_status(
    state: Object, *, last: Object | None = None, restarts: int = 0, verify: Object | None = None
) -> Object:
    """Write the status of a pod whose engine is not ready."""
    done = {"terminated": {"exitCode": 0, "reason": "Completed"}}
    return {
        "phase": "Running",
        "conditions": [{"type": "Ready", "status": "False"}],
        "initContainerStatuses": [container("verify", verify or done)],
        "containerStatuses": [container("engine", state, last=last, restarts=restarts)],
    }


def container(
    name: str, state: Object, *, last: Object | None = None, restarts: int = 0, is_ready: bool = False
) -> Object:
    """Write the status of a container."""
    return {
        "name": name,
        "image": "i",
        "imageID": "i",
        "ready": is_ready,
        "started": is_ready,
        "restartCount": restarts,
        "state": state,
        "lastState": last or {},
    }


def ended(code: int, *, reason: str = "Error", message: str = "") -> Object:
    """Write the state of a container that has ended."""
    return {
        "terminated": {"exitCode": code, "reason": reason, "message": message, "finishedAt": "2026-01-01T00:00:09Z"}
    }


def refusal(code: int, message: str) -> Object:
    """Write how the API server says no."""
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": "Forbidden",
        "code": code,
    }


def _matches(found: Object, params: httpx2.QueryParams) -> bool:
    wanted = dict(part.split("=", 1) for part in params.get("labelSelector", "").split(",") if part)
    labels = found["metadata"].get("labels", {})
    if not wanted.items() <= labels.items():
        return False
    fields = dict(part.split("=", 1) for part in params.get("fieldSelector", "").split(",") if part)
    return all(_field(found, name) == value for name, value in fields.items())


def _field(found: Object, dotted: str) -> Any:
    value: Any = found
    for part in dotted.split("."):
        value = value.get(part, {})
    return value


def _without_defaults(spec: Object) -> Object:
    return {key: value for key, value in spec.items() if key != "clusterIP"}


def _list(kind: str, items: list[Object], version: int) -> httpx2.Response:
    body = {"kind": f"{kind}List", "apiVersion": "v1", "metadata": {"resourceVersion": str(version)}, "items": items}
    return httpx2.Response(200, json=body)


def _missing(plural: str, name: str) -> httpx2.Response:
    return httpx2.Response(404, json=refusal(404, f'{plural} "{name}" not found') | {"reason": "NotFound"})
