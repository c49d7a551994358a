"""The page's process, started as it is in earnest."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path

import httpx
import pytest

import ui
from sandbox.processes import free_port

ROOT = Path(ui.__file__).parents[1]
DEADLINE_S = 60.0


@pytest.fixture
def page(tmp_path: Path) -> Generator[tuple[str, Path], None, None]:
    """A page whose gateway does not answer, and where its log goes."""
    port, log = free_port(), tmp_path / "page.log"
    arguments = [sys.executable, "-m", "ui", "--port", str(port), "--public-port", "18501"]
    arguments += ["--api", f"http://127.0.0.1:{free_port()}"]
    with log.open("w") as written:
        process = subprocess.Popen(arguments, cwd=ROOT, stdout=written, stderr=subprocess.STDOUT)
        try:
            url = f"http://127.0.0.1:{port}"
            wait_until_healthy(url, process)
            yield url, log
        finally:
            process.terminate()
            process.wait(timeout=20)


def wait_until_healthy(url: str, process: subprocess.Popen[bytes]) -> None:
    give_up_at = time.monotonic() + DEADLINE_S
    while time.monotonic() < give_up_at:
        assert process.poll() is None, "the page's process ended"
        try:
            if httpx.get(f"{url}/healthz", trust_env=False).text == "ok":
                return
        except httpx.TransportError:
            time.sleep(0.1)
    raise AssertionError(f"the page is not healthy after {DEADLINE_S:.0f} s")


def test_the_page_starts_asks_for_sign_in_and_keeps_tickets_out_of_its_log(page: tuple[str, Path]) -> None:
    url, log = page
    with httpx.Client(base_url=url, trust_env=False) as browser:
        assert browser.get("/").headers["location"] == "/signin"
        assert browser.get("/signin", params={"ticket": "a-very-secret-ticket"}).status_code == 503
        assert browser.post("/signin", data={"key": "a-very-secret-key"}).status_code == 503
        for host, code in (("127.0.0.1:18501", 200), ("127.0.0.1:18502", 403), ("evil.test", 403)):
            assert browser.get("/healthz", headers={"host": host}).status_code == code
    assert "very-secret" not in log.read_text()
