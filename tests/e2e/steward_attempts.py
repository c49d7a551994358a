"""What the steward might wish for, as data: requests that the API server has to refuse for want of rights."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import httpx2

from tests.e2e.ways_around import FOREIGN

CORE, APPS, BATCH = "/api/v1", "/apis/apps/v1", "/apis/batch/v1"
RBAC, ADMISSION = "/apis/rbac.authorization.k8s.io/v1", "/apis/admissionregistration.k8s.io/v1"
EVERYTHING = [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]
STEWARD = {"kind": "ServiceAccount", "name": "steward", "namespace": "sandbox"}
ADMIN = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}


@dataclass(frozen=True)
class Attempt:
    """Something that the steward might wish for."""

    name: str
    method: str
    path: str
    cannot: str
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)

    def by(self, http: httpx2.Client) -> httpx2.Response:
        kind = "application/merge-patch+json" if self.method == "PATCH" else "application/json"
        separator = "&" if "?" in self.path else "?"
        path = self.path if self.method == "GET" else f"{self.path}{separator}dryRun=All"
        content = None if self.body is None else json.dumps(self.body)
        return http.request(self.method, path, content=content, headers={"Content-Type": kind, **self.headers})


def made(name: str = "refusals", **more: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, **more}


POD = {"containers": [{"name": "x", "image": FOREIGN}]}
TEMPLATE = {"metadata": {"labels": {"x": "y"}}, "spec": POD}
WORKLOAD = {"selector": {"matchLabels": {"x": "y"}}, "template": TEMPLATE}
VOLUME = {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/"}}
CLAIM = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
IN_MODELS, IN_SANDBOX = f"{CORE}/namespaces/models", f"{CORE}/namespaces/sandbox"
ATTEMPTS = (
    Attempt(
        "put an image on the list",
        "PATCH",
        f"{IN_MODELS}/configmaps/reviewed",
        'patch resource "configmaps"',
        {"data": {"images": FOREIGN}},
    ),
    Attempt(
        "soften the policy",
        "PATCH",
        f"{ADMISSION}/validatingadmissionpolicies/models-only-reviewed",
        'patch resource "validatingadmissionpolicies"',
        {"spec": {"failurePolicy": "Ignore"}},
    ),
    Attempt(
        "remove the policy",
        "DELETE",
        f"{ADMISSION}/validatingadmissionpolicies/models-only-reviewed",
        'delete resource "validatingadmissionpolicies"',
    ),
    Attempt(
        "unbind the policy",
        "DELETE",
        f"{ADMISSION}/validatingadmissionpolicybindings/models-only-reviewed",
        'delete resource "validatingadmissionpolicybindings"',
    ),
    Attempt(
        "change pods on their way in",
        "POST",
        f"{ADMISSION}/mutatingwebhookconfigurations",
        'create resource "mutatingwebhookconfigurations"',
        made(),
    ),
    Attempt(
        "switch Pod Security off",
        "PATCH",
        f"{CORE}/namespaces/models",
        'patch resource "namespaces"',
        {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "privileged"}}},
    ),
    Attempt("write a role", "POST", f"{RBAC}/namespaces/models/roles", '"roles"', made(rules=EVERYTHING)),
    Attempt(
        "bind a role",
        "POST",
        f"{RBAC}/namespaces/models/rolebindings",
        'create resource "rolebindings"',
        made(roleRef=ADMIN, subjects=[STEWARD]),
    ),
    Attempt(
        "become administrator",
        "POST",
        f"{RBAC}/clusterrolebindings",
        'create resource "clusterrolebindings"',
        made(roleRef=ADMIN, subjects=[STEWARD]),
    ),
    Attempt(
        "widen its own role",
        "PATCH",
        f"{RBAC}/clusterroles/sandbox-engine-keeper",
        'patch resource "clusterroles"',
        {"rules": EVERYTHING},
    ),
    Attempt(
        "be somebody else",
        "GET",
        f"{IN_MODELS}/pods",
        'impersonate resource "users"',
        headers={"Impersonate-User": "somebody", "Impersonate-Group": "system:masters"},
    ),
    Attempt(
        "take another account's token",
        "POST",
        f"{IN_MODELS}/serviceaccounts/default/token",
        'create resource "serviceaccounts/token"',
        {"spec": {"audiences": []}},
    ),
    Attempt("read the engines' key", "GET", f"{IN_MODELS}/secrets/engine-key", 'get resource "secrets"'),
    Attempt("list the platform's secrets", "GET", f"{IN_SANDBOX}/secrets", 'list resource "secrets"'),
    Attempt("write a secret", "POST", f"{IN_MODELS}/secrets", 'create resource "secrets"', made()),
    Attempt("make a pod", "POST", f"{IN_SANDBOX}/pods", 'create resource "pods"', made(spec=POD)),
    Attempt("remove pods", "DELETE", f"{IN_MODELS}/pods", 'deletecollection resource "pods"'),
    Attempt("run a command in an engine", "GET", f"{IN_MODELS}/pods/x/exec?command=id", 'get resource "pods/exec"'),
    Attempt(
        "change the gateway",
        "PATCH",
        f"{APPS}/namespaces/sandbox/deployments/gateway",
        'patch resource "deployments"',
        {"spec": {"replicas": 0}},
    ),
    Attempt(
        "deploy beside the platform",
        "POST",
        f"{APPS}/namespaces/kube-system/deployments",
        'create resource "deployments"',
        made(spec=WORKLOAD),
    ),
    Attempt(
        "run on every node",
        "POST",
        f"{APPS}/namespaces/models/daemonsets",
        'create resource "daemonsets"',
        made(spec=WORKLOAD),
    ),
    Attempt(
        "run again and again",
        "POST",
        f"{BATCH}/namespaces/models/cronjobs",
        'create resource "cronjobs"',
        made(
            spec={
                "schedule": "* * * * *",
                "jobTemplate": {"spec": {"template": {"spec": {**POD, "restartPolicy": "Never"}}}},
            }
        ),
    ),
    Attempt(
        "open the network",
        "DELETE",
        "/apis/networking.k8s.io/v1/namespaces/models/networkpolicies/default-deny",
        'delete resource "networkpolicies"',
    ),
    Attempt(
        "send the gateway elsewhere",
        "POST",
        f"{IN_MODELS}/endpoints",
        'create resource "endpoints"',
        made(subsets=[{"addresses": [{"ip": "192.0.2.1"}], "ports": [{"port": 8080}]}]),
    ),
    Attempt(
        "raise the quota",
        "PATCH",
        f"{IN_MODELS}/resourcequotas/models",
        'patch resource "resourcequotas"',
        {"spec": {"hard": {"pods": "1000"}}},
    ),
    Attempt(
        "make a volume of the node's root",
        "POST",
        f"{CORE}/persistentvolumes",
        'create resource "persistentvolumes"',
        made(spec=VOLUME),
    ),
    Attempt(
        "claim a volume",
        "POST",
        f"{CORE}/namespaces/default/persistentvolumeclaims",
        'create resource "persistentvolumeclaims"',
        made(spec=CLAIM),
    ),
    Attempt("ask a kubelet for anything", "GET", f"{CORE}/nodes/x/proxy/pods", 'get resource "nodes/proxy"'),
)
