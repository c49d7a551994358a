"""Asks the kubelet of each node what its pods use."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import anyio
import httpx
from prometheus_client.parser import text_string_to_metric_families

from sandbox.errors import ClusterFailed

PORT = 10250
ANSWER_S = 3.0
MEMORY = "memory_working_set_bytes"
CPU = "cpu_usage_seconds"
MAX_BYTES = 4 * 1024 * 1024
"""More than a node's figures can be: 110 pods are about 100 KiB."""

PodName = tuple[str, str]
"""Namespace and name."""


@dataclass(slots=True)
class Usage:
    """What one pod uses."""

    memory_bytes: int | None = None
    """The working set: what could not be taken from it without its noticing."""
    cpu_s: float | None = None
    """CPU seconds since its containers' start."""
    counted_at: float | None = None
    """When the CPU seconds were counted, seconds since the epoch; none where the kubelet did not say."""


def usages(text: str) -> dict[PodName, Usage]:
    """Read what a kubelet writes at ``/metrics/resource``: the sum of a pod's containers, or else the pod's own figure.

    Limits are set for containers; what a pod has beside them is its pause container, and page cache that nobody holds.

    Raises:
        ValueError: it is not in Prometheus' text format.
    """
    of_pods: dict[PodName, Usage] = {}
    of_containers: dict[PodName, Usage] = {}
    for family in text_string_to_metric_families(text):
        kind, _, figure = family.name.partition("_")
        found = {"pod": of_pods, "container": of_containers}.get(kind)
        if found is None or figure not in (MEMORY, CPU):
            continue
        for sample in family.samples:
            name = sample.labels.get("namespace", ""), sample.labels.get("pod", "")
            _add(found.setdefault(name, Usage()), figure, sample.value, sample.timestamp)
    return of_pods | of_containers


def _add(usage: Usage, figure: str, value: float, timestamp: object) -> None:
    if figure == MEMORY:
        usage.memory_bytes = (usage.memory_bytes or 0) + int(value)
        return
    usage.cpu_s = (usage.cpu_s or 0.0) + value
    if isinstance(timestamp, float):
        usage.counted_at = max(usage.counted_at or 0.0, timestamp)


class Kubelets:
    """Every node's kubelet, reached by its address and known by its node's name."""

    def __init__(
        self,
        *,
        ca_file: Path,
        token_file: Path,
        port: int = PORT,
        trust: Callable[[Path], ssl.SSLContext] | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """Say how kubelets are known, and who asks.

        Args:
            ca_file: certificates of kubelets, or of those who signed them.
            token_file: the token of the ServiceAccount that may read ``nodes/metrics``.
            port: where kubelets listen.
            trust: makes the TLS context from the file, in tests.
            transport: replaces the network in tests.
        """
        self._ca_file = ca_file
        self._token_file = token_file
        self._port = port
        self._trust = trust or trusting
        self._transport = transport

    async def usages(self, node: str, address: str) -> dict[PodName, Usage]:
        """Ask one node's kubelet.

        Raises:
            ClusterFailed: it cannot be verified, refuses, does not answer, or writes nonsense; with which.
        """
        try:
            return usages(await self._text(node, address))
        except (OSError, ValueError, httpx.HTTPError) as error:
            why = str(error) or type(error).__name__
            raise ClusterFailed(f"memory and CPU on node {node} are not known: {why}", hint="sandbox doctor") from error

    async def _text(self, node: str, address: str) -> str:
        # read anew each time: the token is renewed every hour, and a node made anew has another certificate
        token = (await anyio.Path(self._token_file).read_text(encoding="utf-8")).strip()
        context = self._trust(self._ca_file)
        host = f"[{address}]" if ":" in address else address
        request = httpx.Request(
            "GET",
            f"https://{host}:{self._port}/metrics/resource",
            headers={"Authorization": f"Bearer {token}"},
            extensions={"sni_hostname": node, "timeout": httpx.Timeout(ANSWER_S).as_dict()},
        )
        async with httpx.AsyncClient(verify=context, transport=self._transport, trust_env=False) as client:
            reply = await client.send(request)
        if reply.status_code in (401, 403):
            raise ValueError(f"the kubelet does not let the steward read them (HTTP {reply.status_code})")
        if reply.status_code != 200:
            raise ValueError(f"the kubelet answered with HTTP {reply.status_code}")
        if len(reply.content) > MAX_BYTES:
            raise ValueError(f"the kubelet wrote {len(reply.content)} bytes")
        return reply.text


def trusting(ca_file: Path) -> ssl.SSLContext:
    """Make a TLS context that trusts the certificates of a file, and nothing else.

    Raises:
        OSError: there is no such file, or no certificate in it.
    """
    if not ca_file.is_file():
        raise FileNotFoundError(f"there is no {ca_file} to know the kubelet by")
    context = ssl.create_default_context(cafile=str(ca_file))
    # a kubelet's own certificate may stand there without the one that signed it, which the kubelet throws away
    context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    return context
