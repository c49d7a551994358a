"""What the API server refuses, each with its reason: ways around the rules for pods, ways into an engine, Services.

Everything is tried by the cluster's administrator, since rules that hold for nobody but the weak are none, and as a
dry run, so that nothing comes to be where a rule fails. Every way is tried three times: in `models` as it is; under
the admission policy alone, without Pod Security; and under nothing at all, where it must be let in, for else the
refusal would prove nothing.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from lightkube import Client
from lightkube.resources.core_v1 import ConfigMap, Pod, PodEphemeralcontainers
from lightkube.types import PatchType

from sandbox import catalogue, plan
from sandbox.cluster import canaries
from sandbox.engine.manifests import ClusterAccelerator, engine_objects
from sandbox.facts import Host
from tests.e2e.cluster_rooms import POLICY, create, raw, refusal, rooms, try_to_create
from tests.e2e.ways_around import CONTAINER, FOREIGN, OTHER_DIGEST, PODS, WayAround

if TYPE_CHECKING:
    from tests.e2e.cluster_sandbox import Cluster

ENGINES = {"app.kubernetes.io/component": "engine"}
WAYS_IN = (
    ("POST", "pods/{name}/exec?command=id&stdout=true", "pods/exec"),
    ("GET", "pods/{name}/exec?command=id&stdout=true", "pods/exec"),
    ("POST", "pods/{name}/attach?stdout=true", "pods/attach"),
    ("POST", "pods/{name}/portforward?ports=8080", "pods/portforward"),
    ("GET", "pods/{name}/proxy/slots", "pods/proxy"),
    ("GET", "services/{name}/proxy/slots", "services/proxy"),
)
SERVICES: tuple[tuple[str, dict[str, Any], str], ...] = (
    ("a port of the node", {"type": "NodePort"}, "service-type: NodePort is not allowed here"),
    ("a load balancer", {"type": "LoadBalancer"}, "service-type: LoadBalancer is not allowed here"),
    ("another name", {"type": "ExternalName", "externalName": "evil.invalid"}, "service-type: ExternalName"),
    ("an address of the network", {"externalIPs": ["192.0.2.1"]}, "service-addresses: externalIPs 192.0.2.1"),
)


def reviewed(admin: Client) -> tuple[str, str]:
    """Read an image and a model that may run."""
    data = admin.get(ConfigMap, "reviewed", namespace="models").data or {}
    assert data.get("images") and data.get("models"), f"nothing is on the reviewed lists: {data}"
    return data["images"].split("\n")[0], data["models"].split("\n")[0]


def engine_pod(admin: Client, accelerator: ClusterAccelerator = "cpu") -> dict[str, Any]:
    """Write the pod that the steward's Deployment makes of a reviewed model."""
    image, model = reviewed(admin)
    card = next(card for card in catalogue.load().values() if card.sha256 == model)
    made = plan.make(card, Host(cores=2, memory_bytes=8 * 1024**3), plan.Limits())
    deployment, _ = engine_objects(card, made, image=image, accelerator=accelerator)
    template = copy.deepcopy(deployment["spec"]["template"])
    template["metadata"]["name"] = "refusals"
    return {"apiVersion": "v1", "kind": "Pod", **template}


@pytest.fixture(scope="module")
def cluster_api(cluster: Cluster) -> Iterator[Client]:
    with cluster.another_connection().client as client:
        yield client


@pytest.fixture(scope="module")
def admitted(cluster_api: Client) -> dict[str, Any]:
    return engine_pod(cluster_api)


@pytest.fixture(scope="module")
def room(cluster_api: Client, admitted: dict[str, Any]) -> Iterator[dict[str, str]]:
    with rooms(cluster_api, PODS[0].applied(admitted)) as names:
        yield names


@pytest.mark.parametrize("place", ["models", "guarded", "open"])
@pytest.mark.parametrize("kind", ["engine", "engine with CUDA", "canary"])
def test_is_admitted(
    cluster_api: Client, room: dict[str, str], admitted: dict[str, Any], kind: str, place: str
) -> None:
    pods = {
        "engine": admitted,
        "engine with CUDA": engine_pod(cluster_api, "cuda"),
        "canary": canaries.pod("engine", [canaries.Target("api", "10.96.0.1", 443)], reviewed(cluster_api)[0]),
    }
    assert try_to_create(cluster_api, pods[kind], room.get(place, place)) is None


@pytest.mark.parametrize("way", PODS, ids=lambda way: way.name)
def test_is_refused_in_models(
    cluster_api: Client, room: dict[str, str], admitted: dict[str, Any], way: WayAround
) -> None:
    assert (way.first or way.said) in str(try_to_create(cluster_api, way.applied(admitted), "models"))


@pytest.mark.parametrize("way", PODS, ids=lambda way: way.name)
def test_is_refused_by_the_policy_alone(
    cluster_api: Client, room: dict[str, str], admitted: dict[str, Any], way: WayAround
) -> None:
    said = str(try_to_create(cluster_api, way.applied(admitted), room["guarded"]))
    assert POLICY in said
    assert way.said in said


@pytest.mark.parametrize("way", PODS, ids=lambda way: way.name)
def test_is_let_in_without_the_rules(
    cluster_api: Client, room: dict[str, str], admitted: dict[str, Any], way: WayAround
) -> None:
    assert try_to_create(cluster_api, way.applied(admitted), room["open"]) is None


def test_nothing_runs_when_the_lists_are_missing(
    cluster_api: Client, room: dict[str, str], admitted: dict[str, Any]
) -> None:
    said = str(try_to_create(cluster_api, admitted, room["unlisted"]))
    assert "no params found for policy binding with `Deny` parameterNotFoundAction" in said


CANARIES: tuple[tuple[str, dict[str, Any], str], ...] = (
    ("another program", {"command": ["/bin/sh"]}, "command: a canary runs /canary; found [/bin/sh]"),
    ("another image", {"image": f"evil@{OTHER_DIGEST}"}, f"images: evil@{OTHER_DIGEST} is not on the list"),
)


def test_a_canary_gets_no_key(cluster_api: Client, room: dict[str, str]) -> None:
    pod = canaries.pod("engine", [], reviewed(cluster_api)[0])
    pod["spec"]["volumes"] = [{"name": "key", "secret": {"secretName": "engine-key"}}]
    assert "volumes: key is no empty directory" in str(try_to_create(cluster_api, pod, "models"))
    assert try_to_create(cluster_api, pod, room["open"]) is None


@pytest.mark.parametrize(("change", "said"), [case[1:] for case in CANARIES], ids=[case[0] for case in CANARIES])
def test_a_canary_is_refused(cluster_api: Client, room: dict[str, str], change: dict[str, Any], said: str) -> None:
    pod = canaries.pod("engine", [], reviewed(cluster_api)[0])
    pod["spec"]["containers"][0] |= change
    assert said in str(try_to_create(cluster_api, pod, "models"))
    assert try_to_create(cluster_api, pod, room["open"]) is None


LOOKING = {"name": "look", "image": FOREIGN, "securityContext": CONTAINER["securityContext"]}
CHANGES: tuple[tuple[str, type[Pod] | type[PodEphemeralcontainers], dict[str, Any], str], ...] = (
    (
        "another image",
        Pod,
        {"spec": {"containers": [{"name": "engine", "image": f"evil@{OTHER_DIGEST}"}]}},
        f"images: evil@{OTHER_DIGEST} is not on the list of reviewed images",
    ),
    ("another model's name", Pod, {"metadata": {"annotations": {"sandbox/model-sha256": "0" * 64}}}, "models: sha256"),
    ("another component", Pod, {"metadata": {"labels": {"app.kubernetes.io/component": "gateway"}}}, "labels: "),
    (
        "a container to look in with",
        PodEphemeralcontainers,
        {"spec": {"ephemeralContainers": [LOOKING]}},
        "ephemeral-containers: none; found look",
    ),
)


@pytest.mark.parametrize(("kind", "change", "said"), [case[1:] for case in CHANGES], ids=[case[0] for case in CHANGES])
def test_a_running_engine_is_not_changed(
    cluster_api: Client,
    room: dict[str, str],
    admitted: dict[str, Any],
    kind: type[Pod],
    change: dict[str, Any],
    said: str,
) -> None:
    def patch(name: str, namespace: str) -> str | None:
        return refusal(
            lambda: cluster_api.patch(
                kind,
                name,
                copy.deepcopy(change),
                namespace=namespace,
                patch_type=PatchType.STRATEGIC,
                dry_run=True,
            )
        )

    running = next(iter(cluster_api.list(Pod, namespace="models", labels=dict(ENGINES))), None)
    assert running is not None and running.metadata is not None, "no engine runs in models"
    assert said in str(patch(str(running.metadata.name), "models"))
    free = admitted | {"spec": admitted["spec"] | {"nodeSelector": {"refusals": "nowhere"}}}
    if refusal(lambda: cluster_api.get(Pod, "refusals", namespace=room["open"])) is not None:
        create(cluster_api, free, room["open"])
    assert patch("refusals", room["open"]) is None


@pytest.mark.parametrize(("method", "way", "what"), WAYS_IN, ids=[f"{each[0]} {each[2]}" for each in WAYS_IN])
def test_nobody_steps_into_an_engine(
    cluster_api: Client, room: dict[str, str], method: str, way: str, what: str
) -> None:
    with raw(cluster_api) as http:
        name = "refusals-nobody"
        closed = http.request(method, f"/api/v1/namespaces/models/{way.format(name=name)}")
        unruled = http.request(method, f"/api/v1/namespaces/{room['open']}/{way.format(name=name)}")
    assert closed.status_code == 403
    assert f"way-in: {what} is closed in namespace models; the gateway is the only door" in closed.text
    assert unruled.status_code != 403, "without the policy it is refused as well, so the refusal proves nothing"


@pytest.mark.parametrize("namespace", ["models", "intake"])
@pytest.mark.parametrize(("change", "said"), [case[1:] for case in SERVICES], ids=[case[0] for case in SERVICES])
def test_no_service_opens_another_door(
    cluster_api: Client, room: dict[str, str], change: dict[str, Any], said: str, namespace: str
) -> None:
    spec = {"ports": [{"port": 8080}], "selector": ENGINES, **change}
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "refusals"}, "spec": spec}
    assert said in str(try_to_create(cluster_api, service, namespace))
    assert try_to_create(cluster_api, service, room["open"]) is None
