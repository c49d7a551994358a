"""What the steps of one cluster share: Docker, the node image, the cluster, its API, the images in it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field

import requests
from docker.errors import DockerException

from sandbox import config, hardware
from sandbox.cluster import boot, outside
from sandbox.cluster.api import Kube
from sandbox.cluster.canaries import Target
from sandbox.cluster.docker import Docker
from sandbox.cluster.images import apps, node
from sandbox.cluster.kind import POD_SUBNET, KindCluster, remembered
from sandbox.cluster.platform import POD_USER, ApiServer, Filling
from sandbox.errors import ImageUnavailable, NotRunning
from sandbox.lifecycle.world import World

STOCK_NODE_IMAGE = "kindest/node:v1.37.0@sha256:a1ed56cfb0e7b93589bdf97c8cd566405a265939e3620fc4f5de89adff580ae5"
"""What kind 0.33 itself takes; from its defaults."""
OF_THE_HOST = ("home", "cache", "engine.path", "engine.ollama_url", "cluster.kind", "cluster.node_image")
"""Settings that mean nothing inside a pod."""
REGISTRY_S = 5
"""How long a registry may take to say that it has an image: an answer in seconds, or none."""
BUILD_HINT = (
    "build it from package mirrors: make node-image (about 15 minutes on 2 cores); or bring an offline bundle; "
)
LOCAL_HINT = "or run without a cluster: SANDBOX_BACKEND=local make up"


@dataclass(slots=True)
class Site:
    """One cluster of one data folder, as far as it is there."""

    world: World
    digests: dict[str, str] = field(default_factory=dict)
    """Name of one of our images → how pods name it, by digest."""
    _refs: dict[str, str] = field(default_factory=dict)
    _docker: Docker | None = None
    _kube: Kube | None = None
    _node_image: str | None = None

    @property
    def docker(self) -> Docker:
        """The Docker engine of this machine.

        Raises:
            DockerUnavailable: none answers.
        """
        if self._docker is None:
            self._docker = Docker.connect()
        return self._docker

    @property
    def node_image(self) -> str:
        """The image of the node.

        Raises:
            ImageUnavailable: it is neither here nor can it be pulled.
        """
        if self._node_image is None and self.node_image_source() is None:
            asked = self.world.settings.cluster.node_image
            raise ImageUnavailable(
                f"the node image {asked or STOCK_NODE_IMAGE} is not here, and no image registry answered "
                f"within {REGISTRY_S} s",
                hint=BUILD_HINT + LOCAL_HINT,
            )
        return str(self._node_image)

    @property
    def refs(self) -> dict[str, str]:
        """Our own images as this checkout makes them; looked at once, so that all steps mean the same."""
        if not self._refs:
            self._refs.update(apps.refs(self.world.settings.cache))
        return self._refs

    @property
    def cluster(self) -> KindCluster:
        """The kind cluster, made or not."""
        settings = self.world.settings
        return KindCluster(
            name=settings.cluster.name,
            node_image=self.node_image,
            page_port=settings.page.port,
            api_port=settings.api.port,
            home=self.world.home,
        )

    @property
    def pod_cidr(self) -> str:
        """Addresses of the pods."""
        return POD_SUBNET

    def node_address(self) -> str:
        """Address of the first node inside the cluster.

        Raises:
            ClusterFailed: the API does not answer, or there is no node.
        """
        return self.kube.node_addresses()[0]

    def node_start(self) -> str:
        """Name this start of the nodes: rules in a kernel do not outlive it."""
        found = self.docker.container(self.stub().node)  # its boot id is that of this machine, so it says nothing
        return str(found.attrs["State"]["StartedAt"]) if found else ""

    def filling(self) -> Filling:
        """Gather what the platform's files cannot know.

        Raises:
            ClusterFailed: the API does not answer.
        """
        servers = [ApiServer(address, port) for address, port in self.kube.api_servers()]
        return Filling(
            images={name: self.digests[name] for name in ("gateway", "page", "engine")},
            api_servers=servers,
            node_addresses=self.kube.node_addresses(),
            pod_cidrs=[self.pod_cidr],
            settings=self._settings(),
            reviewed_images=[self.digests["engine"]],
            gateway_user=os.getuid() or POD_USER,
            engines_memory_bytes=hardware.look().memory_bytes,
        )

    def _settings(self) -> dict[str, str]:
        """Write this machine's settings as the pods read them: no folder or program of the host."""
        values = config.environment_of(self.world.settings)
        for name in OF_THE_HOST:
            values.pop(config.variable_of(name), None)
        return values | {"SANDBOX_BACKEND": "kind", "SANDBOX_PAGE_OPEN": "false"}

    def outside(self) -> AbstractContextManager[list[Target]]:
        """Run something that listens outside the cluster, where that can be."""
        return self._outside()

    @contextmanager
    def _outside(self) -> Iterator[list[Target]]:
        image = self.refs["gateway"]
        found = self.stub()
        with outside.listening(
            self.docker, self.world.clock, cluster=found.name, network=found.network, image=image
        ) as target:
            yield [target]

    def tell_kubelet_authorities(self) -> None:
        """Let the steward know the node's kubelet by its certificate, which nobody else has signed."""
        self.kube.set_config_map(
            "sandbox", "kubelet-ca", {"ca.crt": boot.kubelet_certificate(self.docker, self.stub().node)}
        )

    def deny_at_boot(self) -> None:
        """Let the node deny all pod traffic from its start until the policy agent is there."""
        boot.install(self.docker, self.stub().node, [self.pod_cidr])

    def stub(self) -> KindCluster:
        """Name the kind cluster without knowing its image, for finding and removing it."""
        settings, home = self.world.settings, self.world.home
        name = remembered(home).get("name", settings.cluster.name)
        return KindCluster(name, "", settings.page.port, settings.api.port, home)

    @property
    def kube(self) -> Kube:
        """The API of the cluster.

        Raises:
            NotRunning: there is no cluster to ask.
        """
        if self._kube is None:
            if not self.world.home.kubeconfig.exists():
                raise NotRunning("the cluster has not been made", hint="make up")
            self._kube = Kube.from_file(self.world.home.kubeconfig)
        return self._kube

    def forget_kube(self) -> None:
        """Drop the connection to a cluster that is made anew, or gone."""
        if self._kube is not None:
            self._kube.close()
        self._kube = None

    def node_image_source(self) -> str | None:
        """Find the node image, and say in words where it is from; nothing where it cannot be had.

        Raises:
            DockerUnavailable: no engine answers.
        """
        asked = self.world.settings.cluster.node_image
        made_of = remembered(self.world.home).get("node_image")
        candidates = [asked] if asked else [*filter(None, [made_of]), node.ref(), STOCK_NODE_IMAGE]
        for ref in candidates:
            if self.docker.image_id(ref) is not None:
                self._node_image = ref
                return f"the node image {ref.split('@')[0]} is here"
        ref = candidates[-1]
        if self._is_pullable(ref):
            self._node_image = ref
            return f"the node image {ref.split('@')[0]} can be pulled"
        return None

    def _is_pullable(self, ref: str) -> bool:
        """Ask the registry, through the engine that would pull; one that cannot be reached is a no in seconds."""
        api = self.docker.client.api
        patience_s = api.timeout
        api.timeout = REGISTRY_S
        try:
            api.inspect_distribution(ref)  # type: ignore[no-untyped-call]  # the stubs leave it untyped
        except (DockerException, requests.RequestException):
            return False
        finally:
            api.timeout = patience_s
        return True
