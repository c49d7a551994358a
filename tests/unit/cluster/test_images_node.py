"""The node image: its name, its parts and its archives."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import stat
import subprocess
import tarfile
from pathlib import Path

import pytest
import yaml

from sandbox.cluster.images import archive, conformance, contents, kubernetes, node
from sandbox.cluster.images.archive import StaticImage


def program(folder: Path, name: str, content: bytes = b"\x7fELF") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)
    return folder / name


def test_the_node_is_named_after_its_version_and_everything_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    before = node.ref()
    assert re.fullmatch(r"sandbox/node:v1\.34\.4-[0-9a-f]{12}", before)
    assert node.ref() == before
    monkeypatch.setattr(kubernetes, "ETCD_TAG", "3.6.6-0")
    assert node.ref() != before


def test_another_kubernetes_is_another_kube_proxy_and_another_node(monkeypatch: pytest.MonkeyPatch) -> None:
    before = (node.ref(), node.kube_proxy_ref())
    other = dataclasses.replace(kubernetes.KUBERNETES, settings=("a.b=c",))
    monkeypatch.setattr(node, "KUBERNETES", other)
    assert node.kube_proxy_ref() != before[1]
    assert node.ref() != before[0]


def test_every_image_that_kubeadm_wants_is_preloaded() -> None:
    bins = {programs.name: Path("/bins") / programs.name for programs in kubernetes.ALL}
    refs = {image.ref for image in node.static_images(bins)} | {
        f"{node.REGISTRY}/kube-proxy:{kubernetes.KUBERNETES_VERSION}"
    }
    # What `kubeadm config images list --kubernetes-version v1.34.4` prints, with the pause of kind's containerd.
    assert refs == {
        "registry.k8s.io/kube-apiserver:v1.34.4",
        "registry.k8s.io/kube-controller-manager:v1.34.4",
        "registry.k8s.io/kube-scheduler:v1.34.4",
        "registry.k8s.io/kube-proxy:v1.34.4",
        "registry.k8s.io/coredns/coredns:v1.12.1",
        "registry.k8s.io/pause:3.10",
        "registry.k8s.io/etcd:3.6.5-0",
    }


def test_the_tags_are_those_of_the_modules_that_are_built() -> None:
    assert f"server/v3 v{kubernetes.ETCD_TAG.split('-')[0]}\n" in (contents.folder("etcd") / "go.mod").read_text()
    assert f"coredns {kubernetes.COREDNS_TAG}\n" in (contents.folder("coredns") / "go.mod").read_text()


def test_an_archive_holds_one_layer_with_one_program(tmp_path: Path) -> None:
    image = StaticImage("registry.example/tool:1", program(tmp_path / "bin", "tool"))
    written = archive.write([image], "amd64", tmp_path / "out.tar")
    with tarfile.open(written) as tar:
        [listed] = json.load(tar.extractfile("manifest.json") or pytest.fail())
        configuration = (tar.extractfile(listed["Config"]) or pytest.fail()).read()
        layer_bytes = (tar.extractfile(listed["Layers"][0]) or pytest.fail()).read()
    assert listed["RepoTags"] == ["registry.example/tool:1"]
    assert listed["Config"] == hashlib.sha256(configuration).hexdigest() + ".json"
    parsed = json.loads(configuration)
    assert parsed["rootfs"]["diff_ids"] == ["sha256:" + hashlib.sha256(layer_bytes).hexdigest()]
    assert parsed["config"]["Entrypoint"] == ["/usr/local/bin/tool"]
    (tmp_path / "layer.tar").write_bytes(layer_bytes)
    with tarfile.open(tmp_path / "layer.tar") as layer:
        assert layer.getnames() == ["usr", "usr/local", "usr/local/bin", "usr/local/bin/tool"]
        assert layer.getmember("usr/local/bin/tool").mode == 0o755


def test_a_program_can_lie_in_the_root(tmp_path: Path) -> None:
    image = StaticImage("registry.example/tool:1", program(tmp_path, "tool"), folder="")
    with tarfile.open(archive.write([image], "amd64", tmp_path / "out.tar")) as tar:
        [listed] = json.load(tar.extractfile("manifest.json") or pytest.fail())
        with tarfile.open(fileobj=tar.extractfile(listed["Layers"][0])) as layer:
            assert layer.getnames() == ["tool"]
    assert image.entrypoint == "/tool"


def test_the_same_programs_give_the_same_archive(tmp_path: Path) -> None:
    images = [StaticImage(f"registry.example/{name}:1", program(tmp_path / "bin", name)) for name in ("a", "b")]
    first, second = (archive.write(images, "amd64", tmp_path / name).read_bytes() for name in ("1.tar", "2.tar"))
    assert first == second
    program(tmp_path / "bin", "b", b"changed")
    assert archive.write(images, "amd64", tmp_path / "3.tar").read_bytes() != first


def test_the_files_of_kind_get_the_rights_its_dockerfile_gives(tmp_path: Path) -> None:
    source = tmp_path / "module"
    for name in ("usr/local/bin/entrypoint", "usr/local/bin/clean-install", "etc/containerd/config.toml"):
        program(source / Path(name).parent, Path(name).name).chmod(0o444)  # as the module cache keeps them
    program(source / "LICENSES", "README.txt")
    node.copy_kind_files(source, tmp_path / "kind")
    rights = {
        path.relative_to(tmp_path / "kind").as_posix(): stat.S_IMODE(path.stat().st_mode)
        for path in (tmp_path / "kind").rglob("*")
        if path.is_file()
    }
    assert rights == {"usr/local/bin/entrypoint": 0o755, "etc/containerd/config.toml": 0o644}


def test_what_kind_applies_is_valid_and_starts_no_pod() -> None:
    manifests = contents.folder("node") / "files" / "kind" / "manifests"
    kinds = {
        path.name: [document["kind"] for document in yaml.safe_load_all(path.read_text())]
        for path in manifests.iterdir()
    }
    assert kinds == {"default-cni.yaml": ["ConfigMap"], "default-storage.yaml": ["StorageClass"]}


@pytest.mark.parametrize(
    "script",
    [
        "node/files/usr/local/bin/sandbox-pod-network",
        "node/files/usr/local/bin/sandbox-preload",
        "kube-proxy/collect",
    ],
)
def test_scripts_are_executable_and_can_be_read_by_bash(script: str) -> None:
    path = contents.CHECKOUT / script
    assert path.stat().st_mode & stat.S_IXUSR
    subprocess.run(["bash", "-n", str(path)], check=True)


def test_agnhost_is_of_the_clusters_own_version() -> None:
    assert conformance.AGNHOST.folder == kubernetes.KUBERNETES.folder
    assert conformance.AGNHOST.recipe().key != kubernetes.KUBERNETES.recipe().key
