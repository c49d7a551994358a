"""The node image of a kind cluster, built out of package mirrors alone.

    debian ── kube-proxy ─────────────────┐
           └─ node ◄── kubelet, kubeadm … ┴ archives of every image the cluster starts with

Its name follows from everything it is made of, so that one that is there is the right one. Every stage
is kept: an interrupted build goes on where it stopped.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from docker.errors import DockerException

from sandbox.cluster.docker import Docker, Say
from sandbox.cluster.images import archive, contents, debian, golang, kubernetes
from sandbox.cluster.images.archive import StaticImage
from sandbox.cluster.images.kubernetes import COREDNS, ETCD, KUBERNETES, KUBERNETES_VERSION, PAUSE
from sandbox.cluster.kind_binary import KIND

REGISTRY = "registry.k8s.io"
"""What kubeadm calls its images by; nothing is ever fetched from there."""
ON_NODE = ("kubelet", "kubeadm", "kubectl")
CONTROL_PLANE = ("kube-apiserver", "kube-controller-manager", "kube-scheduler")
KIND_FILES = Path("images") / "base" / "files"
UNUSED_KIND_FILES = ("LICENSES", "clean-install", "containerd-fuse-overlayfs.service", "README.txt")


def ref() -> str:
    """Name the node image after everything it is made of.

    Raises:
        BuildFailed: this machine's architecture is none that nodes are built for.
    """
    recipes = [programs.recipe().key for programs in kubernetes.ALL]
    key = contents.key(kube_proxy_ref(), contents.folder("node"), contents.folder(KIND.folder), *recipes, *_tags())
    return f"sandbox/node:{KUBERNETES_VERSION}-{key}"


def kube_proxy_ref() -> str:
    """Name the image of kube-proxy in this engine; inside the node it has kubeadm's name."""
    return f"sandbox/kube-proxy:{contents.key(debian.ref(), contents.folder('kube-proxy'), KUBERNETES.recipe().key)}"


def is_built(docker: Docker) -> bool:
    """Say whether the node image is in this engine."""
    return docker.image_id(ref()) is not None


def build(docker: Docker, cache: Path, say: Say) -> str:
    """Build the node image unless it is there, and return its name.

    From nothing it takes about ten minutes on two cores, most of it for compiling Kubernetes.

    Raises:
        BuildFailed: Go is missing or too old, a checksum does not match, or a command failed.
        ImageUnavailable: the base can neither be made nor pulled on this machine.
    """
    with debian.lock(cache, ref()):
        if is_built(docker):
            say(f"node image: already built, {ref()}")
            return ref()
        golang.find("the node image")  # before the minutes that come first
        base = debian.provide(docker, cache, say)
        bins = {programs.name: kubernetes.provide(programs, cache, say) for programs in kubernetes.ALL}
        with _scratch(cache) as scratch:
            _build_kube_proxy(docker, base, bins[KUBERNETES.name], scratch / "kube-proxy", say)
            context = scratch / "node"
            say("node image: gathering what goes in")
            _fill(context, bins)
            _retagged(docker, kube_proxy_ref(), f"{REGISTRY}/kube-proxy:{KUBERNETES_VERSION}", context / "images")
            say("node image: installing packages, loading images")
            docker.build(context, ref(), arguments={"BASE": base}, say=_silent)
        _remove_stages(docker)
    say(f"node image: built, {ref()}")
    return ref()


def static_images(bins: Mapping[str, Path]) -> list[StaticImage]:
    """List the images that are one program each, under the names that kubeadm and containerd ask for."""
    images = [
        StaticImage(f"{REGISTRY}/{name}:{KUBERNETES_VERSION}", bins[KUBERNETES.name] / name) for name in CONTROL_PLANE
    ]
    etcd, coredns, pause = _tags()
    return [
        *images,
        StaticImage(f"{REGISTRY}/{etcd}", bins[ETCD.name] / "etcd"),
        StaticImage(f"{REGISTRY}/{coredns}", bins[COREDNS.name] / "coredns"),
        StaticImage(f"{REGISTRY}/{pause}", bins[PAUSE.name] / "pause"),
    ]


def copy_kind_files(source: Path, into: Path) -> None:
    """Copy the files of kind's own base image, with the rights that its Dockerfile gives them."""
    shutil.copytree(source, into, ignore=shutil.ignore_patterns(*UNUSED_KIND_FILES), copy_function=shutil.copyfile)
    for path in sorted(into.rglob("*")):
        is_program = path.is_dir() or path.parent.name == "bin"
        path.chmod(0o755 if is_program else 0o644)


@contextlib.contextmanager
def _scratch(cache: Path) -> Iterator[Path]:
    """Lend a folder of one name, so that what a killed build left in it goes with the next one."""
    folder = cache / "builds" / f"{ref().replace('/', '-').replace(':', '-')}.unfinished"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _tags() -> tuple[str, str, str]:
    return (
        f"etcd:{kubernetes.ETCD_TAG}",
        f"coredns/coredns:{kubernetes.COREDNS_TAG}",
        f"pause:{kubernetes.PAUSE_TAG}",
    )


def _build_kube_proxy(docker: Docker, base: str, programs: Path, context: Path, say: Say) -> None:
    if docker.image_id(kube_proxy_ref()) is not None:
        return
    say("kube-proxy: building the image")
    shutil.copytree(contents.folder("kube-proxy"), context)
    _link(programs / "kube-proxy", context / "kube-proxy")
    docker.build(context, kube_proxy_ref(), arguments={"BASE": base}, say=_silent)


def _fill(context: Path, bins: Mapping[str, Path]) -> None:
    """Lay out the folder that the Dockerfile of the node copies from."""
    shutil.copytree(contents.folder("node"), context)
    copy_kind_files(golang.module_source(KIND) / KIND_FILES, context / "kind")
    for name in ("bin", "images"):
        (context / name).mkdir()
    for name in ON_NODE:
        _link(bins[KUBERNETES.name] / name, context / "bin" / name)
    (context / "files" / "kind" / "version").write_text(KUBERNETES_VERSION, encoding="utf-8")
    archive.write(static_images(bins), golang.architecture(), context / "images" / "static.tar")


def _retagged(docker: Docker, ref: str, name: str, into: Path) -> None:
    """Archive an image of this engine under the name it has in the cluster."""
    repository, _, tag = name.rpartition(":")
    docker.client.images.get(ref).tag(repository, tag)
    try:
        docker.save(name, into / "kube-proxy.tar")
    finally:
        docker.client.images.remove(name, noprune=True)


def _link(source: Path, target: Path) -> None:
    """Put a program into a build context, without a copy where the file system allows."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
        target.chmod(target.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)


def _remove_stages(docker: Docker) -> None:
    """Remove what first stages left behind; one of them holds every archive a second time."""
    try:
        docker.client.images.prune(filters={"dangling": True, "label": "sandbox.stage"})
    except DockerException:
        return  # it costs disk and nothing else, and goes with the next `docker image prune`


def _silent(line: str) -> None:
    """Keep the builder's own words for the error."""
    del line
