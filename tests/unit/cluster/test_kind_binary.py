"""The kind program: which one is taken, and what is said when none does."""

from __future__ import annotations

import hashlib
import platform
from pathlib import Path

import httpx
import pytest

from sandbox.cluster import kind_binary
from sandbox.cluster.images import golang
from sandbox.errors import BuildFailed


def fake(folder: Path, says: str, status: int = 0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "kind").write_text(f"#!/bin/sh\necho '{says}'\nexit {status}\n")
    (folder / "kind").chmod(0o755)
    return folder / "kind"


def said(line: str) -> None:
    del line


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder that programs are searched in."""
    (tmp_path / "path").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    return tmp_path / "path"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("kind v0.33.0 go1.26.8 linux/amd64", (0, 33)),
        ("kind v0.34.0-alpha+0123456789 go1.26.8 linux/amd64", (0, 34)),
        ("go1.26.8", None),
        ("", None),
    ],
)
def test_versions_of_kind_are_read(text: str, wanted: tuple[int, int] | None) -> None:
    assert kind_binary.parse_version(text) == wanted


def test_the_version_that_is_built_is_recent_enough() -> None:
    assert kind_binary.is_recent(kind_binary.parse_version(kind_binary.VERSION))
    assert not kind_binary.is_recent((0, 23))
    assert not kind_binary.is_recent(None)


def test_the_configured_kind_goes_before_the_one_on_path(tmp_path: Path, path: Path) -> None:
    fake(path, "kind v0.33.0")
    mine = fake(tmp_path / "mine", "kind v0.30.0")
    assert kind_binary.provide(tmp_path, mine, said) == mine


@pytest.mark.parametrize(
    ("says", "status", "message"),
    [("kind v0.20.0", 0, "is kind 0.20; wanted is 0.24"), ("no", 0, "no kind at all"), ("kind v0.33.0", 1, "no kind")],
)
def test_a_configured_kind_that_does_not_do_is_refused(
    tmp_path: Path, path: Path, says: str, status: int, message: str
) -> None:
    fake(path, "kind v0.33.0")
    with pytest.raises(BuildFailed, match=message):
        kind_binary.provide(tmp_path, fake(tmp_path / "mine", says, status), said)


def test_a_recent_kind_on_path_is_taken(tmp_path: Path, path: Path) -> None:
    found = fake(path, "kind v0.33.0 go1.26.8 linux/amd64")
    assert kind_binary.provide(tmp_path, None, said) == found


def test_an_old_kind_on_path_is_passed_over_for_the_built_one(tmp_path: Path, path: Path) -> None:
    fake(path, "kind v0.20.0 go1.20 linux/amd64")
    built = fake(kind_binary.KIND.recipe().folder(tmp_path), "kind v0.33.0")
    told: list[str] = []
    assert kind_binary.provide(tmp_path, None, told.append) == built
    assert "too old" in told[0]


def release(status: int, content: bytes) -> httpx.MockTransport:
    def answer(request: httpx.Request) -> httpx.Response:
        assert request.url.scheme == "https"
        return httpx.Response(status, content=content)

    return httpx.MockTransport(answer)


def pin(content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    here = (platform.system().lower(), golang.architecture())
    monkeypatch.setitem(kind_binary.RELEASED_SHA256, here, hashlib.sha256(content).hexdigest())


def test_without_go_the_release_is_fetched_once(tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pin(b"kind", monkeypatch)
    fetched = kind_binary.provide(tmp_path, None, said, transport=release(200, b"kind"))
    assert fetched.read_bytes() == b"kind"
    assert fetched.stat().st_mode & 0o111
    assert kind_binary.provide(tmp_path, None, said, transport=release(500, b"")) == fetched


def test_a_release_with_another_digest_is_not_kept(tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pin(b"kind", monkeypatch)
    with pytest.raises(BuildFailed, match="pinned is"):
        kind_binary.provide(tmp_path, None, said, transport=release(200, b"kinder"))
    assert [found for found in tmp_path.rglob("*") if found.is_file() and found.suffix != ".lock"] == []


def test_without_kind_go_and_network_all_ways_out_are_named(tmp_path: Path, path: Path) -> None:
    told: list[str] = []
    with pytest.raises(BuildFailed, match="no kind on PATH, no Go to build it with, and https://") as raised:
        kind_binary.provide(tmp_path, None, told.append, transport=release(503, b""))
    assert "Go 1.24 or later" in told[0]
    assert "SANDBOX_CLUSTER_KIND" in raised.value.hint


def test_a_digest_is_pinned_for_every_machine_that_the_sandbox_runs_on() -> None:
    assert set(kind_binary.RELEASED_SHA256) == {(s, a) for s in ("linux", "darwin") for a in ("amd64", "arm64")}
    assert all(len(digest) == 64 for digest in kind_binary.RELEASED_SHA256.values())
