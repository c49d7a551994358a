"""Answers the kubelet's probes and a scraper, on the node's loopback only."""

from __future__ import annotations

from collections.abc import Iterator

import anyio
from anyio.abc import SocketStream, TaskStatus

from sandbox.isolation.agent import Agent

REQUEST_BYTES = 2048
TIMEOUT_S = 2.0


async def serve(agent: Agent, port: int, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
    """Serve ``/healthz`` (rules in force and news coming), ``/livez`` (answers at all) and ``/metrics``."""
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=port)
    task_status.started()
    await listener.serve(lambda stream: _answer(stream, agent))


async def _answer(stream: SocketStream, agent: Agent) -> None:
    async with stream:
        with anyio.move_on_after(TIMEOUT_S):
            try:
                words = (await stream.receive(REQUEST_BYTES)).split(b" ", 2)
                status, body = respond(words[1].decode(errors="replace") if len(words) > 1 else "", agent)
                head = f"HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\n"
                await stream.send(f"{head}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}".encode())
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                return


def respond(path: str, agent: Agent) -> tuple[str, str]:
    """The status line's end and the body for a path."""
    if path == "/livez":
        return "200 OK", "ok\n"
    if path == "/healthz":
        return ("200 OK", "ok\n") if agent.is_healthy else ("503 Service Unavailable", f"{_ailing(agent)}\n")
    if path == "/metrics":
        return "200 OK", "".join(f"sandbox_isolation_{line}\n" for line in _metrics(agent))
    return "404 Not Found", "try /healthz, /livez or /metrics\n"


def _ailing(agent: Agent) -> str:
    if agent.status.fault is not None:
        return agent.status.fault.encode("ascii", "replace").decode()
    unheard = [mirror.kind for mirror in agent.mirrors if not mirror.is_current]
    return f"waiting for {', '.join(unheard) or 'the first rules'}"


def _metrics(agent: Agent) -> Iterator[str]:
    status = agent.status
    yield f"healthy {int(agent.is_healthy)}"
    yield f"applies_total {status.applies}"
    yield f"apply_failures_total {status.failures}"
    yield f"restored_total {status.restored}"
    yield f"apply_latency_seconds {status.latency_s:.4f}"
    yield f"pods {status.pods}"
    yield f"policies_not_understood {status.policies_not_understood}"
    for direction, number in sorted(status.isolated.items()):
        yield f'isolated_pods{{direction="{direction}"}} {number}'
    for mirror in agent.mirrors:
        yield f'watch_breaks_total{{kind="{mirror.kind}"}} {mirror.breaks}'
