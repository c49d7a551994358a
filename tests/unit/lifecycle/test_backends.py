from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sandbox import config, processes
from sandbox.errors import ConfigError, DockerUnavailable
from sandbox.lifecycle import backends
from sandbox.lifecycle.fetch import PipFetcher
from sandbox.lifecycle.local import LocalBackend
from sandbox.lifecycle.site import Site
from sandbox.lifecycle.world import World
from sandbox.wiring import SystemClock

MakeWorld = Callable[..., World]


@pytest.fixture
def make_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeWorld:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nobody.sock")  # no engine, whatever this machine has

    def make(backend: str = "auto") -> World:
        settings = config.load({"backend": backend}, environment={"SANDBOX_HOME": str(tmp_path / "home")}).settings
        return World(settings, environment={}, fetcher=PipFetcher(), clock=SystemClock())

    return make


def titles(world: World) -> list[str]:
    return [step.title for step in backends.named(world, world.settings.backend).steps_up()]


def test_auto_without_docker_runs_locally_and_says_why(make_world: MakeWorld) -> None:
    chosen = backends.choose(make_world())
    assert chosen.backend.name == "local"
    assert "no Docker engine runs on this machine" in chosen.reason
    assert "\n" not in chosen.reason


def test_auto_stays_with_the_cluster_that_is_there(make_world: MakeWorld) -> None:
    world = make_world()
    world.home.run.mkdir(parents=True)
    world.home.cluster.write_text('{"name": "sandbox", "node_image": "x", "fingerprint": "y"}')
    assert backends.current(world).backend.name == "kind"
    with pytest.raises(DockerUnavailable):
        backends.choose(world)


def test_auto_stays_with_the_processes_that_run(make_world: MakeWorld) -> None:
    world = make_world()
    processes.of_pid(1).save(world.home.process("gateway"))
    assert world.running_backend() == "local"
    assert backends.choose(world).reason.startswith("it is what runs already")


def test_a_file_of_a_process_that_is_gone_decides_nothing(make_world: MakeWorld) -> None:
    world = make_world()
    processes.Process(2**22 + 1, 1.0).save(world.home.process("gateway"))
    assert world.running_backend() is None


def test_kind_without_docker_is_an_error_that_names_it(make_world: MakeWorld) -> None:
    with pytest.raises(DockerUnavailable) as told:
        Site(make_world("kind")).node_image_source()
    assert "SANDBOX_BACKEND=local" in told.value.hint


def test_local_is_asked_for_by_name(make_world: MakeWorld) -> None:
    chosen = backends.choose(make_world("local"))
    assert (chosen.backend.name, chosen.reason) == ("local", "asked for in the settings")
    assert titles(make_world("local"))[0] == "Clear what an earlier run left"


def test_the_way_to_a_cluster_proves_isolation_before_a_model_is_admitted(make_world: MakeWorld) -> None:
    steps = titles(make_world("kind"))
    assert steps.index("Prove the isolation") < steps.index("Admit the reviewed models")
    assert steps.index("Deploy gateway, steward and page") < steps.index("Prove the isolation")


def test_down_without_docker_still_stops_the_processes(make_world: MakeWorld) -> None:
    assert [step.title for step in backends.steps_down(make_world())][-1] == "Leave nothing running"


@pytest.mark.parametrize("name", ["docker", "context:", "context: x", "kind:x", ""])
def test_a_backend_that_does_not_exist_is_named(make_world: MakeWorld, name: str) -> None:
    with pytest.raises(ConfigError) as told:
        make_world(name)
    assert "backend" in told.value.message


def test_what_engines_compute_on_is_settled_before_anything_is_started(make_world: MakeWorld) -> None:
    world = make_world("local")
    assert world.settings.engine.accelerator == "auto"
    chosen = backends.choose(world).backend
    assert isinstance(chosen, LocalBackend)
    assert chosen.world.settings.engine.accelerator in {"cpu", "cuda", "vulkan", "metal"}
