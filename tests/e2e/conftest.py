"""One sandbox for all journeys: a fresh copy of this checkout in an empty folder, brought up by `make up`.

``--in-place`` uses this checkout's own environment instead, which saves a minute while writing tests.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.e2e.cluster_sandbox import Cluster, need_cluster
from tests.e2e.sandbox import REPOSITORY, Sandbox

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
QUIET_BROWSER = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


FIGURES = pytest.StashKey[list[str]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[FIGURES] = []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print what was measured on the way."""
    if config.stash[FIGURES]:
        terminalreporter.section("measured on the way")
        for line in config.stash[FIGURES]:
            terminalreporter.write_line(line)


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Keep a measured figure, to be printed at the end of the run."""
    return request.config.stash[FIGURES].append


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--in-place", action="store_true", help="use this checkout's environment, not a fresh copy's")


@pytest.fixture(scope="session")
def checkout(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    if request.config.getoption("--in-place"):
        return REPOSITORY
    folder = tmp_path_factory.mktemp("fresh") / "checkout"
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=REPOSITORY,
        capture_output=True,
        check=True,
    ).stdout.decode()
    for name in filter(None, listed.split("\0")):
        if (REPOSITORY / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPOSITORY / name, folder / name)
    return folder


@pytest.fixture(scope="session")
def running(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """The sandbox that the journeys share, brought up from nothing by the README's first command."""
    sandbox = Sandbox(checkout, tmp_path_factory.mktemp("home") / "data")
    try:
        done = sandbox.make("up", "BACKEND=local", "ARGS=--json")
        sandbox.first_up = json.loads(done.stdout)
        sandbox.key = sandbox.first_up["key"]
        yield sandbox
    finally:
        if (checkout / ".venv" / "bin" / "sandbox").exists():
            sandbox.run("down")


@pytest.fixture(scope="session")
def cluster(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The sandbox in a kind cluster that the journeys share, brought up from nothing but its images."""
    need_cluster()
    sandbox = Cluster(checkout, tmp_path_factory.mktemp("cluster") / "data", backend="kind")
    sandbox.make(".venv/.run")
    try:
        sandbox.run_make_up_and_ask()
        yield sandbox
    finally:
        sandbox.close()
        sandbox.run("down")


@pytest.fixture
def another(checkout: Path, running: Sandbox, tmp_path: Path) -> Iterator[Sandbox]:
    """A second sandbox beside the shared one, with the model's file but nothing running."""
    sandbox = Sandbox(checkout, tmp_path / "another")
    (sandbox.home / "blobs").mkdir(parents=True)
    for blob in (running.home / "blobs").iterdir():
        shutil.copy2(blob, sandbox.home / "blobs")
    yield sandbox
    if sandbox.home.is_dir():
        sandbox.run("down")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        reason = "needs Chromium: tests/e2e/get-chromium"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=found, args=list(QUIET_BROWSER))
        yield opened
        opened.close()
