from __future__ import annotations

import copy
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import yaml

from sandbox.cluster import recipes
from sandbox.cluster.platform import (
    SETTINGS_SHA256,
    ApiServer,
    Filling,
    Object,
    objects,
    settings_sha256,
    volumes_to_forget,
)
from sandbox.engine import arguments, manifests

FILLING = Filling(
    images={name: f"docker.io/sandbox/{name}@sha256:{'1' * 64}" for name in ("gateway", "page", "engine")},
    api_servers=[ApiServer("172.18.0.2", 6443)],
    node_addresses=["172.18.0.2"],
    pod_cidrs=["10.244.0.0/16"],
    settings={"SANDBOX_PAGE_PORT": "18501"},
)
FOLDER = recipes.folder() / "platform"
NAMESPACES = {"sandbox", "models", "intake"}
COMPONENT = "app.kubernetes.io/component"


def of_kind(kind: str, found: list[Object] | None = None) -> list[Object]:
    return [each for each in (objects(FILLING) if found is None else found) if each["kind"] == kind]


def one(kind: str, name: str, found: list[Object] | None = None) -> Object:
    (each,) = (each for each in of_kind(kind, found) if each["metadata"]["name"] == name)
    return each


# What every pod of the platform must be.


def faults(pod: dict[str, Any], *, has_token: bool) -> list[str]:
    """List everything in which a pod is not as it must be."""
    security = pod.get("securityContext", {})
    checks: dict[str, bool] = {
        "token": pod.get("automountServiceAccountToken") is has_token,
        "account": pod.get("serviceAccountName", "default") != "default",
        "links": pod.get("enableServiceLinks") is False,
        "priority": pod.get("priorityClassName") == "sandbox-platform",
        "grace": 0 < pod.get("terminationGracePeriodSeconds", 30) < 30,
        "user": bool(security.get("runAsUser")) and security.get("runAsNonRoot") is True,
        "group": bool(security.get("runAsGroup")),
        "seccomp": security.get("seccompProfile") == {"type": "RuntimeDefault"},
        "host": not any(pod.get(name) for name in ("hostNetwork", "hostPID", "hostIPC", "hostAliases", "nodeName")),
        "volumes": all(_is_plain_volume(volume) for volume in pod.get("volumes", [])),
        "containers": not pod.get("initContainers"),
    }
    for container in pod["containers"]:
        checks |= {f"{container['name']} {name}": good for name, good in _container_checks(container).items()}
    return [name for name, good in checks.items() if not good]


def _is_plain_volume(volume: dict[str, Any]) -> bool:
    (kind,) = volume.keys() - {"name"}
    if kind == "configMap":
        return volume[kind]["name"] in {"kubelet-ca", "isolation"}
    return kind in {"persistentVolumeClaim", "secret"} or (kind == "emptyDir" and "sizeLimit" in volume[kind])


def _container_checks(container: dict[str, Any]) -> dict[str, bool]:
    security, resources = container.get("securityContext", {}), container.get("resources", {})
    probes = [container.get(f"{name}Probe", {}) for name in ("startup", "readiness", "liveness")]
    mounts = {mount["mountPath"]: mount for mount in container.get("volumeMounts", [])}
    return {
        "image": "@sha256:" in container["image"] and container.get("imagePullPolicy") == "IfNotPresent",
        "escalation": security.get("allowPrivilegeEscalation") is False and security.get("privileged") is False,
        "capabilities": security.get("capabilities") == {"drop": ["ALL"]},
        "root": security.get("readOnlyRootFilesystem") is True,
        "limits": {"cpu", "memory", "ephemeral-storage"}
        <= resources.get("limits", {}).keys() & resources.get("requests", {}).keys(),
        "probes": all("httpGet" in probe and probe["timeoutSeconds"] > 1 for probe in probes),
        "quick": all(probe.get("periodSeconds", 10) <= 2 for probe in probes[:2]),
        "tmp": "/tmp" in mounts,
        "secrets": all(mount.get("readOnly") for path, mount in mounts.items() if path.startswith("/secrets/")),
        "variables": not any("secret" in str(each).lower() for each in container.get("env", [])),
    }


@pytest.mark.parametrize("name", ["gateway", "steward", "page"])
def test_every_pod_passes_the_checklist(name: str) -> None:
    pod = one("Deployment", name)["spec"]["template"]["spec"]
    assert faults(pod, has_token=name == "steward") == []


SPOILT: list[tuple[str, Callable[[dict[str, Any]], object]]] = [
    ("token", lambda pod: pod.update(automountServiceAccountToken=True)),
    ("account", lambda pod: pod.pop("serviceAccountName")),
    ("links", lambda pod: pod.pop("enableServiceLinks")),
    ("priority", lambda pod: pod.pop("priorityClassName")),
    ("grace", lambda pod: pod.pop("terminationGracePeriodSeconds")),
    ("user", lambda pod: pod["securityContext"].update(runAsUser=0)),
    ("group", lambda pod: pod["securityContext"].pop("runAsGroup")),
    ("seccomp", lambda pod: pod["securityContext"].pop("seccompProfile")),
    ("host", lambda pod: pod.update(hostNetwork=True)),
    ("volumes", lambda pod: pod["volumes"].append({"name": "x", "hostPath": {"path": "/"}})),
    ("volumes", lambda pod: pod["volumes"].append({"name": "x", "emptyDir": {}})),
    ("containers", lambda pod: pod.update(initContainers=[{"name": "x"}])),
    ("gateway image", lambda pod: pod["containers"][0].update(image="sandbox/gateway:1")),
    ("gateway escalation", lambda pod: pod["containers"][0]["securityContext"].pop("allowPrivilegeEscalation")),
    ("gateway capabilities", lambda pod: pod["containers"][0]["securityContext"].pop("capabilities")),
    ("gateway root", lambda pod: pod["containers"][0]["securityContext"].pop("readOnlyRootFilesystem")),
    ("gateway limits", lambda pod: pod["containers"][0]["resources"]["limits"].pop("memory")),
    ("gateway probes", lambda pod: pod["containers"][0]["livenessProbe"].pop("httpGet")),
    ("gateway quick", lambda pod: pod["containers"][0]["startupProbe"].update(periodSeconds=10)),
    ("gateway secrets", lambda pod: pod["containers"][0]["volumeMounts"][1].pop("readOnly")),
    ("gateway variables", lambda pod: pod["containers"][0]["env"].append({"valueFrom": {"secretKeyRef": {}}})),
]


@pytest.mark.parametrize(("fault", "spoil"), SPOILT)
def test_the_checklist_sees_a_fault(fault: str, spoil: Callable[[dict[str, Any]], object]) -> None:
    pod = copy.deepcopy(one("Deployment", "gateway")["spec"]["template"]["spec"])
    spoil(pod)
    assert faults(pod, has_token=False) == [fault]


# The files.


def test_the_kustomization_lists_every_file() -> None:
    listed = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())["resources"]
    assert sorted(listed) == sorted(path.name for path in FOLDER.glob("*.yaml") if path.name != "kustomization.yaml")


def test_rules_come_before_what_they_rule_and_quotas_last() -> None:
    order = list(dict.fromkeys(each["kind"] for each in objects(FILLING)))
    first = ["Namespace", "PriorityClass", "ConfigMap", "ValidatingAdmissionPolicy"]
    assert order[:4] == first
    assert order.index("NetworkPolicy") < order.index("Deployment") < order.index("ResourceQuota")
    assert objects(FILLING)[-1]["kind"] == "ResourceQuota"


def test_no_secret_and_no_latest_is_written_anywhere() -> None:
    assert of_kind("Secret") == []
    for path in FOLDER.glob("*.yaml"):
        assert "latest" not in path.read_text(), path


def test_every_object_says_what_it_is_part_of() -> None:
    for each in objects(FILLING):
        if each["metadata"]["name"] != "default":  # the accounts that every namespace has
            assert each["metadata"]["labels"]["app.kubernetes.io/part-of"] == "sandbox", each["metadata"]


def test_pod_security_is_restricted_in_one_pinned_version() -> None:
    for namespace in of_kind("Namespace"):
        labels = namespace["metadata"]["labels"]
        for mode in ("enforce", "warn", "audit"):
            assert labels[f"pod-security.kubernetes.io/{mode}"] == "restricted"
            assert re.fullmatch(r"v1\.\d+", labels[f"pod-security.kubernetes.io/{mode}-version"])
    assert {each["metadata"]["name"] for each in of_kind("Namespace")} == NAMESPACES


def test_only_the_steward_is_bound_and_nothing_by_wildcard() -> None:
    for binding in of_kind("RoleBinding") + of_kind("ClusterRoleBinding"):
        assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "steward", "namespace": "sandbox"}]
    for role in of_kind("Role") + of_kind("ClusterRole"):
        for rule in role["rules"]:
            assert "*" not in rule["apiGroups"] + rule["resources"] + rule["verbs"]
            assert not {"secrets", "configmaps", "nodes/proxy", "pods/exec"} & set(rule["resources"])
    for account in of_kind("ServiceAccount"):
        assert account["automountServiceAccountToken"] is False


# Who may reach whom.

OUTSIDE = "outside"
WAYS = {
    ("in", "sandbox page", OUTSIDE, 8501),
    ("in", "sandbox gateway", OUTSIDE, 8502),
    ("in", "sandbox gateway", "sandbox page", 8502),
    ("in", "sandbox steward", "sandbox gateway", 8503),
    ("in", "models engine", "sandbox gateway", 8080),
    ("out", "sandbox page", "sandbox gateway", 8502),
    ("out", "sandbox gateway", "models engine", 8080),
    ("out", "sandbox gateway", "sandbox steward", 8503),
    ("out", "sandbox steward", "172.18.0.2/32", 6443),
    ("out", "sandbox steward", "172.18.0.2/32", 10250),
    *(("out", f"sandbox {name}", "kube-system kube-dns", 53) for name in ("gateway", "page", "steward")),
}


def ways(found: list[Object]) -> set[tuple[str, str, str, int]]:
    """Read all network policies as: direction, who, with whom, on which port."""
    written: set[tuple[str, str, str, int]] = set()
    for policy in of_kind("NetworkPolicy", found):
        namespace, spec = policy["metadata"]["namespace"], policy["spec"]
        for direction, key, peers in (("in", "ingress", "from"), ("out", "egress", "to")):
            for rule in spec.get(key, []):
                written |= {
                    (direction, who, whom, port["port"])
                    for who in _names(spec["podSelector"], namespace)
                    for peer in rule[peers]
                    for whom in _peer(peer, namespace)
                    for port in rule["ports"]
                }
    return written


def _peer(peer: dict[str, Any], namespace: str) -> list[str]:
    if "ipBlock" in peer:
        return [OUTSIDE if peer["ipBlock"].get("except") else peer["ipBlock"]["cidr"]]
    labels = peer.get("namespaceSelector", {}).get("matchLabels", {"kubernetes.io/metadata.name": namespace})
    return _names(peer["podSelector"], labels["kubernetes.io/metadata.name"])


def _names(selector: dict[str, Any], namespace: str) -> list[str]:
    labels = selector.get("matchLabels", {})
    named = [labels[key] for key in (COMPONENT, "k8s-app") if key in labels]
    for expression in selector.get("matchExpressions", []):
        named += expression["values"]
    return [f"{namespace} {name}" for name in named]


def test_exactly_these_ways_are_open() -> None:
    assert ways(objects(FILLING)) == WAYS


def test_everything_else_is_closed_in_every_namespace() -> None:
    for namespace in NAMESPACES:
        (denied,) = (
            each
            for each in of_kind("NetworkPolicy")
            if each["metadata"] == {**each["metadata"], "name": "default-deny", "namespace": namespace}
        )
        assert denied["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


def test_no_rule_is_open_for_want_of_peers_or_ports() -> None:
    for policy in of_kind("NetworkPolicy"):
        for rule in policy["spec"].get("ingress", []):
            assert rule["from"] and rule["ports"]
        for rule in policy["spec"].get("egress", []):
            assert rule["to"] and rule["ports"]


# What admission and the engine's manifests have to agree on.


def variable(name: str) -> str:
    spec = one("ValidatingAdmissionPolicy", "models-only-reviewed")["spec"]
    (found,) = (each["expression"] for each in spec["variables"] if each["name"] == name)
    return str(found)


def test_admission_knows_the_engines_flags() -> None:
    listed = [
        flag
        for name in ("bareFlags", "numberFlags", "wordFlags", "fixedFlags")
        for flag in re.findall(r"'(--[a-z-]+)'", variable(name))
    ]
    assert sorted(listed) == sorted(arguments.ALLOWED)


def test_admission_knows_how_the_model_is_verified() -> None:
    script = manifests.VERIFY.replace("\\", "\\\\")
    (rule,) = (
        each["expression"]
        for each in one("ValidatingAdmissionPolicy", "models-only-reviewed")["spec"]["validations"]
        if "sha256sum" in each["expression"]
    )
    assert f"'{script}'" in rule


def test_admission_fails_closed() -> None:
    for policy in of_kind("ValidatingAdmissionPolicy"):
        assert policy["spec"]["failurePolicy"] == "Fail"
        (binding,) = (
            each
            for each in of_kind("ValidatingAdmissionPolicyBinding")
            if each["spec"]["policyName"] == policy["metadata"]["name"]
        )
        assert binding["spec"]["validationActions"] == ["Deny"]
        if "paramKind" in policy["spec"]:
            assert binding["spec"]["paramRef"]["parameterNotFoundAction"] == "Deny"


# What is filled in.


def test_nothing_may_run_unless_it_is_listed() -> None:
    assert one("ConfigMap", "reviewed")["data"] == {"images": "", "models": ""}


def test_settings_are_merged_and_a_change_makes_new_pods() -> None:
    data = one("ConfigMap", "settings")["data"]
    assert data["SANDBOX_PAGE_PORT"] == "18501"
    assert data["SANDBOX_API_PORT"] == "8502"

    def marks(filling: Filling) -> set[str]:
        found = of_kind("Deployment", objects(filling))
        return {each["spec"]["template"]["metadata"]["annotations"][SETTINGS_SHA256] for each in found}

    assert marks(FILLING) == {settings_sha256(data)}
    assert marks(FILLING) != marks(replace(FILLING, settings={"SANDBOX_PAGE_PORT": "18502"}))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"images": {"page": "x@sha256:1"}}, "the image sandbox/gateway has no digest"),
        ({"images": {"gateway": "sandbox/gateway:latest", "page": "x@sha256:1"}}, "has no digest"),
        ({"api_servers": []}, "addresses of the API servers are not known"),
        ({"node_addresses": []}, "no address for port 10250"),
        ({"pod_cidrs": []}, "addresses of pods are not known"),
        ({"pod_cidrs": ["pods"]}, "'pods' does not appear to be an IPv4 or IPv6 network"),
    ],
)
def test_objects_are_refused_when_something_is_not_known(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        objects(replace(FILLING, **changes))


def test_a_released_volume_has_to_go_first() -> None:
    there = [
        {"metadata": {"name": "sandbox-models"}, "status": {"phase": "Released"}},
        {"metadata": {"name": "sandbox-state"}, "status": {"phase": "Bound"}},
        {"metadata": {"name": "somebody-elses"}, "status": {"phase": "Released"}},
    ]
    assert volumes_to_forget(there) == ["sandbox-models"]
