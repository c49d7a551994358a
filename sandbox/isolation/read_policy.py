"""Reads a NetworkPolicy, closed: what is not understood isolates and lets nothing through."""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictInt, StrictStr, ValidationError, model_validator

from sandbox.isolation.model import BlockPeer, PodPeer, Policy, PortName, PortRange, Protocol, Rule
from sandbox.isolation.selectors import EVERYTHING, Operator, Requirement, Selector
from sandbox.isolation.spans import Addresses, Network, covers, span_of

PortNumber = Annotated[StrictInt, Field(ge=1, le=65535)]


class _Closed(BaseModel):
    """A part of the API: a field that is not known here could narrow what is allowed, so it is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class _Expression(_Closed):
    key: StrictStr = Field(min_length=1)
    operator: Operator
    values: list[StrictStr] | None = None

    @model_validator(mode="after")
    def _has_the_values_it_needs(self) -> _Expression:
        wants = self.operator in (Operator.IN, Operator.NOT_IN)
        if wants != bool(self.values):
            raise ValueError(f"{self.operator} {'needs' if wants else 'takes no'} values")
        return self


class _Selector(_Closed):
    match_labels: dict[StrictStr, StrictStr] | None = Field(default=None, alias="matchLabels")
    match_expressions: list[_Expression] | None = Field(default=None, alias="matchExpressions")

    def selector(self) -> Selector:
        labels = [Requirement(key, Operator.IN, frozenset({value})) for key, value in (self.match_labels or {}).items()]
        claims = [Requirement(e.key, e.operator, frozenset(e.values or ())) for e in self.match_expressions or ()]
        return Selector(tuple(labels + claims))


class _Block(_Closed):
    cidr: StrictStr
    excepted: list[StrictStr] | None = Field(default=None, alias="except")

    def peer(self) -> BlockPeer:
        whole, holes = _network(self.cidr), [_network(text) for text in self.excepted or ()]
        for hole in holes:
            if hole.version != whole.version or not covers([span_of(whole)], int(hole.network_address)):
                raise ValueError(f"ipBlock: except {hole} is not within {whole}")
        return BlockPeer(Addresses.in_network(whole, excepted=holes))


class _Peer(_Closed):
    pod_selector: _Selector | None = Field(default=None, alias="podSelector")
    namespace_selector: _Selector | None = Field(default=None, alias="namespaceSelector")
    ip_block: _Block | None = Field(default=None, alias="ipBlock")

    @model_validator(mode="after")
    def _is_one_kind(self) -> _Peer:
        by_labels = self.pod_selector is not None or self.namespace_selector is not None
        if by_labels == (self.ip_block is not None):
            raise ValueError("a peer is either selectors or an ipBlock")
        return self

    def peer(self) -> PodPeer | BlockPeer:
        if self.ip_block is not None:
            return self.ip_block.peer()
        namespaces = None if self.namespace_selector is None else self.namespace_selector.selector()
        return PodPeer(EVERYTHING if self.pod_selector is None else self.pod_selector.selector(), namespaces)


class _Port(_Closed):
    protocol: Literal["TCP", "UDP", "SCTP"] | None = None
    port: PortNumber | Annotated[StrictStr, Field(min_length=1)] | None = None
    end_port: PortNumber | None = Field(default=None, alias="endPort")

    @model_validator(mode="after")
    def _ends_after_it_begins(self) -> _Port:
        if self.end_port is not None and not (isinstance(self.port, int) and self.port <= self.end_port):
            raise ValueError("endPort needs a port number that is not above it")
        return self

    def ports(self) -> PortRange | PortName:
        protocol = Protocol[self.protocol or "TCP"]
        if self.port is None:
            return PortRange(protocol)
        if isinstance(self.port, str):
            return PortName(protocol, self.port)
        return PortRange(protocol, self.port, self.end_port or self.port)


class _IngressRule(_Closed):
    peers: list[_Peer] | None = Field(default=None, alias="from")
    ports: list[_Port] | None = None


class _EgressRule(_Closed):
    peers: list[_Peer] | None = Field(default=None, alias="to")
    ports: list[_Port] | None = None


class _Spec(_Closed):
    pod_selector: _Selector | None = Field(default=None, alias="podSelector")
    policy_types: list[Literal["Ingress", "Egress"]] | None = Field(default=None, alias="policyTypes")
    ingress: list[_IngressRule] | None = None
    egress: list[_EgressRule] | None = None

    def types(self, *, egress: bool) -> Sequence[str]:
        """The directions that are isolated; unless said, egress only where there are rules for it."""
        return self.policy_types or (["Ingress", "Egress"] if egress else ["Ingress"])

    def policy(self, namespace: str, name: str) -> Policy:
        types = self.types(egress=bool(self.egress))
        return Policy(
            namespace,
            name,
            EVERYTHING if self.pod_selector is None else self.pod_selector.selector(),
            ingress=_rules(self.ingress) if "Ingress" in types else None,
            egress=_rules(self.egress) if "Egress" in types else None,
        )


def _rules(written: Sequence[_IngressRule | _EgressRule] | None) -> tuple[Rule, ...]:
    return tuple(
        Rule(
            # absent and empty both mean: no restriction
            peers=tuple(peer.peer() for peer in rule.peers) if rule.peers else None,
            ports=tuple(port.ports() for port in rule.ports) if rule.ports else None,
        )
        for rule in written or ()
    )


def _network(text: str) -> Network:
    if not text.rpartition("/")[2].isdecimal():
        raise ValueError(f"ipBlock: {text!r} is no range of addresses")
    # the API server takes host bits, and means the network around them
    return ipaddress.ip_network(text, strict=False)


def read_policy(written: Mapping[str, Any]) -> Policy:
    """Read a NetworkPolicy as the API server gives it; never raises for what its ``spec`` says.

    A spec that is not understood becomes a policy with a ``fault``: it isolates, in the directions that can be
    told, the pods that can be told, else both and the whole namespace. Policies only ever add to what is allowed,
    so leaving out what this one allows cannot open anything.
    """
    metadata, spec = written["metadata"], written.get("spec") or {}
    namespace, name = metadata["namespace"], metadata["name"]
    try:
        return _Spec.model_validate(spec).policy(namespace, name)
    except ValidationError as error:
        fault = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'spec'}: {e['msg']}" for e in error.errors()[:3])
    except ValueError as error:
        fault = str(error)
    return _isolating(namespace, name, spec, fault)


def _isolating(namespace: str, name: str, spec: Any, fault: str) -> Policy:
    """The policy that isolates whom this one was for, as far as that can be told."""
    parts: Mapping[str, Any] = spec if isinstance(spec, Mapping) else {}
    pods, types = EVERYTHING, ["Ingress", "Egress"]
    with contextlib.suppress(ValidationError):
        pods = _Spec.model_validate({"podSelector": parts.get("podSelector")}).policy(namespace, name).pods
    if parts:
        with contextlib.suppress(ValidationError):
            known = _Spec.model_validate({"policyTypes": parts.get("policyTypes")})
            types = list(known.types(egress=bool(parts.get("egress"))))
    return Policy(
        namespace,
        name,
        pods,
        ingress=() if "Ingress" in types else None,
        egress=() if "Egress" in types else None,
        fault=fault,
    )
