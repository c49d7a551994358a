"""The policy agent as the cluster sees it: its objects, and whether it is there and at work."""

from __future__ import annotations

from typing import Any

from lightkube import ApiError
from lightkube.resources.apps_v1 import DaemonSet

from sandbox.cluster import recipes
from sandbox.cluster.api import COMPONENT, Kube
from sandbox.errors import ClusterFailed

NAMESPACE = "kube-system"
NAME = "sandbox-agent"
LABELS = {COMPONENT: "agent"}
IMAGE = "sandbox/agent"


def objects(image: str, *, pod_cidr: str) -> list[dict[str, Any]]:
    """Read the agent's objects and fill in its image and the pods' addresses."""
    found = recipes.objects("agent")
    for each in found:
        if each["kind"] == "DaemonSet":
            for container in each["spec"]["template"]["spec"]["containers"]:
                container["image"] = image if container["image"] == IMAGE else container["image"]
                container["args"] = [*container.get("args", []), "--pod-cidr", pod_cidr]
    return found


def is_ready(kube: Kube) -> bool:
    """Say whether the agent is at work on every node.

    Raises:
        ClusterFailed: the API does not answer.
    """
    try:
        status = kube.client.get(DaemonSet, NAME, namespace=NAMESPACE).status
    except ApiError as error:
        if error.status.code == 404:
            return False
        raise ClusterFailed(f"reading the policy agent: {error.status.message}", hint="sandbox status") from error
    return bool(status and status.desiredNumberScheduled and status.numberReady == status.desiredNumberScheduled)
