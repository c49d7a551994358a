"""Figures for Prometheus; no user text and no ids in labels."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from sandbox.audit import Ended

FIRST_TOKEN_BUCKETS_S = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """The gateway's own registry, so that two gateways in one test do not meet."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.running = Gauge("sandbox_requests_running", "Requests being answered", registry=self.registry)
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
