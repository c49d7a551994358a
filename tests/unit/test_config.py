from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox import config
from sandbox.errors import ConfigError


def load(tmp_path: Path, **environment: str) -> config.Loaded:
    return config.load(environment={"SANDBOX_HOME": str(tmp_path), **environment})


def test_defaults_put_page_and_api_on_their_known_ports(tmp_path: Path) -> None:
    settings = load(tmp_path).settings
    assert settings.page_url == "http://127.0.0.1:8501"
    assert settings.api_url == "http://127.0.0.1:8502/v1"


def test_flag_beats_environment_beats_file_beats_default(tmp_path: Path) -> None:
    (tmp_path / "sandbox.toml").write_text("[page]\nport = 1111\n[api]\nport = 2222\n[engine]\nslots = 3\n")
    environment = {"SANDBOX_HOME": str(tmp_path), "SANDBOX_PAGE_PORT": "3333", "SANDBOX_API_PORT": "4444"}
    loaded = config.load({"page.port": 5555}, environment)
    assert (loaded.settings.page.port, loaded.settings.api.port, loaded.settings.engine.slots) == (5555, 4444, 3)
    sources = {row.name: row.source for row in loaded.rows()}
    assert sources["page.port"] == "flag"
    assert sources["api.port"] == "environment"
    assert sources["engine.slots"] == "sandbox.toml"
    assert sources["engine.threads"] == "default"


@pytest.mark.parametrize(
    ("variable", "named"),
    [
        ("SANDBOX_PAGE_PROT", "did you mean SANDBOX_PAGE_PORT"),
        ("SANDBOX_PAGEPORT", "did you mean SANDBOX_PAGE_PORT"),
        ("SANDBOX_XYZ", "SANDBOX_XYZ is no setting"),
    ],
)
def test_load_refuses_a_misspelt_variable(tmp_path: Path, variable: str, named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        load(tmp_path, **{variable: "1"})


def test_load_names_every_wrong_value_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as told:
        load(tmp_path, SANDBOX_PAGE_PORT="70000", SANDBOX_ENGINE_SLOTS="-1", SANDBOX_BACKEND="moon")
    assert "page.port" in told.value.message
    assert "engine.slots" in told.value.message
    assert "backend" in told.value.message
    assert "SANDBOX_" in told.value.hint


@pytest.mark.parametrize("text", ["[page]\nprot = 1\n", "colour = 1\n", "home = '/x'\n", "[page\n"])
def test_load_refuses_a_wrong_file(tmp_path: Path, text: str) -> None:
    (tmp_path / "sandbox.toml").write_text(text)
    with pytest.raises(ConfigError, match=r"sandbox\.toml"):
        load(tmp_path)


def test_load_refuses_one_port_for_two(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="different ports"):
        load(tmp_path, SANDBOX_PAGE_PORT="9000", SANDBOX_API_PORT="9000")


def test_an_ollama_elsewhere_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="ollama_url"):
        load(tmp_path, SANDBOX_ENGINE_OLLAMA_URL="http://example.com:11434")


def test_an_empty_variable_counts_as_unset(tmp_path: Path) -> None:
    assert load(tmp_path, SANDBOX_BACKEND="").settings.backend == "auto"


def test_a_process_started_with_the_settings_reads_the_same(tmp_path: Path) -> None:
    first = load(tmp_path, SANDBOX_ENGINE_SLOTS="3", SANDBOX_MODELS_SERVE="smollm2-135m-instruct").settings
    assert config.load(environment=config.environment_of(first)).settings == first


def test_every_setting_says_what_it_is() -> None:
    assert all(config.fields().values())
    assert len(config.fields()) > 15


@given(st.text())
def test_any_file_is_read_or_refused_with_a_config_error(text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "sandbox.toml").write_text(text, encoding="utf-8", errors="surrogatepass", newline="")
        try:
            load(Path(folder))
        except ConfigError as error:
            assert error.hint
