"""A life cycle as a list of idempotent steps: is it done, do it, how to say it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from sandbox.ports import Reporter, Told


class Step(Protocol):
    """One move towards a running sandbox."""

    @property
    def title(self) -> str:
        """What it brings about, in words."""
        ...

    def is_done(self) -> bool:
        """Say whether there is nothing to do."""
        ...

    def do(self, told: Told) -> None:
        """Do it whole, or raise a SandboxError and leave nothing half-done."""
        ...


@dataclass(frozen=True, slots=True)
class StepState:
    """A step as a dry run sees it."""

    title: str
    is_done: bool


def run(steps: Sequence[Step], reporter: Reporter) -> None:
    """Bring the world to the desired state, skipping what is so already."""
    for step in steps:
        with reporter.step(step.title) as told:
            if step.is_done():
                told.skipped()
            else:
                step.do(told)


def look(steps: Sequence[Step]) -> list[StepState]:
    """Say what ``run`` would find, changing nothing."""
    return [StepState(step.title, step.is_done()) for step in steps]
