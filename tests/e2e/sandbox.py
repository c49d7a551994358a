"""A sandbox of its own for one or many journeys, used as a person would: by make, the command line and clients."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import openai

from sandbox.processes import free_port

REPOSITORY = Path(__file__).parents[2]
MODEL = "smollm2-135m-instruct"


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def until(is_so: Callable[[], bool], within_s: float, what: str) -> None:
    """Wait on a condition, and fail naming it."""
    deadline = time.monotonic() + within_s
    while not is_so():
        assert time.monotonic() < deadline, f"not within {within_s} s: {what}"
        time.sleep(0.05)


@dataclass
class Sandbox:
    """A sandbox of its own: a checkout, a data folder and two ports."""

    checkout: Path
    home: Path
    page_port: int = field(default_factory=free_port)
    api_port: int = field(default_factory=free_port)
    backend: str = "local"
    key: str = ""
    first_up: dict[str, Any] = field(default_factory=dict)

    @property
    def page_url(self) -> str:
        return f"http://127.0.0.1:{self.page_port}"

    @property
    def api_url(self) -> str:
        return f"http://127.0.0.1:{self.api_port}/v1"

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("SANDBOX_HOME", "MAKE"))}
        return kept | {
            "SANDBOX_HOME": str(self.home),
            "SANDBOX_BACKEND": self.backend,
            "SANDBOX_PAGE_PORT": str(self.page_port),
            "SANDBOX_API_PORT": str(self.api_port),
        }

    def run(self, *words: str, more: dict[str, str] | None = None, ok: bool = True) -> subprocess.CompletedProcess[str]:
        """Run the command line, and fail with what it said unless it is to fail."""
        command = [str(self.checkout / ".venv" / "bin" / "sandbox"), *words]
        return self._run(command, more, ok=ok)

    def make(self, *words: str, ok: bool = True) -> subprocess.CompletedProcess[str]:
        """Run make in the checkout."""
        return self._run(["make", "--no-print-directory", *words], None, ok=ok)

    def _run(self, command: list[str], more: dict[str, str] | None, *, ok: bool) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            command,
            cwd=self.checkout,
            env=self.environment | (more or {}),
            capture_output=True,
            text=True,
            timeout=280,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        if ok:
            assert done.returncode == 0, f"{command} exited with {done.returncode}:\n{done.stdout}\n{done.stderr}"
        return done

    def json(self, *words: str) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(self.run(*words, "--json").stdout)
        return told

    def up(self) -> dict[str, Any]:
        return self.json("up")

    def signin_url(self) -> str:
        return str(self.up()["signin"])

    def client(self, **more: Any) -> openai.OpenAI:
        return openai.OpenAI(base_url=self.api_url, api_key=self.key, max_retries=0, timeout=120, **more)

    def ask(self, text: str, **more: Any) -> str:
        given: dict[str, Any] = {"temperature": 0, "max_tokens": 16, **more}
        reply = self.client().chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": text}], **given
        )
        return str(reply.choices[0].message.content)

    def busy_slots(self) -> int:
        """Ask the engine itself how many answers it is working on."""
        folder = self.home / "run" / "engines"
        url = json.loads((folder / f"{MODEL}.address.json").read_text())["url"]
        headers = {"Authorization": f"Bearer {(folder / f'{MODEL}.key').read_text()}"}
        figures = httpx.get(f"{url}/metrics", headers=headers, trust_env=False).text
        (line,) = (line for line in figures.splitlines() if line.startswith("llamacpp:requests_processing "))
        return int(float(line.split()[1]))

    def last_record_state(self) -> str:
        url = f"http://127.0.0.1:{self.api_port}/sandbox/v1/records?limit=1"
        reply = httpx.get(url, headers={"Authorization": f"Bearer {self.key}"}, trust_env=False)
        return str(reply.json()["records"][0]["state"])

    def pid(self, name: str) -> int:
        path = self.home / "run" / f"{name}.process.json"
        if name == "engine":
            path = self.home / "run" / "engines" / f"{MODEL}.process.json"
        return int(json.loads(path.read_text())["pid"])
