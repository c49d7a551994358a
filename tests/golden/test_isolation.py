"""What the policy agent tells the kernel, read as a whole: a changed rule is a changed promise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sandbox.isolation import deny_all
from tests.unit.isolation.reference import World
from tests.unit.isolation.worlds import namespace, pod, policy, rendered

FOLDER = Path(__file__).parent
GATEWAY, ENGINE = ({"app.kubernetes.io/component": name} for name in ("gateway", "engine"))
BOTH = {"policyTypes": ["Ingress", "Egress"]}


def to(namespace: str, labels: dict[str, str]) -> list[dict[str, Any]]:
    names = {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
    return [{"namespaceSelector": names, "podSelector": {"matchLabels": labels}}]


SANDBOX = World(
    pods=[
        pod("sandbox", "gateway-1", "10.244.0.5", GATEWAY, {"name": "http", "containerPort": 8502}),
        pod("models", "engine-1", "10.244.0.6", ENGINE, {"name": "http", "containerPort": 8080}),
        pod("models", "engine-2", "10.244.0.7", ENGINE, {"name": "http", "containerPort": 8080}),
        pod("kube-system", "coredns-1", "10.244.0.2", {"k8s-app": "kube-dns"}, {"name": "dns", "containerPort": 53}),
    ],
    namespaces=[namespace(name) for name in ("sandbox", "models", "kube-system")],
    policies=[
        policy("models", "deny", {"podSelector": {}, **BOTH}),
        policy("sandbox", "deny", {"podSelector": {}, **BOTH}),
        policy(
            "models",
            "engine",
            {
                "podSelector": {"matchLabels": ENGINE},
                "policyTypes": ["Ingress"],
                "ingress": [{"from": to("sandbox", GATEWAY), "ports": [{"port": "http"}]}],
            },
        ),
        policy(
            "sandbox",
            "gateway",
            {
                "podSelector": {"matchLabels": GATEWAY},
                **BOTH,
                "ingress": [
                    {
                        "from": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": ["10.244.0.0/16"]}}],
                        "ports": [{"port": 8502}],
                    }
                ],
                "egress": [
                    {"to": to("models", ENGINE), "ports": [{"port": "http"}]},
                    {
                        "to": to("kube-system", {"k8s-app": "kube-dns"}),
                        "ports": [{"port": 53, "protocol": "UDP"}, {"port": 53}],
                    },
                ],
            },
        ),
        policy("models", "newer", {"podSelector": {"matchLabels": {"not": "there"}}, "unheardOf": True}),
    ],
)


def test_the_rules_of_a_small_sandbox() -> None:
    assert rendered(SANDBOX) == (FOLDER / "isolation_sandbox.nft").read_text(encoding="utf-8")


def test_the_rules_before_the_policies_are_known() -> None:
    assert deny_all(["10.244.0.0/16"]) == (FOLDER / "isolation_deny.nft").read_text(encoding="utf-8")
