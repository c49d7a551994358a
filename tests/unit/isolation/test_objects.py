"""The agent's own objects: no more rights than it uses, and what the cluster's part looks for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from sandbox.isolation.__main__ import _parser

FOLDER = Path(__file__).parents[3] / "clusters" / "agent"
LISTED = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())["resources"]
OBJECTS: list[dict[str, Any]] = [each for file in LISTED for each in yaml.safe_load_all((FOLDER / file).read_text())]


def of(kind: str) -> list[dict[str, Any]]:
    return [each for each in OBJECTS if each["kind"] == kind]


POD: dict[str, Any] = of("DaemonSet")[0]["spec"]["template"]["spec"]
(CONTAINER,) = POD["containers"]


def test_every_file_is_listed() -> None:
    assert sorted(LISTED) == sorted(path.name for path in FOLDER.glob("*.yaml") if path.name != "kustomization.yaml")


def test_it_may_only_read_and_only_what_it_needs() -> None:
    rules = [rule for kind in ("Role", "ClusterRole") for each in of(kind) for rule in each["rules"]]
    assert {verb for rule in rules for verb in rule["verbs"]} == {"get", "list", "watch"}
    assert {name for rule in rules for name in rule["resources"]} == {
        "pods",
        "namespaces",
        "networkpolicies",
        "daemonsets",
    }
    (own,) = of("Role")
    assert own["rules"] == [
        {"apiGroups": ["apps"], "resources": ["daemonsets"], "resourceNames": ["sandbox-agent"], "verbs": ["get"]}
    ]


def test_it_has_one_capability_and_cannot_write() -> None:
    assert CONTAINER["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN"]},
        "privileged": False,
        "readOnlyRootFilesystem": True,
    }
    assert "volumes" not in POD
    assert not POD.get("hostPID")


def test_it_runs_on_every_node_and_outlives_others() -> None:
    assert POD["hostNetwork"] is True
    assert POD["tolerations"] == [{"operator": "Exists"}]
    assert POD["priorityClassName"] == "system-node-critical"


def test_its_arguments_are_ones_it_knows() -> None:
    assert CONTAINER["command"] == ["python3", "-m", "sandbox.isolation"]
    known = _parser().parse_args([*CONTAINER["args"], "--pod-cidr", "10.244.0.0/16"])
    assert known.daemonset == "kube-system/" + of("DaemonSet")[0]["metadata"]["name"]
    probes = [CONTAINER[name]["httpGet"] for name in ("startupProbe", "livenessProbe", "readinessProbe")]
    assert {(probe["host"], probe["port"]) for probe in probes} == {("127.0.0.1", known.health_port)}
    assert CONTAINER["readinessProbe"]["httpGet"]["path"] == "/healthz"
