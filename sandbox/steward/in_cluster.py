"""Puts the steward of a cluster together, inside that cluster."""

from __future__ import annotations

import argparse
import functools
import logging
from collections.abc import Callable, Collection
from pathlib import Path

import anyio
import httpx2
from lightkube import AsyncClient, KubeConfig
from lightkube.core.exceptions import ConfigError as KubeConfigError

from sandbox import catalogue, config, plan
from sandbox.engine.manifests import MANAGER, NAMESPACE, ClusterAccelerator
from sandbox.errors import ClusterFailed, ConfigError
from sandbox.facts import Host, ModelCard
from sandbox.steward.cluster import ClusterStarter, retire
from sandbox.steward.keeper import Keeper
from sandbox.steward.observe import Lookout
from sandbox.steward.observe_cluster import KUBELET_CA, TOKEN, ClusterObserver, isolation_on_record
from sandbox.steward.observe_kubelet import Kubelets
from sandbox.steward.pods import EnginePods
from sandbox.steward.serving import listening, serve

log = logging.getLogger(__name__)

ANSWER_S = 10.0
CONNECT_S = 3.0
RETRY_S = 5.0


async def serve_in_cluster(settings: config.Settings, asked: argparse.Namespace) -> None:
    """Look after engines in the cluster that this runs in, until told to stop; they run on.

    Raises:
        ConfigError: this is no pod with a token, or a setting has no place in a cluster.
    """
    cards = catalogue.load()
    served = [catalogue.find(cards, model_id) for model_id in settings.models.serve]
    client = _client()
    pods = EnginePods(client, NAMESPACE)
    starter_of = _starters(settings, asked, served, client, pods)
    keepers = [Keeper(card, starter_of(card), start_timeout_s=settings.engine.start_timeout_s) for card in served]
    observer = ClusterObserver(client, Kubelets(ca_file=KUBELET_CA, token_file=TOKEN), keepers)
    clear = functools.partial(_retire, client, {card.id for card in served})
    try:
        with listening(asked.listen, settings.steward.port if asked.port is None else asked.port) as listener:
            await serve(
                listener,
                keepers,
                lookout=Lookout(observer, backend=settings.backend, isolation=isolation_on_record),
                read_token=functools.partial(read_secret, asked.token_file),
                beside=(pods.follow, clear),
            )
    finally:
        with anyio.CancelScope(shield=True):
            await client.close()


def _starters(
    settings: config.Settings,
    asked: argparse.Namespace,
    served: list[ModelCard],
    client: AsyncClient,
    pods: EnginePods,
) -> Callable[[ModelCard], ClusterStarter]:
    limits = plan.Limits.of(settings.engine)

    def make_plan(card: ModelCard, host: Host) -> plan.EnginePlan:
        return plan.make_in_turn(served, card, host, limits)

    return functools.partial(
        ClusterStarter,
        client=client,
        pods=pods,
        make_plan=make_plan,
        image=asked.engine_image,
        read_key=functools.partial(read_secret, asked.engine_key_file),
        accelerator=accelerator_of(settings.engine),
    )


def accelerator_of(engine: config.EngineSettings) -> ClusterAccelerator:
    """Say what pods compute on; whoever brought the cluster up has settled ``auto`` before.

    Raises:
        ConfigError: no pod can have it.
    """
    if engine.accelerator == "metal":
        raise ConfigError(
            "no pod can compute on Metal; such an engine runs beside the cluster", hint="SANDBOX_ENGINE_ACCELERATOR=cpu"
        )
    return "cpu" if engine.accelerator == "auto" else engine.accelerator


def read_secret(path: Path) -> str:
    """Read a secret from its file, anew at every call: it may have been replaced.

    Raises:
        ConfigError: the file cannot be read, or is empty.
    """
    try:
        value = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error}", hint="make up writes the secrets anew") from error
    if not value:
        raise ConfigError(f"{path} is empty", hint="make up writes the secrets anew")
    return value


def _client() -> AsyncClient:
    try:
        found = KubeConfig.from_service_account().get()
    except (KubeConfigError, KeyError) as error:
        raise ConfigError(
            f"--in-cluster, but this is no pod with a token for the cluster's API: {error}",
            hint="leave --in-cluster out, or mount the token of the ServiceAccount steward",
        ) from error
    timeout = httpx2.Timeout(ANSWER_S, connect=CONNECT_S)
    return AsyncClient(config=found, timeout=timeout, field_manager=MANAGER, trust_env=False)


async def _retire(client: AsyncClient, served: Collection[str]) -> None:
    """Delete what is no longer served, as soon as the cluster lets it."""
    while True:
        try:
            for gone in await retire(client, served):
                log.info("no longer served, deleted: %s", gone)
            return
        except ClusterFailed as error:
            log.warning("%s", error.message)
            await anyio.sleep(RETRY_S)
