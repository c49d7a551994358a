"""What the platform's accounts may ask of the API server: exactly this, and nothing else.

The steward speaks with a real token of its own. What it may not do is tried, and tried again by the administrator as
a dry run: a request that nobody may make would prove nothing.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from lightkube import Client
from lightkube.models.authorization_v1 import (
    ResourceAttributes,
    SelfSubjectAccessReviewSpec,
    SelfSubjectRulesReviewSpec,
)
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.apps_v1 import Deployment
from lightkube.resources.authorization_v1 import SelfSubjectAccessReview, SelfSubjectRulesReview
from lightkube.resources.core_v1 import Pod

from tests.e2e.cluster_rooms import as_account, create, raw, try_to_create
from tests.e2e.steward_attempts import ATTEMPTS, Attempt
from tests.e2e.test_60_refusals import ENGINES, engine_pod
from tests.e2e.ways_around import FOREIGN

if TYPE_CHECKING:
    from tests.e2e.cluster_sandbox import Cluster

Rights = frozenset[tuple[str, str, str]]
"""(API group, resource, verb)."""


def rights(group: str, resources: str, verbs: str) -> Rights:
    return frozenset((group, resource, verb) for resource in resources.split() for verb in verbs.split())


WRITE = "get list watch create update patch delete"
EVERYBODY: Rights = rights(
    "authorization.k8s.io", "selfsubjectaccessreviews selfsubjectrulesreviews", "create"
) | rights("authentication.k8s.io", "selfsubjectreviews", "create")
"""What every account of every cluster may: ask what it may."""
NODES = rights("", "nodes", "get list") | rights("", "nodes/metrics", "get")
ENGINE_KEEPER: Rights = (
    rights("apps", "deployments", WRITE)
    | rights("batch", "jobs", WRITE)
    | rights("", "services", WRITE)
    | rights("", "pods events", "get list watch")
    | rights("", "pods/log", "get")
)
STEWARD_MAY: dict[str, Rights] = {
    "models": NODES | ENGINE_KEEPER,
    "intake": NODES | ENGINE_KEEPER,
    "sandbox": NODES | rights("", "pods events", "get list watch"),
    "kube-system": NODES,
    "default": NODES,
}
ASKED: Rights = (
    rights(
        "", "bindings configmaps endpoints events limitranges namespaces nodes nodes/metrics nodes/proxy", f"{WRITE} *"
    )
    | rights("", "persistentvolumeclaims persistentvolumes pods pods/attach pods/ephemeralcontainers", f"{WRITE} *")
    | rights("", "pods/exec pods/log pods/portforward pods/proxy pods/resize replicationcontrollers", f"{WRITE} *")
    | rights("", "resourcequotas secrets serviceaccounts serviceaccounts/token services services/proxy", f"{WRITE} *")
    | rights("", "users groups serviceaccounts", "impersonate")
    | rights("apps", "daemonsets deployments deployments/scale replicasets statefulsets", f"{WRITE} *")
    | rights("batch", "cronjobs jobs", f"{WRITE} *")
    | rights("networking.k8s.io", "ingresses networkpolicies", f"{WRITE} *")
    | rights(
        "rbac.authorization.k8s.io", "clusterrolebindings clusterroles rolebindings roles", f"{WRITE} bind escalate *"
    )
    | rights(
        "admissionregistration.k8s.io", "validatingadmissionpolicies validatingadmissionpolicybindings", f"{WRITE} *"
    )
    | rights("certificates.k8s.io", "certificatesigningrequests", f"{WRITE} *")
    | rights("discovery.k8s.io", "endpointslices", f"{WRITE} *")
    | rights("*", "*", "*")
)
"""What is asked for one by one, besides asking for the list: a list may leave something out and say so."""
OTHERS = (
    ("sandbox", "default"),
    ("models", "default"),
    ("intake", "default"),
    ("sandbox", "gateway"),
    ("sandbox", "page"),
)


@pytest.fixture(scope="module")
def admin(cluster: Cluster) -> Iterator[Client]:
    with cluster.another_connection().client as client:
        yield client


@pytest.fixture(scope="module")
def steward(admin: Client) -> Iterator[Client]:
    with as_account(admin, "sandbox", "steward") as client:
        yield client


def rights_in(client: Client, namespace: str) -> Rights:
    """Ask the API server for everything that an account may in a namespace, what every account may left out."""
    asked = SelfSubjectRulesReview(spec=SelfSubjectRulesReviewSpec(namespace=namespace))
    status = client.create(asked).status
    assert status is not None
    found: Rights = frozenset(
        (group, resource, verb)
        for rule in status.resourceRules
        for group in rule.apiGroups or []
        for resource in rule.resources or []
        for verb in rule.verbs
    )
    assert found >= EVERYBODY, "an answer without what everybody may is no answer"
    return found - EVERYBODY


@pytest.mark.parametrize("namespace", STEWARD_MAY)
def test_the_steward_may_exactly_this(steward: Client, namespace: str) -> None:
    assert rights_in(steward, namespace) == STEWARD_MAY[namespace]


@pytest.mark.parametrize("namespace", ["models", "sandbox", "kube-system"])
def test_the_steward_may_exactly_this_when_asked_one_by_one(steward: Client, namespace: str) -> None:
    def may(group: str, resource: str, verb: str) -> bool:
        name, _, part = resource.partition("/")
        asked = ResourceAttributes(group=group, namespace=namespace, resource=name, subresource=part or None, verb=verb)
        review = SelfSubjectAccessReview(
            metadata=ObjectMeta(), spec=SelfSubjectAccessReviewSpec(resourceAttributes=asked)
        )
        status = steward.create(review).status
        return status is not None and status.allowed

    assert frozenset(each for each in ASKED if may(*each)) == STEWARD_MAY[namespace]


@pytest.mark.parametrize(("namespace", "name"), OTHERS, ids=[f"{each[0]}/{each[1]}" for each in OTHERS])
def test_nobody_else_may_anything(admin: Client, namespace: str, name: str) -> None:
    with as_account(admin, namespace, name) as client:
        assert {where: rights_in(client, where) for where in STEWARD_MAY} == dict.fromkeys(STEWARD_MAY, frozenset())


def test_the_administrator_may_everything(admin: Client) -> None:
    assert ("*", "*", "*") in rights_in(admin, "models")


def test_only_the_stewards_pod_has_a_token(admin: Client) -> None:
    for namespace in ("sandbox", "models"):
        for pod in admin.list(Pod, namespace=namespace):
            labels = (pod.metadata and pod.metadata.labels) or {}
            is_steward = labels.get("app.kubernetes.io/component") == "steward"
            projected = [each.name for each in (pod.spec and pod.spec.volumes) or [] if each.projected]
            assert bool(projected) == is_steward, f"{pod.metadata}: {projected}"


@pytest.mark.parametrize("attempt", ATTEMPTS, ids=lambda attempt: attempt.name)
def test_the_steward_cannot(admin: Client, steward: Client, attempt: Attempt) -> None:
    with raw(steward) as http:
        refused = attempt.by(http)
    with raw(admin) as http:
        allowed = attempt.by(http)
    assert refused.status_code == 403
    message = refused.json()["message"]
    assert 'User "system:serviceaccount:sandbox:steward" cannot ' in message
    assert attempt.cannot in message
    assert "cannot" not in allowed.text, "the administrator may not either, so the refusal proves nothing"
    assert allowed.status_code in {200, 201, 403, 404}


def test_a_deployment_of_the_steward_gets_no_pod_that_the_rules_refuse(admin: Client, steward: Client) -> None:
    pod = engine_pod(admin)
    pod["spec"]["containers"][0]["image"] = FOREIGN
    labels = {**ENGINES, "app.kubernetes.io/instance": "refusals"}
    template = {"metadata": pod["metadata"] | {"labels": {"app.kubernetes.io/part-of": "sandbox", **labels}}}
    template["metadata"].pop("name")
    spec = {"selector": {"matchLabels": labels}, "template": {**template, "spec": pod["spec"]}}
    metadata = {"name": "refusals", "namespace": "models"}
    deployment = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}
    assert try_to_create(steward, deployment) is None
    create(steward, deployment)
    try:
        said = ""
        deadline = time.monotonic() + 30
        while FOREIGN not in said and time.monotonic() < deadline:
            status = steward.get(Deployment, "refusals", namespace="models").status
            said = " ".join(str(each.message) for each in (status and status.conditions) or [])
            time.sleep(0.2)
        assert f"images: {FOREIGN} is not on the list of reviewed images" in said
        assert list(steward.list(Pod, namespace="models", labels=dict(labels))) == []
    finally:
        steward.delete(Deployment, "refusals", namespace="models")
