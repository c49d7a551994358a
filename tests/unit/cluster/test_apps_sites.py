"""The packages of images: pinned for Linux, consistent with the rest, and without what nothing needs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sandbox.cluster.images import sites
from sandbox.errors import ConfigError

NAMES = ("gateway", "page")
PIN = re.compile(r"^(?P<package>[a-z0-9-]+)==(?P<version>\S+) \\$")
HASH = re.compile(r"^    --hash=sha256:[0-9a-f]{64}( \\)?$")
UNWANTED = {
    "gateway": {"docker", "requests", "rich", "streamlit", "typer", "xllamacpp"},
    "page": {"aiohttp", "docker", "lightkube", "pydeck", "rich", "typer"},
}


def _pins(path: Path) -> set[tuple[str, str]]:
    """List packages with their versions; the host's file has two of some, for different interpreters."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return {(match[1], match[2]) for line in lines if (match := re.match(r"^([a-z0-9-]+)==(\S+)", line))}


@pytest.mark.parametrize("name", NAMES)
def test_every_package_is_pinned_by_hash_without_conditions_or_addresses(name: str) -> None:
    lines = sites.requirements(name).read_text(encoding="utf-8").splitlines()
    said = [line for line in lines if not line.startswith("#")]
    assert [line for line in said if not (PIN.match(line) or HASH.match(line))] == []
    assert len(_pins(sites.requirements(name))) > 20


@pytest.mark.parametrize("name", NAMES)
def test_an_image_has_the_same_versions_as_the_host(name: str) -> None:
    assert _pins(sites.requirements(name)) - _pins(sites.CHECKOUT / "run.txt") == set()


@pytest.mark.parametrize("name", NAMES)
def test_an_image_lacks_what_its_programs_have_no_use_for(name: str) -> None:
    assert {package for package, _ in _pins(sites.requirements(name))} & UNWANTED[name] == set()


def test_missing_requirements_say_which_file() -> None:
    with pytest.raises(ConfigError, match=r"requirements/nothing\.txt"):
        sites.requirements("nothing")


def test_wheels_for_the_newest_library_come_first() -> None:
    kinds = sites.platforms("aarch64")
    assert kinds[0] == "manylinux_2_36_aarch64"
    assert kinds[-2:] == ["manylinux_2_17_aarch64", "manylinux2014_aarch64"]


KEPT = (
    "pyarrow/libarrow.so.26",
    "pyarrow/libarrow_python.so.26",
    "numpy/testing/a.py",
    "a-1.dist-info/METADATA",
    "a.py",
)
GONE = (
    "bin/a",
    "a-1.dist-info/RECORD",
    "numpy/core/tests/b.py",
    "numpy/core/tests/tests/c.py",
    "pyarrow/include/d.h",
    "pyarrow/_flight.cpython-311.so",
    "pyarrow/libarrow_flight.so.26",
    "pyarrow/libarrow_python.so",
    "pyarrow/libarrow_python.so.26.0.1",
    "a.pyi",
    "deep/er/a.c",
)


def test_trimming_takes_out_what_is_named_and_keeps_the_rest(tmp_path: Path) -> None:
    for name in (*KEPT, *GONE):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    sites.trim(tmp_path)
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()) == sorted(
        KEPT
    )
