"""What `doctor` looks at: the prerequisites of the backend that `up` would take, all reported at once."""

from __future__ import annotations

from collections.abc import Callable

from sandbox.cluster import nvidia_check
from sandbox.engine.accelerated import look_here
from sandbox.errors import SandboxError
from sandbox.lifecycle import backends, doctor, doctor_accelerator, kind
from sandbox.lifecycle.doctor import Finding
from sandbox.lifecycle.site import Site
from sandbox.lifecycle.world import World


def examine(world: World) -> list[Finding]:
    """Look at everything, and report everything at once."""
    settings, home = world.settings, world.home
    checks: list[tuple[str, Callable[[], str]]] = [
        ("Python", doctor.check_python),
        ("data folder", lambda: doctor.check_home(settings.home)),
        ("backend", lambda: _backend(world)),
    ]
    if world.running_backend() != "kind":
        checks += [
            ("page port", lambda: doctor.check_port(settings.page.port, "SANDBOX_PAGE_PORT", home, "page")),
            ("API port", lambda: doctor.check_port(settings.api.port, "SANDBOX_API_PORT", home, "gateway")),
        ]
    checks += _of_cluster(world) if _is_cluster(world) else [("engine", lambda: doctor.check_engine(settings))]
    found = [*(doctor.finding(name, check) for name, check in checks)]
    return [*found, doctor.finding("hardware", doctor.hardware_here), *_accelerator(world)]


def _accelerator(world: World) -> list[Finding]:
    """Say what engines compute on, where it can be said without Docker too."""
    backend = "kind" if _is_cluster(world) else "local"
    try:
        containers = nvidia_check.containers(Site(world).docker.client.info()) if backend == "kind" else None
    except SandboxError:
        containers = None
    here = look_here(world.settings.engine, world.settings.cache, containers=containers)
    return doctor_accelerator.examine(world.settings.engine.accelerator, here, backend)


def _is_cluster(world: World) -> bool:
    try:
        return backends.current(world).backend.name != "local"
    except SandboxError:
        return world.settings.backend != "local"


def _backend(world: World) -> str:
    chosen = backends.current(world)
    return f"{chosen.backend.name}: {chosen.reason}"


def _of_cluster(world: World) -> list[tuple[str, Callable[[], str]]]:
    site = Site(world)
    checks: list[tuple[str, Callable[[], str]]] = [
        ("Docker engine", lambda: str(site.docker.client.version()["Version"])),
        ("node image", lambda: f"{site.node_image}"),
    ]
    if world.running_backend() != "kind":
        checks.append(("room for a cluster", lambda: kind.check_room(site.docker)))
    return checks
