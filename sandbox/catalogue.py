"""The reviewed models: ``models/*.yaml``, schema-checked."""

from __future__ import annotations

import difflib
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sandbox.errors import ConfigError, UnknownModel
from sandbox.facts import ModelCard, ModelShape, WheelSource

INSTALLED = Path(__file__).parent / "catalogue_data"
CHECKOUT = Path(__file__).parent.parent / "models"


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _File(_Closed):
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    size_bytes: int = Field(gt=0)


class _Source(_Closed):
    package: str = Field(pattern=r"^[a-z0-9]([a-z0-9._-]*[a-z0-9])?$")
    version: str = Field(pattern=r"^[0-9][0-9a-z.]*$")
    member: str = Field(pattern=r"^[^/].*\.gguf$")


class _Shape(_Closed):
    layers: int = Field(gt=0)
    kv_heads: int = Field(gt=0)
    key_length: int = Field(gt=0)
    value_length: int = Field(gt=0)
    embedding_length: int = Field(gt=0)
    feed_forward_length: int = Field(gt=0)
    vocabulary: int = Field(gt=0)


class _Entry(_Closed):
    # 56 characters: "engine-" and the id make the name of a Service, which is a DNS label
    id: str = Field(pattern=r"^[a-z0-9]([a-z0-9.-]{0,54}[a-z0-9])?$")
    title: str = Field(min_length=1)
    family: str = Field(min_length=1)
    licence: str = Field(min_length=1)
    quantisation: str = Field(min_length=1)
    context_tokens: int = Field(gt=0)
    is_chat: bool
    file: _File
    source: _Source
    shape: _Shape
    notes: tuple[str, ...] = ()

    def as_card(self) -> ModelCard:
        return ModelCard(
            id=self.id,
            title=self.title,
            family=self.family,
            licence=self.licence,
            sha256=self.file.sha256,
            size_bytes=self.file.size_bytes,
            context_tokens=self.context_tokens,
            quantisation=self.quantisation,
            is_chat=self.is_chat,
            source=WheelSource(self.source.package, self.source.version, self.source.member),
            shape=ModelShape(**self.shape.model_dump()),
            notes=self.notes,
        )


def folder() -> Path:
    """Say where the reviewed entries lie: inside the installed package, or beside it in a checkout."""
    return INSTALLED if INSTALLED.is_dir() else CHECKOUT


def load(where: Path | None = None) -> dict[str, ModelCard]:
    """Read every entry, by id.

    Raises:
        ConfigError: an entry is not YAML, does not fit the schema, is named otherwise than its id, or has an id
            that only a dot tells from another's.
    """
    cards: dict[str, ModelCard] = {}
    labels: dict[str, str] = {}
    for path in sorted((where or folder()).glob("*.yaml")):
        try:
            card = _Entry.model_validate(yaml.safe_load(path.read_text(encoding="utf-8"))).as_card()
        except (OSError, UnicodeDecodeError, yaml.YAMLError, ValidationError) as error:
            raise ConfigError(f"catalogue entry {path.name}: {error}", hint=f"mend {path.name}") from error
        if card.id != path.stem:
            raise ConfigError(
                f"catalogue entry {path.name} has the id {card.id}", hint=f"rename the file to {card.id}.yaml"
            )
        # in a cluster dots become dashes, and two models must not become one
        other = labels.setdefault(card.id.replace(".", "-"), card.id)
        if other != card.id:
            raise ConfigError(
                f"catalogue entry {path.name}: its id and {other} are the same once dots are dashes",
                hint=f"rename {path.name} and its id",
            )
        cards[card.id] = card
    return cards


def find(cards: dict[str, ModelCard], model_id: str) -> ModelCard:
    """Look a model up.

    Raises:
        UnknownModel: there is none; the message names the nearest.
    """
    if model_id in cards:
        return cards[model_id]
    close = difflib.get_close_matches(model_id, list(cards), n=1)
    guess = f"did you mean {close[0]}? " if close else ""
    raise UnknownModel(f"no model named {model_id!r} in the catalogue", hint=f"{guess}list them: sandbox models")
