"""Building out of pinned Go modules: names, checksums and what is said when Go is missing."""

from __future__ import annotations

import dataclasses
import re
import stat
from pathlib import Path

import pytest

from sandbox.cluster.images import contents, golang, kubernetes
from sandbox.errors import BuildFailed


def fake_go(folder: Path, version: str) -> None:
    go = folder / "go"
    go.write_text(f"#!/bin/sh\necho {version}\n")
    go.chmod(go.stat().st_mode | stat.S_IXUSR)


def test_without_go_the_version_wanted_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BuildFailed, match=r"etcd is built with Go 1\.24 or later, and no go is on PATH"):
        golang.find("etcd")


@pytest.mark.parametrize("version", ["go1.23.9", "go1.9", "unknown"])
def test_a_go_that_is_too_old_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    fake_go(tmp_path, version)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(BuildFailed, match=re.escape(version)):
        golang.find("etcd")


def test_a_go_that_is_recent_enough_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_go(tmp_path, "go1.24")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert golang.find("etcd") == str(tmp_path / "go")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("go1.26.8", (1, 26)), ("go1.24rc1", (1, 24)), ("devel go1.27-abc Mon", (1, 27)), ("", None), ("1.26", None)],
)
def test_versions_of_go_are_read(text: str, wanted: tuple[int, int] | None) -> None:
    assert golang.parse_version(text) == wanted


def test_a_checksum_that_is_pinned_nowhere_is_found() -> None:
    pinned = "a.example v1 h1:one=\na.example v1/go.mod h1:two=\n"
    assert golang.unpinned(pinned, "a.example v1 h1:one=\n", "a.example v1/go.mod h1:two=\n") == []
    assert golang.unpinned(pinned.replace("one", "other"), pinned) == ["a.example v1 h1:other="]
    assert golang.unpinned(pinned + "b.example v2 h1:new=\n", pinned) == ["b.example v2 h1:new="]


@pytest.mark.parametrize("programs", [kubernetes.KUBERNETES, kubernetes.ETCD, kubernetes.COREDNS], ids=lambda p: p.name)
def test_the_required_module_is_pinned_by_its_checksum(programs: golang.Programs) -> None:
    folder = contents.folder(programs.folder)
    required = re.search(rf"^require {re.escape(programs.module)} (\S+)$", (folder / "go.mod").read_text(), re.M)
    assert required is not None
    assert f"{programs.module} {required[1]} h1:" in (folder / "go.sum").read_text()


def test_kubernetes_is_built_from_siblings_of_its_own_version() -> None:
    text = (contents.folder("kubernetes") / "go.mod").read_text()
    patch = kubernetes.KUBERNETES_VERSION.removeprefix("v1.")
    assert f"require k8s.io/kubernetes {kubernetes.KUBERNETES_VERSION}\n" in text
    replaced = re.findall(r"^\t(\S+) => (\S+) (\S+)$", text, re.M)
    assert len(replaced) == 31
    assert all(left == right and version == f"v0.{patch}" for left, right, version in replaced)


def test_the_version_is_linked_into_both_packages_that_tell_it() -> None:
    flags = kubernetes.KUBERNETES.ldflags
    for package in ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version"):
        assert f"-X {package}.gitVersion={kubernetes.KUBERNETES_VERSION} " in flags


def test_another_setting_or_package_is_another_build() -> None:
    etcd = kubernetes.ETCD
    others = [
        etcd,
        dataclasses.replace(etcd, settings=("a.b=c",)),
        dataclasses.replace(etcd, packages={"etcd": "example.org/other"}),
        dataclasses.replace(etcd, folder="coredns"),
    ]
    assert len({programs.recipe().key for programs in others}) == len(others)


def test_programs_are_built_at_once_only_where_go_gives_them_their_names() -> None:
    [(folder, packages)] = kubernetes.KUBERNETES.outputs(Path("/into"))
    assert folder == "/into/"
    assert len(packages) == 7
    assert kubernetes.ETCD.outputs(Path("/into")) == [("/into/etcd", ["go.etcd.io/etcd/server/v3"])]


def test_a_module_in_doubt_is_not_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Go that brings along a checksum of its own, as a changed mirror would."""
    source = tmp_path / "source"
    source.mkdir()
    (source / "go.sum").write_text("good.example v1 h1:good=\n")
    go = tmp_path / "go"
    go.write_text(
        f'#!/bin/sh\ncase "$1" in env) echo go1.26 ;; mod) echo \'{{"Dir": "{source}"}}\' ;;'
        " list) echo 'bad.example v1 h1:bad=' >> go.sum ;; build) exit 9 ;; esac\n"
    )
    go.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(BuildFailed, match=r"no checksum is pinned for:\nbad\.example v1 h1:bad="):
        golang.build(kubernetes.ETCD, tmp_path, lambda line: None)
