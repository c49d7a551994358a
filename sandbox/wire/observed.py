"""How the sandbox runs: its pods or processes, what happened to them, and their figures over time."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

PERIOD_S = 5.0
"""Time between two samples."""
KEPT_S = 30 * 60.0
"""How long a sample is kept."""
UNPROVED = "unproved"
"""How the isolation is told where network policies are declared but nobody has seen them enforced."""

Component = Literal["gateway", "steward", "page", "engine", "agent", "canary", "other"]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Exit(_Body):
    """How something ended that has been started again since."""

    reason: str
    """The system's own word for it, ``OOMKilled``; or a sentence, where it has none."""
    code: int | None = None
    """Exit status; none where it is not known."""
    at: float | None = None
    """When, seconds since the epoch."""


class Unit(_Body):
    """One pod or one process; a figure that is not known is none."""

    kind: Literal["pod", "process"]
    namespace: str = ""
    name: str
    component: Component
    model: str = ""
    """Id of the model, of an engine."""
    phase: str
    """In one word, lower case: ``running``, ``pending``, ``starting``, ``gone``."""
    is_ready: bool
    restarts: int = 0
    last_exit: Exit | None = None
    node: str = ""
    started_at: float | None = None
    """Seconds since the epoch."""
    image: str = ""
    """The image of a pod; which engine it is, of an engine's process."""
    memory_bytes: int | None = None
    memory_limit_bytes: int | None = None
    """More than this it may not use; of an engine, what its plan says."""
    cpu_cores: float | None = None
    """Cores used since the last look."""
    cpu_planned: float | None = None
    """Threads that compute, of an engine."""
    detail: str = ""
    """What a person should know of it in this state, in words."""


class Happening(_Body):
    """Something that happened to a unit."""

    at: float
    """The last time it did, seconds since the epoch."""
    about: str
    reason: str
    message: str
    count: int = 1
    is_warning: bool = False


class UnitFigures(_Body):
    """What one unit used at one moment."""

    model: str = ""
    memory_bytes: int | None = None
    cpu_cores: float | None = None


class ModelFigures(_Body):
    """How much one model was asked at one moment."""

    running: int
    """Requests being answered."""
    queued: int
    """Requests beyond the engine's slots, waiting for one."""
    slots: int
    tokens_per_s: float
    """Tokens of all answers together, per second since the last sample."""


class Sample(_Body):
    """The figures of one moment: of units as the steward sees them, or of models as the gateway does."""

    at: float
    units: dict[str, UnitFigures] = Field(default_factory=dict)
    """By the unit's name."""
    models: dict[str, ModelFigures] = Field(default_factory=dict)
    """By the model's id."""


class Observed(_Body):
    """The whole sandbox as it runs."""

    backend: str = ""
    isolation: str = ""
    """Who enforces network policies, ``enforced by …``; or ``unproved …``; empty where there are none."""
    looked_at: float = 0.0
    """When the units were looked at, seconds since the epoch; 0 before the first look."""
    units: tuple[Unit, ...] = ()
    happenings: tuple[Happening, ...] = ()
    """The newest first."""
    problems: tuple[str, ...] = ()
    """What could not be seen, and why, in words."""
    history: tuple[Sample, ...] = ()
    """The oldest first."""


def moment(text: str) -> float:
    """Read seconds since the epoch, as they stand in an address.

    Raises:
        ValueError: it is no number, or a negative one.
    """
    try:
        at = float(text)
    except ValueError:
        at = math.nan
    if not 0 <= at < math.inf:
        raise ValueError(f"must be seconds since the epoch, not {text[:40]!r}")
    return at


class History:
    """The samples of the last half hour; of one moment there is one of units and one of models."""

    def __init__(self, kept_s: float = KEPT_S) -> None:
        self._kept_s = kept_s
        self._samples: dict[tuple[float, bool], Sample] = {}

    def add(self, samples: Iterable[Sample]) -> None:
        """Take in samples in any order, those that are there already too, and forget what is too old."""
        self._samples.update({(sample.at, bool(sample.models)): sample for sample in samples})
        newest = max((at for at, _ in self._samples), default=0.0)
        self._samples = {key: sample for key, sample in self._samples.items() if key[0] > newest - self._kept_s}

    def since(self, at: float = 0.0) -> tuple[Sample, ...]:
        """List what was sampled after a moment, the oldest first."""
        return tuple(self._samples[key] for key in sorted(self._samples) if key[0] > at)
