"""Something that listens beside the cluster: what a pod with a way out would reach."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from docker.errors import APIError, NotFound
from docker.models.containers import Container

from sandbox.cluster.canaries import Target
from sandbox.cluster.docker import Docker
from sandbox.errors import ClusterFailed
from sandbox.ports import Clock

PORT = 8099
READY_S = 20.0
LABEL = "sandbox.cluster"
_PROBE = f"import socket; socket.create_connection(('127.0.0.1', {PORT}), 1).close()"


@contextlib.contextmanager
def listening(docker: Docker, clock: Clock, *, cluster: str, network: str, image: str) -> Iterator[Target]:
    """Run a listener on the cluster's Docker network, outside the cluster, for as long as the block lasts.

    Raises:
        ClusterFailed: it cannot be started.
    """
    remove(docker, cluster)
    try:
        made = docker.client.containers.run(
            image,
            ["-m", "http.server", str(PORT), "--directory", "/srv"],
            entrypoint="python3",
            name=f"{cluster}-outside",
            network=network,
            labels={LABEL: cluster},
            user="65532:65532",
            read_only=True,
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
            detach=True,
        )
        try:
            _wait(made, clock)
            yield Target("outside", _address(made, network), PORT)
        finally:
            remove(docker, cluster)
    except APIError as error:
        raise ClusterFailed(
            f"the listener beside the cluster could not be run: {error.explanation or error}", hint="docker ps -a"
        ) from error


def remove(docker: Docker, cluster: str) -> None:
    """Remove the listener, also one that a killed command left."""
    found = docker.client.containers.list(all=True, filters={"label": f"{LABEL}={cluster}"}, ignore_removed=True)
    for each in found:
        with contextlib.suppress(NotFound):
            each.remove(force=True)


def _wait(made: Container, clock: Clock) -> None:
    deadline = clock.monotonic() + READY_S
    while made.exec_run(["python3", "-c", _PROBE]).exit_code != 0:
        if clock.monotonic() > deadline:
            said = made.logs(tail=5).decode("utf-8", "replace")
            raise ClusterFailed(f"the listener beside the cluster does not listen: {said}", hint="try again: make up")
        clock.sleep(0.1)


def _address(made: Container, network: str) -> str:
    made.reload()
    return str(made.attrs["NetworkSettings"]["Networks"][network]["IPAddress"])
