"""The programs of a cluster: Kubernetes, etcd, CoreDNS and pause, each out of its pinned module."""

from __future__ import annotations

from pathlib import Path

from sandbox.cluster.images import finished, golang
from sandbox.cluster.images.commands import Say
from sandbox.cluster.images.golang import Programs

KUBERNETES_VERSION = "v1.34.4"
"""The last minor release whose kubelet starts on cgroup v1 and takes containerd 1.6 without being told."""
ETCD_TAG = "3.6.5-0"
COREDNS_TAG = "v1.12.1"
PAUSE_TAG = "3.10"
"""The tag that kind's configuration of containerd names; kubeadm's own is another, and is not used."""

_VERSION_PACKAGES = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
_MAJOR, _MINOR, _ = KUBERNETES_VERSION.removeprefix("v").split(".")
_VERSION_SETTINGS = tuple(
    f"{package}.{name}={value}"
    for package in _VERSION_PACKAGES  # kubeadm refuses to work where only one of the two is set
    for name, value in (
        ("gitVersion", KUBERNETES_VERSION),
        ("gitMajor", _MAJOR),
        ("gitMinor", _MINOR),
        ("gitTreeState", "clean"),
        ("buildDate", "1970-01-01T00:00:00Z"),
    )
)
_COMMANDS = (
    "kubelet",
    "kubeadm",
    "kubectl",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kube-proxy",
)

KUBERNETES = Programs(
    name="kubernetes",
    folder="kubernetes",
    module="k8s.io/kubernetes",
    packages={command: f"k8s.io/kubernetes/cmd/{command}" for command in _COMMANDS},
    settings=_VERSION_SETTINGS,
)
ETCD = Programs(
    name="etcd",
    folder="etcd",
    module="go.etcd.io/etcd/server/v3",
    packages={"etcd": "go.etcd.io/etcd/server/v3"},
)
COREDNS = Programs(
    name="coredns", folder="coredns", module="github.com/coredns/coredns", packages={"coredns": "sandbox/coredns"}
)
PAUSE = Programs(name="pause", folder="pause", module="", packages={"pause": "sandbox/pause"})
ALL = (PAUSE, ETCD, COREDNS, KUBERNETES)


def provide(programs: Programs, cache: Path, say: Say) -> Path:
    """Build the programs of one module unless they are there, and return their folder."""
    return finished.provide(programs.recipe(), cache, say, lambda into: golang.build(programs, into, say))
