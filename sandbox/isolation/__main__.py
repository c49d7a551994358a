"""Runs the policy agent: ``python -m sandbox.isolation``, in a pod on the host's network."""

from __future__ import annotations

import argparse
import ipaddress
import logging
import signal
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import anyio
import httpx2
from lightkube.config.kubeconfig import KubeConfig
from lightkube.core.async_client import AsyncClient
from lightkube.core.exceptions import ConfigError

from sandbox.errors import ClusterError, SandboxError
from sandbox.isolation import health
from sandbox.isolation.agent import Agent, Sources
from sandbox.isolation.kernel import Nft
from sandbox.isolation.model import Node
from sandbox.isolation.source import ApiSource, Namespaces, NetworkPolicies, Pods, is_deleted

log = logging.getLogger("sandbox.isolation")


async def keep(arguments: argparse.Namespace) -> None:
    """Keep the node until told to stop; leave its rules unless the agent's DaemonSet is deleted."""
    client, kernel = _client(arguments.kubeconfig), Nft()
    node = Node(arguments.node_name or None, tuple(arguments.pod_cidr), tuple(arguments.pod_interface))
    sources = Sources(ApiSource(client, Pods), ApiSource(client, Namespaces), ApiSource(client, NetworkPolicies))
    agent = Agent(node, kernel, sources)
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with anyio.create_task_group() as tasks:
            await tasks.start(partial(health.serve, agent, arguments.health_port))
            tasks.start_soon(agent.run)
            async for number in signals:
                log.info("told to stop by %s", number.name)
                break
            tasks.cancel_scope.cancel()
    namespace, _, name = arguments.daemonset.partition("/")
    if await is_deleted(client, namespace, name):
        await kernel.remove()
        log.info("the DaemonSet %s is deleted: the rules are removed", arguments.daemonset)
    else:
        log.info("the rules stay in force")


def _client(kubeconfig: Path | None) -> AsyncClient:
    try:
        config = KubeConfig.from_file(kubeconfig) if kubeconfig else KubeConfig.from_service_account()
    except (ConfigError, KeyError) as error:
        raise ClusterError(f"no API server is known: {error}", hint="outside of a pod: --kubeconfig FILE") from error
    # after a boot the API server is away for a while, and the way to it too: ask again soon
    return AsyncClient(config.get(), timeout=httpx2.Timeout(10, connect=3))


def main(argv: Sequence[str] | None = None) -> int:
    """Keep the node, or remove its rules; returns the exit status."""
    arguments = _parser().parse_args(argv)
    arguments.pod_cidr = arguments.pod_cidr or [ipaddress.ip_network("10.244.0.0/16")]
    arguments.pod_interface = arguments.pod_interface or ["veth*"]
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    try:
        anyio.run(Nft().remove) if arguments.remove else anyio.run(keep, arguments)
    except SandboxError as error:
        return _failed(error)
    except ExceptionGroup as group:
        expected, others = group.split(SandboxError)
        if others is not None or expected is None:
            raise
        return _failed(*_leaves(expected))
    return 0


def _failed(*errors: SandboxError) -> int:
    for error in errors:
        sys.stderr.write(f"error: {error}\nhint:  {error.hint}\n")
    return errors[0].exit_code


def _leaves(group: ExceptionGroup[SandboxError]) -> list[SandboxError]:
    found: list[SandboxError] = []
    for each in group.exceptions:
        found += _leaves(each) if isinstance(each, ExceptionGroup) else [each]
    return found


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sandbox.isolation", description="Enforces NetworkPolicy on a node."
    )
    add = parser.add_argument
    add("--node-name", default="", help="the node to keep; without it the pods of all nodes are isolated here")
    add("--pod-cidr", action="append", type=ipaddress.ip_network, help="a range of pods' addresses (10.244.0.0/16)")
    add("--pod-interface", action="append", help="interfaces that pods are behind (veth*)")
    add("--health-port", type=int, default=8504, help="port on 127.0.0.1 for probes (8504)")
    add("--daemonset", default="kube-system/sandbox-agent", help="whose deletion removes the rules")
    add("--kubeconfig", type=Path, help="how to reach the API server; without it as a pod does")
    add("--remove", action="store_true", help="remove the rules from this node, and end")
    return parser


if __name__ == "__main__":
    sys.exit(main())
