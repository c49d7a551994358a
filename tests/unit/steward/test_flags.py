"""How the steward is told where it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from sandbox.config import EngineSettings
from sandbox.engine.arguments import EVERYWHERE
from sandbox.errors import ConfigError
from sandbox.steward.__main__ import main, parse
from sandbox.steward.in_cluster import accelerator_of, read_secret

IN_CLUSTER = ["--in-cluster", "--token-file", "/t", "--engine-key-file", "/k", "--engine-image", "i@sha256:0"]


def test_without_flags_it_looks_after_this_machine() -> None:
    asked = parse([])
    assert (asked.in_cluster, asked.listen, asked.port) == (False, "127.0.0.1", None)


def test_in_a_cluster_it_needs_its_secrets_and_the_engines_image(capsys: pytest.CaptureFixture[str]) -> None:
    assert parse([*IN_CLUSTER, "--listen", EVERYWHERE, "--port", "8503"]).engine_image == "i@sha256:0"
    with pytest.raises(SystemExit):
        parse(["--in-cluster", "--token-file", "/t"])
    assert "--in-cluster needs --engine-key-file, --engine-image" in capsys.readouterr().err


def test_what_belongs_to_a_cluster_is_refused_without_one(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["--engine-image", "i"])
    assert "only with --in-cluster: --engine-image" in capsys.readouterr().err


def test_outside_a_pod_it_says_that_it_is_in_none(caplog: pytest.LogCaptureFixture) -> None:
    assert main(IN_CLUSTER) == ConfigError.exit_code
    assert "no pod with a token" in caplog.text


def test_a_secret_is_read_anew_each_time(tmp_path: Path) -> None:
    path = tmp_path / "token"
    for value in ("one", "two"):
        path.write_text(f"{value}\n")
        assert read_secret(path) == value
    path.write_text("\n")
    with pytest.raises(ConfigError, match="empty"):
        read_secret(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_secret(tmp_path / "none")


@pytest.mark.parametrize(("asked", "found"), [("auto", "cpu"), ("cpu", "cpu"), ("cuda", "cuda"), ("vulkan", "vulkan")])
def test_pods_compute_on_what_was_settled(asked: str, found: str) -> None:
    assert accelerator_of(EngineSettings.model_validate({"accelerator": asked})) == found


def test_no_pod_computes_on_metal() -> None:
    with pytest.raises(ConfigError, match="Metal"):
        accelerator_of(EngineSettings(accelerator="metal"))
