"""A node made of network namespaces, where this machine lets one be made."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest

from sandbox.isolation import REMOVE
from tests.contract.isolation.netns import Lab, run


@pytest.fixture(scope="session")
def whole_lab() -> Iterator[Lab]:
    lab = Lab(f"sbx{os.getpid() % 100_000}")
    missing = _missing()
    if missing:
        what = f"{missing}; `sudo apt-get install iproute2 nftables procps`, and run these tests as root"
        if os.environ.get("CI") == "true":
            pytest.fail(f"CI must try the rules on a real kernel: {what}")
        pytest.skip(what)
    try:
        lab.build()
        yield lab
    finally:
        lab.close()


@pytest.fixture
def lab(whole_lab: Lab) -> Lab:
    """The node, without any rules."""
    whole_lab.nft(REMOVE)
    return whole_lab


def _missing() -> str | None:
    for program in ("ip", "nft", "sysctl"):
        if shutil.which(program) is None:
            return f"the program {program} is not there"
    if os.geteuid() != 0:
        return "network namespaces need root"
    probe = f"sbx{os.getpid() % 100_000}-probe"
    try:
        run("ip", "netns", "add", probe)
        run("ip", "netns", "exec", probe, "nft", "add table inet probe")
    except AssertionError as error:
        return str(error)
    finally:
        _forget(probe)
    return None


def _forget(space: str) -> None:
    try:
        run("ip", "netns", "del", space)
    except AssertionError:
        return
