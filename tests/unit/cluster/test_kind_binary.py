"""The kind program: which one is taken, and what is said when none does."""

from __future__ import annotations

from pathlib import Path

import pytest

from sandbox.cluster import kind_binary
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


def test_without_kind_and_without_go_both_ways_out_are_named(tmp_path: Path, path: Path) -> None:
    with pytest.raises(BuildFailed, match=r"Go 1\.24 or later, and no go is on PATH") as raised:
        kind_binary.provide(tmp_path, None, said)
    assert "SANDBOX_CLUSTER_KIND" in raised.value.hint
