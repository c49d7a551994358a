"""Throwaway namespaces of a real cluster, and clients that speak as one of its accounts."""

from __future__ import annotations

import copy
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
from lightkube import ApiError, Client, codecs
from lightkube.config import client_adapter
from lightkube.config.models import User
from lightkube.models.authentication_v1 import TokenRequestSpec
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.admissionregistration_v1 import ValidatingAdmissionPolicyBinding
from lightkube.resources.core_v1 import ServiceAccount, ServiceAccountToken
from lightkube.resources.node_v1 import RuntimeClass

POLICY = "models-only-reviewed"
TOKEN_S = 3600
HEARD_S = 30.0
"""How long the API server may take to hear of a new policy."""


def as_account(admin: Client, namespace: str, name: str) -> Client:
    """Speak as a service account, with a real token of its own."""
    spec = TokenRequestSpec(audiences=[], expirationSeconds=TOKEN_S)
    asked = ServiceAccountToken(metadata=ObjectMeta(), spec=spec)
    issued = admin.create(asked, name, namespace=namespace)
    assert issued.status is not None
    config = admin.config._replace(user=User(token=issued.status.token))
    return Client(config=config, trust_env=False)


def raw(client: Client) -> httpx2.Client:
    """Speak plain HTTP with the same rights, for what is no object: a way into a pod."""
    parameters = client_adapter.ConnectionParams(trust_env=False)
    return client_adapter.Client(client.config, parameters)


def refusal(act: Callable[[], object]) -> str | None:
    """Say why something was refused; nothing where it was not."""
    try:
        act()
    except ApiError as error:
        return str(error.status.message)
    return None


def create(client: Client, written: dict[str, Any], namespace: str | None = None, *, dry_run: bool = False) -> Any:
    """Make an object of any kind."""
    placed = copy.deepcopy(written)
    if namespace is not None:
        placed["metadata"]["namespace"] = namespace
    made: Any = codecs.from_dict(placed)  # of a kind that is known at run time only
    return client.create(made, dry_run=dry_run)


def try_to_create(client: Client, written: dict[str, Any], namespace: str | None = None) -> str | None:
    """Say why an object may not be made; it never is."""
    return refusal(lambda: create(client, written, namespace, dry_run=True))


@contextmanager
def rooms(admin: Client, bad: dict[str, Any]) -> Iterator[dict[str, str]]:
    """Make three namespaces without Pod Security, and remove them.

    ``guarded``: the admission policy alone. ``open``: nothing at all, the negative control. ``unlisted``: the policy
    with a list that does not exist.

    Args:
        bad: a pod that the policy refuses; the rooms are ready when it is.
    """
    suffix = secrets.token_hex(3)
    names = {room: f"refusals-{room}-{suffix}" for room in ("guarded", "open", "unlisted")}
    given = admin.get(ValidatingAdmissionPolicyBinding, POLICY).to_dict()["spec"]
    made: list[tuple[Any, str]] = []

    def make(written: dict[str, Any]) -> None:
        made.append((type(create(admin, written)), written["metadata"]["name"]))

    try:
        for name in names.values():
            make({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
            for account in ("default", "steward"):
                written = ServiceAccount(metadata=ObjectMeta(name=account, namespace=name))
                admin.apply(written, field_manager="refusals", force=True)
        for room, list_name in (("guarded", "reviewed"), ("unlisted", "nobody-wrote-this")):
            make(_binding(names[room], given, list_name))
        for runtime in ("nvidia", "refusals"):
            if refusal(lambda name=runtime: admin.get(RuntimeClass, name)) is not None:  # type: ignore[misc]  # bound now
                make(_runtime(runtime))
        deadline = time.monotonic() + HEARD_S
        while any(try_to_create(admin, bad, names[room]) is None for room in ("guarded", "unlisted")):
            assert time.monotonic() < deadline, f"the policy is not in force after {HEARD_S} s"
            time.sleep(0.2)
        yield names
    finally:
        for kind, name in reversed(made):
            admin.delete(kind, name)


def _binding(namespace: str, given: dict[str, Any], list_name: str) -> dict[str, Any]:
    """Bind the policy to a namespace, as it is bound to the models'."""
    where = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}}
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": namespace},
        "spec": given | {"matchResources": where, "paramRef": given["paramRef"] | {"name": list_name}},
    }


def _runtime(name: str) -> dict[str, Any]:
    return {"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": name}, "handler": name}
