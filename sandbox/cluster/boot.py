"""What is special in a kind node: it denies pod traffic before its kubelet starts, and its kubelet signs for itself."""

from __future__ import annotations

import io
import tarfile

from docker.models.containers import Container

from sandbox.cluster.docker import Docker
from sandbox.errors import ClusterFailed
from sandbox.isolation import deny_all

RULES = "etc/sandbox/deny.nft"
UNIT = "etc/systemd/system/sandbox-deny.service"
_SERVICE = f"""\
[Unit]
Description=Deny pod traffic until the policy agent is there
DefaultDependencies=no
Before=kubelet.service containerd.service

[Service]
Type=oneshot
ExecStart=nft -f /{RULES}
RemainAfterExit=yes

[Install]
WantedBy=multi-user.target
"""


def install(docker: Docker, node: str, pod_cidrs: list[str]) -> None:
    """Put the unit into a node and enable it; it takes effect at the node's next start.

    Raises:
        ClusterFailed: the node did not take it.
    """
    found = _node(docker, node)
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name, text in ((RULES, deny_all(pod_cidrs)), (UNIT, _SERVICE)):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(text.encode()), 0o644
            tar.addfile(entry, io.BytesIO(text.encode()))
    found.put_archive("/", archive.getvalue())
    status, said = _run(found, "systemctl", "enable", "sandbox-deny.service")
    if status != 0:
        raise ClusterFailed(
            f"the node {node} does not take the unit that denies at its start: {said}", hint="make down"
        )


def kubelet_certificate(docker: Docker, node: str) -> str:
    """Read the certificate, PEM, that the kubelet of a node made and signed for itself.

    Raises:
        ClusterFailed: the node does not run, or has none.
    """
    status, said = _run(_node(docker, node), "cat", "/var/lib/kubelet/pki/kubelet.crt")
    if status != 0:
        raise ClusterFailed(f"the kubelet of {node} has no certificate: {said.strip()}", hint="make down, then make up")
    return said


def _run(node: Container, *command: str) -> tuple[int, str]:
    done = node.exec_run(list(command))
    output = done.output if isinstance(done.output, bytes) else b"".join(done.output)
    return int(done.exit_code or 0), output.decode("utf-8", "replace")


def _node(docker: Docker, node: str) -> Container:
    found = docker.container(node)
    if found is None:
        raise ClusterFailed(f"there is no node {node}", hint="make up")
    return found
