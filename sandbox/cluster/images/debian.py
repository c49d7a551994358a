"""The base of every image: a small Debian, from the package mirrors this machine already uses.

``provide`` makes it with mmdebstrap, which takes the apt set-up of the host (sources, proxy, checks)
and installs the current security updates. Where that tool cannot be had, the official image of the same
release is pulled and given the same name, so that whatever stands on it need not know.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from docker.errors import DockerException
from filelock import FileLock

from sandbox.cluster.docker import Docker, Say
from sandbox.cluster.images import commands, contents
from sandbox.errors import ImageUnavailable

SUITE = "bookworm"
PULLED = ("debian", f"{SUITE}-slim")
"""The official image that takes the place where this machine cannot make its own."""

OPTIONS = (
    "--variant=minbase",
    "--components=main",
    # The image is thrown away when a build fails, so nothing is won by a sync after every file: 33 s instead of 70.
    "--dpkgopt=force-unsafe-io",
    "--dpkgopt=path-exclude=/usr/share/man/*",
    "--dpkgopt=path-exclude=/usr/share/info/*",
    "--dpkgopt=path-exclude=/usr/share/locale/*",
    "--dpkgopt=path-exclude=/usr/share/doc/*",
    "--dpkgopt=path-include=/usr/share/doc/*/copyright",  # the licences of what is given on
    '--aptopt=APT::Install-Recommends "false"',
    '--aptopt=Acquire::Languages "none"',
    # The tool that merges /usr comes with all of Perl, 49 MB; the package that says it is merged takes its place.
    "--include=usr-is-merged",
    '--customize-hook=chroot "$1" apt-get purge -qq -y usrmerge perl "^perl-modules-" "^lib.*-perl$" "^libperl5" '
    '"^libgdbm" >&2',
    # What belongs to the host and not to the image.
    '--customize-hook=rm -f "$1"/etc/hostname "$1"/etc/resolv.conf "$1"/var/cache/debconf/*-old',
)
HOST_SETTINGS = (
    "Acquire::http::Proxy",
    "Acquire::https::Proxy",
    "Acquire::Check-Valid-Until",
    "Acquire::Check-Date",
)
"""Settings of the host's apt without which its sources may not answer."""


def ref() -> str:
    """Name the base image after what it is made of."""
    return f"sandbox/debian:{contents.key(SUITE, *OPTIONS)}"


def python_ref() -> str:
    """Name the base image with Python after what it is made of."""
    return f"sandbox/python:{contents.key(ref(), contents.folder('python'))}"


def provide(docker: Docker, cache: Path, say: Say) -> str:
    """Make the base image unless it is there, and return its name.

    Raises:
        ImageUnavailable: it can neither be made nor pulled on this machine.
        BuildFailed: making it failed; the message carries the end of what was said.
    """
    with lock(cache, ref()):
        if docker.image_id(ref()) is None:
            if _can_bootstrap(say):
                _bootstrap(docker, say)
            else:
                _pull(docker, say)
    return ref()


def python_base(docker: Docker, cache: Path, say: Say) -> str:
    """Make the base image with Python 3.11 unless it is there, and return its name.

    For programs in Python that bring their packages along: the interpreter and its standard library, no pip.
    """
    with lock(cache, python_ref()):
        if docker.image_id(python_ref()) is None:
            base = provide(docker, cache, say)
            say("python base: installing the interpreter")
            docker.build(contents.folder("python"), python_ref(), arguments={"BASE": base}, say=_silent)
    return python_ref()


def sources(configured: str) -> list[str]:
    """Choose the lines for this release out of what apt is configured with.

    Args:
        configured: lines of address, release and component, as ``apt-get indextargets`` is asked for them.

    Returns:
        Lines for a sources.list; none where the host is of another release, and the tool's own default holds.
    """
    chosen = []
    for line in configured.splitlines():
        address, release, component = [*line.split(), "", "", ""][:3]
        is_remote = address.startswith(("http://", "https://"))
        if is_remote and component == "main" and release.split("-")[0] == SUITE and "backports" not in release:
            chosen.append(f"deb {address} {release} main")
    return list(dict.fromkeys(chosen)) if any(f" {SUITE} " in line for line in chosen) else []


def host_options(dump: str) -> list[str]:
    """Choose the settings that apt in the image needs too, out of the host's ``apt-config dump``."""
    lines = [line.removesuffix(";") for line in dump.splitlines()]
    return [f"--aptopt={line}" for line in lines if line.split(" ")[0] in HOST_SETTINGS and not line.endswith('""')]


def _bootstrap(docker: Docker, say: Say) -> None:
    say(f"base image: making Debian {SUITE}, half a minute")
    lines = sources(_ask(["apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)"]))
    options = [*OPTIONS, *host_options(_ask(["apt-config", "dump"])), *_certificates(lines)]
    with tempfile.TemporaryDirectory(prefix="sandbox-debian-") as scratch:
        tar = Path(scratch) / "base.tar"
        mirrors = ["-"] if lines else []
        commands.run(
            ["mmdebstrap", *options, SUITE, str(tar), *mirrors],
            standard_input="\n".join(lines) + "\n",
            hint="the lines above say what is missing; apt-get update shows whether the mirrors answer",
        )
        docker.import_rootfs(tar, ref(), changes=['CMD ["/bin/bash"]'])


def _certificates(lines: Sequence[str]) -> list[str]:
    """Bring the host's certificate authorities along where a mirror is asked through TLS."""
    bundle = Path("/etc/ssl/certs/ca-certificates.crt")
    if not any(line.startswith("deb https://") for line in lines) or not bundle.is_file():
        return []
    return ["--include=ca-certificates", f"--customize-hook=copy-in {bundle} {bundle.parent}"]


def _can_bootstrap(say: Say) -> bool:
    """Say whether mmdebstrap is here, after having installed it where that is allowed."""
    if shutil.which("mmdebstrap"):
        return True
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        return False
    say("base image: installing mmdebstrap")
    install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "mmdebstrap"]
    for argv in (["apt-get", "update", "-qq"], install):
        commands.run(
            argv, environment={"DEBIAN_FRONTEND": "noninteractive"}, hint="see that apt-get install mmdebstrap works"
        )
    return True


def _pull(docker: Docker, say: Say) -> None:
    name, tag = PULLED
    say(f"base image: pulling {name}:{tag}")
    try:
        docker.client.images.pull(name, tag=tag).tag(*ref().split(":"))
    except DockerException as error:
        raise ImageUnavailable(
            f"no base image: this machine has no mmdebstrap to make one, and {name}:{tag} cannot be pulled: {error}",
            hint="on Debian or Ubuntu: sudo apt-get install mmdebstrap; elsewhere let Docker reach a registry",
        ) from error


def _ask(argv: Sequence[str]) -> str:
    """Ask apt something; a host without apt has nothing configured."""
    return commands.run(argv, hint="see that apt works") if shutil.which(argv[0]) else ""


def lock(cache: Path, name: str) -> FileLock:
    """Let one process at a time make an image."""
    folder = cache / "builds"
    folder.mkdir(parents=True, exist_ok=True)
    return FileLock(folder / f"{name.replace('/', '-').replace(':', '-')}.lock")


def _silent(line: str) -> None:
    """Keep apt's own words for the error."""
    del line
