"""The sandbox's own images: engine, gateway (the steward runs in it too), page, and the policy agent.

    debian ── engine          llama-server and the canary's program
    python ── site-gateway ── gateway, agent      packages │ our own code
           └─ site-page ───── page

Every image is named after its content, so what is there need not be built, and a changed line of code
builds one small layer anew. Built twice from nothing the layers of engine, gateway and page are the same
byte for byte (one time for all files, sorted, compiled without a clock); the image's id is not, since the
classic builder writes the hour into its history, and the agent's layer of Debian packages is as the
mirror was that day.
"""

from __future__ import annotations

import platform
from collections.abc import Collection, Sequence
from pathlib import Path

from docker.errors import DockerException
from filelock import FileLock

from sandbox.cluster.docker import Docker, Say
from sandbox.cluster.images import debian, engines, sites, sources, together
from sandbox.cluster.images.engines import NO_PINS, Accelerator, Pins
from sandbox.cluster.images.image import Image, clear
from sandbox.cluster.images.together import Work
from sandbox.errors import ImageUnavailable

ALL = ("engine", "gateway", "page", "agent")
CODE = Path("opt/sandbox")
PACKAGES = Path("opt/site")
SITE_OF = {"gateway": "gateway", "agent": "gateway", "page": "page"}
"""Whose packages an image stands on."""


MACHINES = {"arm64": "aarch64", "amd64": "x86_64"}
"""Other names of the kinds of processor, to those that Linux uses."""


def refs(cache: Path, *, accelerator: Accelerator = "cpu", pins: Pins = NO_PINS) -> dict[str, str]:
    """Name every image as its inputs are now; builds nothing and asks nobody.

    Raises:
        ConfigError: the recipes or requirements are not there.
        ImageUnavailable: the engine asked for needs an image that is not pinned.
    """
    return {name: images[-1].ref for name, images in _chains(cache, accelerator, pins).items()}


def ensure(
    docker: Docker,
    cache: Path,
    say: Say,
    names: Collection[str] = ALL,
    *,
    accelerator: Accelerator = "cpu",
    pins: Pins = NO_PINS,
) -> dict[str, str]:
    """Build those images that are not there, and return the names of all that were asked for.

    Raises:
        BuildFailed: with the end of what was said; what was built before stays.
        ImageUnavailable: a base can neither be made nor pulled, or Docker runs on another kind of processor.
    """
    known = _chains(cache, accelerator, pins)
    chains = {name: known[name] for name in names}
    missing = [chain for chain in chains.values() if docker.image_id(chain[-1].ref) is None]
    if missing:
        _check_machine(str(docker.client.info().get("Architecture", "")))
        (cache / "builds").mkdir(parents=True, exist_ok=True)
        with FileLock(cache / "builds" / "apps.lock"):
            clear(cache)
            together.do(_works(docker, cache, missing), say)
    return {name: chain[-1].ref for name, chain in chains.items()}


def _chains(cache: Path, accelerator: Accelerator, pins: Pins) -> dict[str, list[Image]]:
    """List for each image the ones of ours that it stands on, and itself last."""
    site_images = {name: _site(name) for name in SITE_OF.values()}
    chains = {"engine": [engines.image(cache, accelerator, pins)]}
    for name, site in SITE_OF.items():
        chains[name] = [site_images[site], _app(name, site_images[site])]
    return chains


def _works(docker: Docker, cache: Path, chains: Sequence[Sequence[Image]]) -> list[Work]:
    """Make one piece of work of all images that stand on the same one: what they share is built once."""

    def work_of(images: Sequence[Image]) -> Work:
        def work(say: Say) -> None:
            _have_base(docker, cache, images[0].base, say)
            for image in images:
                image.build(docker, cache, say)

        return work

    by_first: dict[str, list[Image]] = {}
    for chain in chains:
        by_first.setdefault(chain[0].ref, []).extend(chain)
    return [work_of(images) for images in by_first.values()]


def _have_base(docker: Docker, cache: Path, base: str, say: Say) -> None:
    if base == debian.ref():
        debian.provide(docker, cache, say)
    elif base == debian.python_ref():
        debian.python_base(docker, cache, say)
    elif docker.image_id(base) is None:
        say(f"pulling {base}")
        try:
            docker.client.images.pull(base)
        except DockerException as error:
            raise ImageUnavailable(
                f"{base} cannot be pulled: {error}", hint="see that Docker reaches the registry, or pin no image"
            ) from error


def _site(name: str) -> Image:
    """Name the image that holds the packages of others."""
    wanted = sites.requirements(name)
    machine = _machine(platform.machine())

    def fill(files: Path, say: Say) -> None:
        say(f"{name}: installing its packages")
        sites.install(wanted, files / PACKAGES, machine)

    return Image(f"site-{name}", "site", debian.python_ref(), (wanted, machine, *sites.LEFT_OUT), fill)


def _app(name: str, site: Image) -> Image:
    """Name the image that holds our own code."""
    files_of_it = sources.of(name)

    def fill(files: Path, say: Say) -> None:
        del say
        sources.copy(files_of_it, files / CODE)

    return Image(name, name, site.ref, tuple(sources.parts(files_of_it)), fill)


def _machine(name: str) -> str:
    return MACHINES.get(name.lower(), name.lower())


def _check_machine(docker_machine: str) -> None:
    here = _machine(platform.machine())
    if _machine(docker_machine) != here:
        raise ImageUnavailable(
            f"Docker runs on {docker_machine or 'an unknown processor'} and this machine is {here}: "
            "what is built here does not run there",
            hint="use a Docker engine of this machine: docker context ls",
        )
