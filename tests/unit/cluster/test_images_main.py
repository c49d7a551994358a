"""The command that builds images: its arguments."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest

from sandbox.cluster.images import __main__ as command


def test_an_unknown_image_is_refused_with_those_that_are_known(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        command.main(["nodes"])
    assert "unknown: nodes; known: node, apps, conformance and all" in capsys.readouterr().err


# The SDK forgets a socket that it could not connect; it is collected here, so that no other test hears of it.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_without_an_engine_the_error_is_shown_with_its_hint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    assert command.main(["node", "--cache-dir", str(tmp_path)]) == 4
    gc.collect()
    shown = capsys.readouterr().err
    assert "no Docker engine" in shown
    assert "\nhint:  " in shown
