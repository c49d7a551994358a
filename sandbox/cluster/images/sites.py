"""The Python packages of an image: installed on the host, from pinned hashes, for the image's Linux.

On the host, because a container may reach no package index where a network re-signs TLS, and because
pip then need not be in any image. The requirements are resolved for Linux and Python 3.11 beforehand
(``requirements/resolve``), so nothing of this machine's own system or interpreter decides what is installed.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from sandbox.cluster.images import commands
from sandbox.errors import ConfigError

CHECKOUT = Path(__file__).parents[3] / "requirements"
INSTALLED = Path(__file__).parents[2] / "requirements_data"

PYTHON = "3.11"
GLIBC_MINORS = range(36, 16, -1)
"""Releases 2.x of the C library that wheels may be built for: the image's own, down to the oldest wheels still made."""

LEFT_OUT = (
    # Not needed to run anything: scripts name this machine's interpreter, RECORD their digests.
    "bin",
    "share",
    "*.dist-info/RECORD",
    "*.dist-info/sboms",
    "**/tests",
    "**/include",
    "**/*.a",
    "**/*.c",
    "**/*.h",
    "**/*.hpp",
    "**/*.map",
    "**/*.pxd",
    "**/*.pyi",
    "**/*.pyx",
    # Arrow's ways to other machines, and names of its libraries that nothing is linked to.
    "pyarrow/_azurefs.*",
    "pyarrow/_flight.*",
    "pyarrow/_gcsfs.*",
    "pyarrow/_pyarrow_cpp_tests.*",
    "pyarrow/_s3fs.*",
    "pyarrow/libarrow_flight.so.*",
    "pyarrow/libarrow_python*.so",
    "pyarrow/libarrow_python*.so.*.*.*",
    "pyarrow/libarrow_python_flight.so.*",
    "pyarrow/libarrow_s3.so.*",
    "pyarrow/src",
)
"""What is taken out again, as patterns below the folder of packages."""

_HINT = "the lines above say what failed; see that pip reaches its package index, then try again"


def requirements(name: str) -> Path:
    """Find the pinned requirements of an image: in the checkout, or beside an installed package."""
    for root in (CHECKOUT, INSTALLED):
        if (root / f"{name}.txt").is_file():
            return root / f"{name}.txt"
    raise ConfigError(
        f"the requirements of image {name} are missing: no file {CHECKOUT / name}.txt",
        hint="run from a checkout of the sandbox",
    )


def platforms(machine: str) -> list[str]:
    """Name the kinds of wheel that run in the image, best first.

    Args:
        machine: as Linux says it, ``x86_64`` or ``aarch64``.
    """
    return [*(f"manylinux_2_{minor}_{machine}" for minor in GLIBC_MINORS), f"manylinux2014_{machine}"]


def install(wanted: Path, into: Path, machine: str) -> None:
    """Install packages into an empty folder and leave out what nothing at run time needs.

    Raises:
        BuildFailed: a package cannot be had, has no wheel for the image, or has another hash than the pinned one.
    """
    chosen = [argument for each in platforms(machine) for argument in ("--platform", each)]
    commands.run(
        [
            *(sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"),
            *("--require-hashes", "--no-deps", "--no-compile", "--only-binary", ":all:"),
            *("--implementation", "cp", "--python-version", PYTHON, *chosen),
            *("--target", str(into), "--requirement", str(wanted)),
        ],
        hint=_HINT,
    )
    trim(into)


def trim(site: Path) -> None:
    """Take out what no program needs to run."""
    for pattern in LEFT_OUT:
        for path in list(site.glob(pattern)):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)  # one pattern may lie within another's finding
            else:
                path.unlink(missing_ok=True)
