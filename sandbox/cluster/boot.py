"""What a kind node does before its kubelet starts: deny all pod traffic until the policy agent takes over."""

from __future__ import annotations

import io
import tarfile

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
    found = docker.container(node)
    if found is None:
        raise ClusterFailed(f"there is no node {node}", hint="make up")
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name, text in ((RULES, deny_all(pod_cidrs)), (UNIT, _SERVICE)):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(text.encode()), 0o644
            tar.addfile(entry, io.BytesIO(text.encode()))
    found.put_archive("/", archive.getvalue())
    done = found.exec_run(["systemctl", "enable", "sandbox-deny.service"])
    if done.exit_code != 0:
        said = bytes(done.output).decode("utf-8", "replace").strip()
        raise ClusterFailed(
            f"the node {node} does not take the unit that denies at its start: {said}", hint="make down"
        )
