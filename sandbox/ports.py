"""What the sandbox asks of the outside: telling a person, and the time."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol


class Told(Protocol):
    """The open line of one step, to be added to while the step runs."""

    def skipped(self) -> None:
        """Say that there was nothing to do."""
        ...

    def note(self, text: str) -> None:
        """Say something worth knowing about the step."""
        ...

    def progress(self, done: int, total: int) -> None:
        """Say how far a transfer is, in bytes."""
        ...


class Reporter(Protocol):
    """Shows a person the steps of long work."""

    def step(self, title: str) -> AbstractContextManager[Told]:
        """Open the line of one step; it closes as done or failed with the block."""
        ...


class Clock(Protocol):
    """Time, so that tests need not wait."""

    def monotonic(self) -> float:
        """Seconds since some fixed moment; never goes back."""
        ...

    def sleep(self, duration_s: float) -> None:
        """Wait."""
        ...
