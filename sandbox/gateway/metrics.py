"""Figures for Prometheus; no user text and no ids in labels."""

from __future__ import annotations

from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from sandbox.audit import Ended

FIRST_TOKEN_BUCKETS_S = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


@dataclass(slots=True)
class Flow:
    """What passes through for one model."""

    running: int = 0
    """Requests that have begun and not ended, those that wait for a slot too."""
    tokens: int = 0
    """Tokens answered since the gateway's start: pieces, until an answer's end tells its true count."""


class Metrics:
    """The gateway's own registry, so that two gateways in one test do not meet."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._running = Gauge("sandbox_requests_running", "Requests being answered", registry=self.registry)
        self._flows: dict[str, Flow] = {}
        self._requests = Counter(
            "sandbox_requests", "Requests ended, by how", ["model", "path", "state"], registry=self.registry
        )
        self._tokens = Counter("sandbox_tokens", "Tokens, by direction", ["model", "direction"], registry=self.registry)
        self._first_token = Histogram(
            "sandbox_first_token_seconds",
            "From taking a request to the first piece of its answer",
            ["model"],
            buckets=FIRST_TOKEN_BUCKETS_S,
            registry=self.registry,
        )

    def began(self, model: str) -> None:
        """Count one request that begins."""
        self._running.inc()
        self._flow(model).running += 1

    def said(self, model: str, n_tokens: int = 1) -> None:
        """Count tokens of an answer as they pass; fewer than none takes back what was counted too much."""
        self._flow(model).tokens += n_tokens

    def left(self, model: str) -> None:
        """Count one request that no longer runs."""
        self._running.dec()
        self._flow(model).running -= 1

    def flow(self, model: str) -> Flow:
        """Tell what passes through for a model at this moment."""
        now = self._flow(model)
        return Flow(now.running, now.tokens)

    def _flow(self, model: str) -> Flow:
        return self._flows.setdefault(model, Flow())

    def ended(self, model: str, path: str, ended: Ended) -> None:
        """Count one request that is over."""
        self._requests.labels(model, path, ended.state).inc()
        self._tokens.labels(model, "prompt").inc(ended.prompt_tokens or 0)
        self._tokens.labels(model, "completion").inc(ended.completion_tokens or 0)
        if ended.first_token_s is not None:
            self._first_token.labels(model).observe(ended.first_token_s)

    def text(self) -> bytes:
        """Write all figures in Prometheus' text format."""
        return generate_latest(self.registry)
