"""Plan → the Kubernetes objects of one engine; pure.

What is written here is, word for word, what the admission policy of the models' namespace admits
(``clusters/platform``): a change on one side needs the same change on the other.

The pod holds one model and one engine. Before it starts, ``verify`` reads the whole file and compares its digest with
the reviewed one; an engine that ends is started again on the same mapped file, a new pod is verified anew. Nothing
is passed in variables: llama-server takes a flag from each ``LLAMA_ARG_…``, past the reviewed list.

A CUDA device comes by NVIDIA's runtime class and device plugin. For Vulkan there is no such standard: the node's
container runtime has to hand the render device to every container by itself, since a pod that may mount no folder of
its host cannot ask for one.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Literal

from sandbox.engine.arguments import EVERYWHERE, Serving, llama_server
from sandbox.facts import ModelCard
from sandbox.plan import EnginePlan
from sandbox.units import MIB

NAMESPACE = "models"
PORT = 8080
USER_ID = 65532
MODELS = Path("/models")
KEY_FILE = Path("/secrets/engine-key/key")
PRIORITY = "sandbox-engine"
MANAGER = "sandbox-steward"

PART_OF = "app.kubernetes.io/part-of"
COMPONENT = "app.kubernetes.io/component"
INSTANCE = "app.kubernetes.io/instance"
MANAGED_BY = "app.kubernetes.io/managed-by"
SPEC = "sandbox/spec"
"""Annotation with the digest of everything that was asked for: another digest, another engine."""

VERIFY = 'printf "%s  %s\\n" "$1" "$2" | sha256sum --check --quiet --strict'
"""Told the digest and the file as arguments, so that the script is the same for every model."""
THREAD_MILLICORES = 500
"""Asked for each thread: half a core is kept for it when others want it too. There is no limit: idle cores would stay
idle, and a limit stops every thread in the middle of a layer, while the others spin and wait for it."""
TMP_MIB = 16
GRACE_S = 5
"""An engine that is told to end has nothing to save; streams end as broken, and say so."""
LOADING_S = 600
"""How long a large file on a slow disk may take to load before the engine is started over."""

ClusterAccelerator = Literal["cpu", "cuda", "vulkan"]
Object = dict[str, Any]


def engine_objects(
    card: ModelCard,
    plan: EnginePlan,
    *,
    image: str,
    accelerator: ClusterAccelerator = "cpu",
    namespace: str = NAMESPACE,
    key_id: str = "",
) -> list[Object]:
    """Write the Deployment and the Service of one engine.

    Args:
        image: the engine's image by digest; its entry point is llama-server, and it has sha256sum.
        key_id: names the engines' key without telling it, so that another key makes another pod.
    """
    labels = labels_of(card.id)
    selector = {COMPONENT: labels[COMPONENT], INSTANCE: labels[INSTANCE]}
    metadata = {"name": name_of(card.id), "namespace": namespace, "labels": labels}
    told = {"sandbox/model": card.id, "sandbox/model-sha256": card.sha256, "sandbox/engine-key": key_id}
    template = {
        "metadata": {"labels": labels, "annotations": told},
        "spec": _pod(card, plan, image=image, accelerator=accelerator),
    }
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata,
        "spec": {
            "replicas": 1,
            "revisionHistoryLimit": 1,
            # two engines of one model at once would need twice the memory
            "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": selector},
            "template": template,
        },
    }
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata,
        "spec": {
            "type": "ClusterIP",
            "selector": selector,
            "ports": [{"name": "http", "port": PORT, "targetPort": PORT, "protocol": "TCP"}],
        },
    }
    return _marked(deployment, service)


def name_of(model_id: str) -> str:
    """Name the objects of a model's engine; a dot has no place in the name of a Service."""
    return f"engine-{model_id.replace('.', '-')}"


def labels_of(model_id: str) -> dict[str, str]:
    """Write what the objects of a model's engine are found and let through by."""
    return {PART_OF: "sandbox", COMPONENT: "engine", INSTANCE: model_id, MANAGED_BY: MANAGER}


def spec_of(objects: list[Object]) -> str:
    """Read the digest of everything that was asked for."""
    return str(objects[0]["metadata"]["annotations"][SPEC])


def _marked(deployment: Object, service: Object) -> list[Object]:
    """Write the digest of both objects on the deployment and on its pods."""
    canonical = json.dumps([deployment, service], sort_keys=True, separators=(",", ":"))
    mark = {SPEC: hashlib.sha256(canonical.encode()).hexdigest()[:16]}
    template = deployment["spec"]["template"]
    told = template["metadata"] | {"annotations": template["metadata"]["annotations"] | mark}
    spec = deployment["spec"] | {"template": template | {"metadata": told}}
    return [deployment | {"metadata": deployment["metadata"] | {"annotations": mark}, "spec": spec}, service]


def _pod(card: ModelCard, plan: EnginePlan, *, image: str, accelerator: ClusterAccelerator) -> Object:
    pod: Object = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "priorityClassName": PRIORITY,
        "terminationGracePeriodSeconds": GRACE_S,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER_ID,
            "runAsGroup": USER_ID,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "initContainers": [_verify(card, plan, image)],
        "containers": [_engine(card, plan, image, accelerator)],
        "volumes": [
            {"name": "models", "persistentVolumeClaim": {"claimName": "models", "readOnly": True}},
            # readable for everybody, because its files belong to root and there is nobody else in this pod
            {"name": "engine-key", "secret": {"secretName": "engine-key", "defaultMode": 0o444}},
            {"name": "tmp", "emptyDir": {"sizeLimit": f"{TMP_MIB}Mi"}},
        ],
    }
    return pod | ({"runtimeClassName": "nvidia"} if accelerator == "cuda" else {})


def _verify(card: ModelCard, plan: EnginePlan, image: str) -> Object:
    return {
        "name": "verify",
        "image": image,
        "command": ["/bin/sh", "-c", VERIFY, "verify", card.sha256, str(_file_of(card))],
        # as much as the engine, which costs nothing: one runs after the other, and the file stays in memory for it
        "resources": _resources(plan, "cpu"),
        "volumeMounts": [_mount("models", MODELS)],
        **_common(),
    }


def _engine(card: ModelCard, plan: EnginePlan, image: str, accelerator: ClusterAccelerator) -> Object:
    serving = Serving(_file_of(card), card.id, PORT, KEY_FILE, host=EVERYWHERE)
    return {
        "name": "engine",
        "image": image,
        "args": list(llama_server(plan, serving)),
        "ports": [{"name": "http", "containerPort": PORT, "protocol": "TCP"}],
        "resources": _resources(plan, accelerator),
        "volumeMounts": [
            _mount("models", MODELS),
            _mount("engine-key", KEY_FILE.parent),
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108  # the pod's own, and empty
        ],
        "startupProbe": _probe(period_s=1, timeout_s=2, failures=LOADING_S),
        # every second, so that a new engine takes questions at once; patient, since a busy one answers late
        "readinessProbe": _probe(period_s=1, timeout_s=3, failures=5),
        "livenessProbe": _probe(period_s=30, timeout_s=10, failures=3),
        **_common(),
    }


def _common() -> Object:
    return {
        "imagePullPolicy": "IfNotPresent",
        # the end of the log becomes part of the pod's state: why it ended is known without asking for the log
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }


def _file_of(card: ModelCard) -> Path:
    return MODELS / f"sha256-{card.sha256}"


def _mount(volume: str, path: Path) -> Object:
    return {"name": volume, "mountPath": str(path), "readOnly": True}


def _resources(plan: EnginePlan, accelerator: ClusterAccelerator) -> Object:
    memory = f"{plan.memory_bytes // MIB}Mi"
    gpu = {"nvidia.com/gpu": "1"} if accelerator == "cuda" else {}
    return {
        "requests": {"cpu": f"{plan.threads * THREAD_MILLICORES}m", "memory": memory},
        "limits": {"memory": memory, **gpu},
    }


def _probe(*, period_s: int, timeout_s: int, failures: int) -> Object:
    return {
        "httpGet": {"path": "/health", "port": PORT},
        "periodSeconds": period_s,
        "timeoutSeconds": timeout_s,
        "failureThreshold": failures,
    }
