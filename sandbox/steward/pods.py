"""The engines' pods, kept up to date by a watch."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import cast

import anyio
import httpx2
from lightkube import ApiError, AsyncClient
from lightkube.resources.core_v1 import Pod

from sandbox.cluster.evidence import name_of
from sandbox.engine.manifests import COMPONENT, INSTANCE, MANAGED_BY, MANAGER, PART_OF

log = logging.getLogger(__name__)

OURS = {PART_OF: "sandbox", COMPONENT: "engine", MANAGED_BY: MANAGER}
"""Labels of everything that a steward has made; a canary has the first two and not the third."""
WATCH_S = 30
"""How long the API server is asked to keep one watch open."""
QUIET_S = 45.0
"""How long a watch may bring nothing before everything is listed anew: a peer that vanished says nothing either."""
PAUSE_S = 0.5


class EnginePods:
    """Every pod of an engine in one namespace."""

    def __init__(
        self, client: AsyncClient, namespace: str, *, sleep: Callable[[float], Awaitable[None]] = anyio.sleep
    ) -> None:
        self._client = client
        self._namespace = namespace
        self._sleep = sleep
        self._pods: dict[str, Pod] = {}
        self.trouble = "nothing has been heard yet"
        """Why what is known may be out of date; empty while the API server answers."""

    def of(self, model_id: str, annotation: str, value: str) -> list[Pod]:
        """List the pods of a model that carry an annotation."""
        return [
            pod
            for pod in self._pods.values()
            if pod.metadata
            and (pod.metadata.labels or {}).get(INSTANCE) == model_id
            and (pod.metadata.annotations or {}).get(annotation) == value
        ]

    async def follow(self) -> None:
        """Keep up to date; returns only by cancellation."""
        while True:
            try:
                await self._follow_once()
            except (ApiError, httpx2.HTTPError) as error:
                if not self.trouble:
                    log.warning("the pods of engines are not seen: %s", error)
                self.trouble = str(error) or type(error).__name__
            await self._sleep(PAUSE_S)

    async def _follow_once(self) -> None:
        listing = self._client.list(Pod, namespace=self._namespace, labels=dict(OURS))
        self._pods = {name_of(pod): pod async for pod in listing}
        self.trouble = ""
        watch = self._client.watch(
            Pod,
            namespace=self._namespace,
            labels=dict(OURS),
            server_timeout=WATCH_S,
            resource_version=listing.resourceVersion,
        )
        # it is written as a generator; what it is told as can be neither closed nor asked for one event
        async with aclosing(cast("AsyncGenerator[tuple[str, Pod], None]", watch)) as events:
            while True:
                with anyio.move_on_after(QUIET_S) as quiet:
                    kind, pod = await anext(events)
                if quiet.cancelled_caught:
                    return
                if kind == "DELETED":
                    self._pods.pop(name_of(pod), None)
                else:
                    self._pods[name_of(pod)] = pod
