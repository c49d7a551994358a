"""What the steward tells the gateway: served models, and where their engines are reached."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from sandbox.wire.console import ModelRow


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Address(_Body):
    """Where one engine listens, with its key: only ever between steward and gateway."""

    kind: Literal["llama-server", "xllamacpp", "llama-cpp-python", "ollama"]
    url: str
    model_name: str
    key: str = Field(repr=False)
    context_tokens: int


class Entry(_Body):
    """One served model; without an address while its engine is not ready."""

    row: ModelRow
    address: Address | None = None


class Fleet(_Body):
    """Every served model."""

    models: tuple[Entry, ...]
