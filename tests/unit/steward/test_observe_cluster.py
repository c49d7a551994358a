"""The sandbox's pods, as the steward sees them through the API server and kubelets."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import httpx2
import pytest
from lightkube import AsyncClient, KubeConfig
from lightkube.config.models import Cluster, User
from lightkube.resources.core_v1 import Event, Pod

from sandbox.errors import ClusterFailed
from sandbox.steward.observe_cluster import ClusterObserver, isolation_on_record
from sandbox.steward.observe_kubelet import Kubelets, Usage, trusting, usages
from sandbox.steward.observe_pods import happening_of, is_ours, unit_of
from sandbox.wire.fleet import Entry
from sandbox.wire.observed import Exit, Unit
from tests.unit.steward.test_observe_local import ROW

pytestmark = pytest.mark.anyio

# As a kubelet 1.34 wrote it, cut to two pods; a container's figure has the moment it was counted at, milliseconds.
RECORDED = """\
# HELP container_cpu_usage_seconds_total [STABLE] Cumulative cpu time consumed by the container in core-seconds
# TYPE container_cpu_usage_seconds_total counter
container_cpu_usage_seconds_total{container="engine",namespace="models",pod="engine-tiny-1"} 40.5 1763970000000
container_cpu_usage_seconds_total{container="coredns",namespace="kube-system",pod="coredns-1"} 1.25 1763970000100
# HELP container_memory_working_set_bytes [STABLE] Current working set of the container in bytes
# TYPE container_memory_working_set_bytes gauge
container_memory_working_set_bytes{container="engine",namespace="models",pod="engine-tiny-1"} 2.20e+08 1763970000000
container_memory_working_set_bytes{container="coredns",namespace="kube-system",pod="coredns-1"} 1.5e+07 1763970000100
# HELP container_start_time_seconds [STABLE] Start time of the container since unix epoch in seconds
# TYPE container_start_time_seconds gauge
container_start_time_seconds{container="engine",namespace="models",pod="engine-tiny-1"} 1.763960000e+09
# HELP node_cpu_usage_seconds_total [STABLE] Cumulative cpu time consumed by the node in core-seconds
# TYPE node_cpu_usage_seconds_total counter
node_cpu_usage_seconds_total 5000 1763970000200
# HELP node_memory_working_set_bytes [STABLE] Current working set of the node in bytes
# TYPE node_memory_working_set_bytes gauge
node_memory_working_set_bytes 2.0e+09 1763970000200
# HELP pod_cpu_usage_seconds_total [STABLE] Cumulative cpu time consumed by the pod in core-seconds
# TYPE pod_cpu_usage_seconds_total counter
pod_cpu_usage_seconds_total{namespace="models",pod="engine-tiny-1"} 41.0 1763970000300
pod_cpu_usage_seconds_total{namespace="models",pod="only-as-a-pod"} 2.0 1763970000300
# HELP pod_memory_working_set_bytes [STABLE] Current working set of the pod in bytes
# TYPE pod_memory_working_set_bytes gauge
pod_memory_working_set_bytes{namespace="models",pod="engine-tiny-1"} 2.21e+08 1763970000300
pod_memory_working_set_bytes{namespace="models",pod="only-as-a-pod"} 1e+06 1763970000300
# HELP resource_scrape_error [STABLE] 1 if there was an error while getting container metrics, 0 otherwise
# TYPE resource_scrape_error gauge
resource_scrape_error 0
"""
LABELS = {
    "app.kubernetes.io/part-of": "sandbox",
    "app.kubernetes.io/component": "engine",
    "app.kubernetes.io/instance": "tiny",
}
RUNNING = {"state": {"running": {"startedAt": "2026-11-24T08:00:00Z"}}}
OUT_OF_MEMORY = {"exitCode": 137, "reason": "OOMKilled", "finishedAt": "2026-11-24T07:59:58Z"}


def pod(*, is_ready: bool = True, **changes: Any) -> dict[str, Any]:
    """An engine's pod as the API server writes it, cut to what is read."""
    container = {"name": "engine", "image": "engine@sha256:ab", "imageID": "", "ready": is_ready, "restartCount": 0}
    status = {
        "phase": "Running",
        "hostIP": "172.18.0.2",
        "startTime": "2026-11-24T07:00:00Z",
        "conditions": [{"type": "Ready", "status": str(is_ready)}],
        "containerStatuses": [container | RUNNING | changes.pop("container", {})],
    }
    limits = changes.pop("limits", {"memory": "512Mi", "cpu": "2"})
    metadata: dict[str, Any] = {"name": "engine-tiny-1", "namespace": "models", "labels": LABELS}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata | changes.pop("metadata", {}),
        "spec": {
            "nodeName": "sandbox-control-plane",
            "containers": [{"name": "engine", "image": "engine@sha256:ab", "resources": {"limits": limits}}],
        },
        "status": status | changes,
    }


def a_pod(written: dict[str, Any]) -> Pod:
    read = Pod.from_dict(written)
    assert isinstance(read, Pod)
    return read


def an_event(written: dict[str, Any]) -> Event:
    read = Event.from_dict(written)
    assert isinstance(read, Event)
    return read


def unit(**changes: Any) -> Unit:
    return unit_of(a_pod(pod(**changes)))


def test_a_pod_that_runs_is_told_with_its_model_limit_and_node() -> None:
    found = unit()
    assert (found.kind, found.namespace, found.name, found.component) == ("pod", "models", "engine-tiny-1", "engine")
    assert (found.model, found.phase, found.is_ready) == ("tiny", "running", True)
    assert (found.memory_limit_bytes, found.node, found.image) == (
        512 * 1024 * 1024, "sandbox-control-plane", "engine@sha256:ab",
    )  # fmt: skip
    assert (found.restarts, found.last_exit, found.detail) == (0, None, "")


def test_the_annotation_names_the_model_where_a_label_cannot() -> None:
    assert unit(metadata={"annotations": {"sandbox/model": "tiny_2.5"}}).model == "tiny_2.5"


def test_a_restart_is_told_with_how_the_last_one_ended() -> None:
    found = unit(container={"restartCount": 3, "lastState": {"terminated": OUT_OF_MEMORY}})
    assert found.restarts == 3
    assert found.last_exit == Exit(reason="OOMKilled", code=137, at=1795507198.0)
    assert found.started_at == 1795507200.0


@pytest.mark.parametrize(
    ("changes", "phase", "detail"),
    [
        pytest.param(
            {"is_ready": False, "container": {"state": {"waiting": {"reason": "CrashLoopBackOff", "message": "40s"}}}},
            "starting", "engine waits: CrashLoopBackOff: 40s", id="crash loop",
        ),
        pytest.param(
            {"is_ready": False, "phase": "Pending", "containerStatuses": [], "conditions": [
                {"type": "PodScheduled", "status": "False", "message": "0/1 nodes: Insufficient memory"}
            ]},
            "pending", "not placed on a node: 0/1 nodes: Insufficient memory", id="no room",
        ),
        pytest.param(
            {"is_ready": False, "phase": "Pending", "initContainerStatuses": [{
                "name": "verify", "image": "", "imageID": "", "ready": False, "restartCount": 0,
                "state": {"terminated": {"exitCode": 1, "reason": "Error"}},
            }]},
            "pending", "verify ended: Error, exit 1", id="a file that is not the reviewed one",
        ),
        pytest.param(
            {"is_ready": False, "container": {"state": {"waiting": {"reason": "ContainerCreating"}}}},
            "starting", "", id="an ordinary start",
        ),
        pytest.param(
            {"is_ready": False, "phase": "Failed", "reason": "Evicted", "message": "disk pressure"},
            "failed", "Evicted: disk pressure", id="evicted",
        ),
        pytest.param({"metadata": {"deletionTimestamp": "2026-11-24T08:00:01Z"}}, "ending", "", id="on its way out"),
    ],
)  # fmt: skip
def test_a_pod_that_is_not_well_is_told_in_words(changes: dict[str, Any], phase: str, detail: str) -> None:
    found = unit(**changes)
    assert (found.phase, found.detail, found.is_ready) == (phase, detail, False)


def test_a_pod_without_a_limit_has_none() -> None:
    assert unit(limits={"cpu": "1"}).memory_limit_bytes is None


def test_a_pod_that_nothing_is_known_of_yet_is_told_all_the_same() -> None:
    found = unit_of(a_pod({"metadata": {"name": "new", "namespace": "models", "labels": LABELS}}))
    assert (found.phase, found.is_ready, found.started_at, found.memory_limit_bytes) == ("unknown", False, None, None)


@pytest.mark.parametrize(
    ("component", "instance", "is_a"),
    [("gateway", "main", "gateway"), ("engine", "canary", "canary"), ("something", "main", "other")],
)
def test_a_pod_is_known_by_its_labels(component: str, instance: str, is_a: str) -> None:
    labels = LABELS | {"app.kubernetes.io/component": component, "app.kubernetes.io/instance": instance}
    found = unit(metadata={"labels": labels})
    assert (found.component, found.model) == (is_a, "")


def test_a_strangers_pod_is_none_of_ours() -> None:
    assert is_ours(a_pod(pod()))
    assert not is_ours(a_pod(pod(metadata={"labels": {"app": "theirs"}})))
    assert not is_ours(a_pod(pod(metadata={"labels": None})))


def event(**changes: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1", "kind": "Event", "metadata": {"name": "e", "namespace": "models"},
        "involvedObject": {"kind": "Pod", "name": "engine-tiny-1"}, "reason": "BackOff", "type": "Warning",
        "message": "Back-off restarting failed container\n", "count": 4, "lastTimestamp": "2026-11-24T08:00:00Z",
    } | changes  # fmt: skip


def test_an_event_is_a_happening() -> None:
    found = happening_of(an_event(event()))
    assert found is not None
    assert (found.about, found.reason, found.message) == (
        "engine-tiny-1", "BackOff", "Back-off restarting failed container",
    )  # fmt: skip
    assert (found.count, found.is_warning, found.at) == (4, True, 1795507200.0)


def test_an_event_of_the_newer_kind_has_its_moment_elsewhere() -> None:
    series = {"count": 7, "lastObservedTime": "2026-11-24T08:00:05.000000Z"}
    found = happening_of(an_event(event(lastTimestamp=None, count=None, series=series)))
    assert found is not None
    assert (found.at, found.count) == (1795507205.0, 7)


def test_a_start_that_takes_a_moment_is_no_warning() -> None:
    found = happening_of(an_event(event(reason="Unhealthy", message="Startup probe failed: connection refused")))
    assert found is not None
    assert not found.is_warning


def test_an_event_without_a_moment_is_left_out() -> None:
    assert happening_of(an_event(event(lastTimestamp=None))) is None


def test_figures_are_those_of_containers_or_else_of_the_pod() -> None:
    found = usages(RECORDED)
    assert found["models", "engine-tiny-1"] == Usage(220_000_000, 40.5, 1763970000.0)
    assert found["models", "only-as-a-pod"] == Usage(1_000_000, 2.0, 1763970000.3)
    assert set(found) == {("models", "engine-tiny-1"), ("models", "only-as-a-pod"), ("kube-system", "coredns-1")}


def test_a_pods_containers_are_added_up() -> None:
    lines = [
        f'container_memory_working_set_bytes{{container="{name}",namespace="n",pod="p"}} {size}'
        for name, size in (("a", 100), ("b", 23))
    ]
    assert usages("# TYPE container_memory_working_set_bytes gauge\n" + "\n".join(lines) + "\n") == {
        ("n", "p"): Usage(memory_bytes=123)
    }


def no_matter(_: Path) -> ssl.SSLContext:
    return ssl.create_default_context()


def kubelets(
    tmp_path: Path,
    answer: Any,
    asked: list[httpx.Request] | None = None,
    trust: Callable[[Path], ssl.SSLContext] = no_matter,
) -> Kubelets:
    token, authority = tmp_path / "token", tmp_path / "ca.crt"
    token.write_text("the-token\n")
    authority.write_text("")

    def reply(request: httpx.Request) -> httpx.Response:
        if asked is not None:
            asked.append(request)
        if isinstance(answer, Exception):
            raise answer
        return answer  # type: ignore[no-any-return]  # a reply, as the test gave it

    return Kubelets(
        ca_file=authority,
        token_file=token,
        trust=trust,
        transport=httpx.MockTransport(reply),
    )


async def test_a_kubelet_is_asked_by_address_and_known_by_name(tmp_path: Path) -> None:
    asked: list[httpx.Request] = []
    found = await kubelets(tmp_path, httpx.Response(200, text=RECORDED), asked).usages("node-1", "172.18.0.2")
    assert ("models", "engine-tiny-1") in found
    (request,) = asked
    assert str(request.url) == "https://172.18.0.2:10250/metrics/resource"
    assert request.extensions["sni_hostname"] == "node-1"
    assert request.headers["authorization"] == "Bearer the-token"


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (httpx.Response(403), "does not let the steward read them (HTTP 403)"),
        (httpx.Response(500), "answered with HTTP 500"),
        (httpx.Response(200, text="<html>"), "not known"),
        (httpx.ConnectError("certificate verify failed: self-signed certificate"), "certificate verify failed"),
    ],
)
async def test_a_kubelet_that_does_not_tell_is_an_error_that_says_why(tmp_path: Path, answer: Any, words: str) -> None:
    with pytest.raises(ClusterFailed) as told:
        await kubelets(tmp_path, answer).usages("node-1", "172.18.0.2")
    assert "node node-1" in told.value.message
    assert words in told.value.message


async def test_without_certificates_nobody_is_asked(tmp_path: Path) -> None:
    asked: list[httpx.Request] = []
    blind = kubelets(tmp_path, httpx.Response(200, text=RECORDED), asked, trust=trusting)
    (tmp_path / "ca.crt").unlink()
    with pytest.raises(ClusterFailed, match=r"there is no .*ca\.crt to know the kubelet by"):
        await blind.usages("node-1", "172.18.0.2")
    (tmp_path / "ca.crt").write_text("no certificate")
    with pytest.raises(ClusterFailed, match="are not known"):
        await blind.usages("node-1", "172.18.0.2")
    assert asked == []


class FakeNodes:
    """Tells what the test says a pod uses."""

    def __init__(self) -> None:
        self.told = {("models", "engine-tiny-1"): Usage(220_000_000, 40.5, 100.0)}
        self.asked: list[tuple[str, str]] = []
        self.fails = False

    async def usages(self, node: str, address: str) -> dict[tuple[str, str], Usage]:
        self.asked.append((node, address))
        if self.fails:
            raise ClusterFailed(f"memory and CPU on node {node} are not known: HTTP 403", hint="none")
        return self.told


class FakeKeeper:
    def entry(self) -> Entry:
        return Entry(row=ROW)


class ApiServer:
    """Answers lists of pods and events."""

    def __init__(self) -> None:
        self.pods = [pod(), pod(metadata={"name": "theirs", "labels": {}})]
        self.events = [event(), event(reason="Pulled", type="Normal", lastTimestamp="2026-11-24T08:00:09Z")]
        self.refused: dict[str, int] = {}
        self.is_away = False

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        if self.is_away:
            raise httpx2.ConnectError("connection refused")
        *_, namespace, kind = request.url.path.split("/")
        if namespace in self.refused:
            code = self.refused[namespace]
            status = {"kind": "Status", "apiVersion": "v1", "code": code, "message": f"{kind} is forbidden"}
            return httpx2.Response(code, json=status)
        items = {"pods": self.pods, "events": self.events}[kind] if namespace == "models" else []
        return httpx2.Response(200, json={"kind": "List", "apiVersion": "v1", "metadata": {}, "items": items})


@pytest.fixture
def server() -> ApiServer:
    return ApiServer()


@pytest.fixture
def nodes() -> FakeNodes:
    return FakeNodes()


@pytest.fixture
def observer(server: ApiServer, nodes: FakeNodes) -> ClusterObserver:
    config = KubeConfig.from_one(cluster=Cluster(server="https://api-server.test"), user=User(token="t"))
    client = AsyncClient(config=config, transport=httpx2.MockTransport(server), trust_env=False)
    return ClusterObserver(client, nodes, [FakeKeeper()])


async def test_our_pods_are_seen_with_their_figures_and_plan(observer: ClusterObserver, nodes: FakeNodes) -> None:
    sight = await observer.look()
    (engine,) = sight.units
    assert (engine.name, engine.memory_bytes, engine.cpu_cores) == ("engine-tiny-1", 220_000_000, None)
    assert engine.cpu_planned == 3
    assert nodes.asked == [("sandbox-control-plane", "172.18.0.2")]
    assert sight.problems == ()
    nodes.told = {("models", "engine-tiny-1"): Usage(230_000_000, 48.0, 105.0)}
    (engine,) = (await observer.look()).units
    assert (engine.memory_bytes, engine.cpu_cores) == (230_000_000, 1.5)


async def test_happenings_come_the_newest_first(observer: ClusterObserver) -> None:
    assert [each.reason for each in (await observer.look()).happenings] == ["Pulled", "BackOff"]


async def test_how_canaries_come_and_go_is_left_out(observer: ClusterObserver, server: ApiServer) -> None:
    canary = {"kind": "Pod", "name": "canary-page"}
    server.events = [event(involvedObject=canary, type="Normal"), event(involvedObject=canary, reason="Failed")]
    assert [each.reason for each in (await observer.look()).happenings] == ["Failed"]


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ("enforced by the sandbox's policy agent\n", "enforced by the sandbox's policy agent"),
        ("unproved", "unproved"),
        ("", "unproved: nothing on record"),
        (None, "unproved: nothing on record"),
    ],
)
def test_isolation_is_what_is_on_record_and_unproved_without(tmp_path: Path, record: str | None, words: str) -> None:
    if record is not None:
        (tmp_path / "how").write_text(record)
    assert isolation_on_record(tmp_path / "how").startswith(words)


async def test_figures_that_cannot_be_had_are_none_and_why_is_said_once(
    observer: ClusterObserver, server: ApiServer, nodes: FakeNodes
) -> None:
    nodes.fails = True
    server.pods = [pod(), pod(metadata={"name": "engine-tiny-2"})]
    sight = await observer.look()
    assert [(each.memory_bytes, each.cpu_cores) for each in sight.units] == [(None, None)] * 2
    assert sight.problems == ("memory and CPU on node sandbox-control-plane are not known: HTTP 403",)


async def test_a_namespace_that_may_not_be_read_is_left_out_and_said(
    observer: ClusterObserver, server: ApiServer
) -> None:
    server.refused = {"intake": 403}
    sight = await observer.look()
    assert len(sight.units) == 1
    assert sight.problems == ("pods in intake are not seen: pods is forbidden",)


@pytest.mark.parametrize("how", ["away", "broken"])
async def test_an_api_server_that_does_not_answer_is_an_error(
    observer: ClusterObserver, server: ApiServer, how: str
) -> None:
    server.is_away, server.refused = how == "away", {"sandbox": 500} if how == "broken" else {}
    with pytest.raises(ClusterFailed, match="does not say how the pods are"):
        await observer.look()
