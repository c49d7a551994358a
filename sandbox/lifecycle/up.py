"""What `up`, `down` and `status` come back with."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

from sandbox.errors import SandboxError
from sandbox.lifecycle import backends, steps
from sandbox.lifecycle.backends import Chosen
from sandbox.lifecycle.steps import StepState
from sandbox.lifecycle.world import World, alone
from sandbox.ports import Reporter
from sandbox.wire.console import ModelRow

FIRST_KEY_NAME = "first"


@dataclass(frozen=True, slots=True)
class Running:
    """A running sandbox, as its user needs it."""

    backend: str
    backend_reason: str
    page: str
    api: str
    models: tuple[ModelRow, ...]
    processes: dict[str, bool]
    signin: str | None = None
    """One-time link into the page."""
    key: str | None = None
    """The first key; shown at the first start only."""
    problem: str | None = None
    """Why it does not answer, when it does not."""

    @property
    def is_running(self) -> bool:
        """Whether all of it is there and a question would be answered."""
        return self.problem is None and all(self.processes.values())


def up(world: World, reporter: Reporter) -> Running:
    """Bring the sandbox up, and sign its user in."""
    with alone(world):
        chosen = backends.choose(world)
        steps.run(chosen.backend.steps_up(), reporter)
        with contextlib.closing(world.client()) as client:
            has_key = any(row.kind == "user" for row in client.keys())  # noqa: SIM118  # a client is no mapping
            key = None if has_key else client.new_key(FIRST_KEY_NAME).key
            ticket = client.new_ticket().ticket
    running = _look(world, chosen)
    return Running(
        backend=running.backend,
        backend_reason=running.backend_reason,
        page=running.page,
        api=running.api,
        models=running.models,
        processes=running.processes,
        signin=f"{world.settings.page_url}/signin?ticket={ticket}",
        key=key,
    )


def dry_run(world: World) -> list[StepState]:
    """Say what `up` would do, changing nothing."""
    return steps.look(backends.choose(world).backend.steps_up())


def down(world: World, reporter: Reporter) -> None:
    """Stop everything; chats, keys, models and the record stay."""
    with alone(world):
        steps.run(backends.steps_down(world), reporter)


def status(world: World) -> Running:
    """Say how the sandbox is, also when it is not."""
    return _look(world, backends.current(world))


def logs(world: World, name: str, n_lines: int) -> list[str]:
    """Read the end of what a part, or the engine of a model, has said.

    Raises:
        NotRunning: there is no such part; the message names those that are.
    """
    return backends.current(world).backend.log(name, n_lines)


def _look(world: World, chosen: Chosen) -> Running:
    models: tuple[ModelRow, ...] = ()
    problem: str | None = None
    try:
        with contextlib.closing(world.client()) as client:
            models = tuple(client.models())
    except SandboxError as error:
        problem = error.message
    return Running(
        backend=chosen.backend.name,
        backend_reason=chosen.reason,
        page=world.settings.page_url,
        api=world.settings.api_url,
        models=models,
        processes=chosen.backend.states(),
        problem=problem,
    )
