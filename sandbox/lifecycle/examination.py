"""What `doctor` looks at: the prerequisites of the backend that `up` would take, all reported at once."""

from __future__ import annotations

from collections.abc import Callable

from sandbox.errors import SandboxError
from sandbox.lifecycle import backends, doctor, kind
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
    return [*(doctor.finding(name, check) for name, check in checks), doctor.finding("hardware", doctor.hardware_here)]


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
