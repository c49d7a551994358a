from __future__ import annotations

import json
from pathlib import Path

import pytest

from sandbox.cli import commands as cli


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr("sys.argv", ["sandbox", *words])
    with pytest.raises(SystemExit) as told:
        cli.main()
    assert isinstance(told.value.code, int)
    return told.value.code


def test_the_version_is_printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "--version") == 0
    assert capsys.readouterr().out.strip() == "0.1.0"


def test_a_wrong_option_is_a_usage_error(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "up", "--colour") == 2
    assert "--colour" in capsys.readouterr().err


def test_an_expected_error_is_a_message_a_hint_and_its_exit_status(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "models", "verify", "nothing-like-it") == 3
    said = capsys.readouterr().err
    assert "error: no model named 'nothing-like-it'" in said
    assert "hint:" in said


def test_status_of_nothing_running_is_4_and_one_object(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "status", "--json") == 4
    told = json.loads(capsys.readouterr().out)
    assert (told["running"], told["models"], told["api"]) == (False, [], "http://127.0.0.1:8502/v1")


def test_config_show_says_where_a_value_came_from(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("SANDBOX_PAGE_PORT", "9001")
    assert run(monkeypatch, "config", "show", "--json") == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)["settings"]}
    assert (rows["page.port"]["value"], rows["page.port"]["source"]) == ("9001", "environment")


def test_a_dry_run_lists_the_steps_and_makes_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run(monkeypatch, "up", "--dry-run", "--json") == 0
    steps = json.loads(capsys.readouterr().out)["steps"]
    assert any("smollm2-135m-instruct" in step["title"] for step in steps)
    assert not (tmp_path / "home").exists()


def test_a_bug_is_shown_whole_and_exits_with_70(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(cli, "app", broken)
    assert run(monkeypatch, "up") == 70
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_ctrl_c_exits_with_130_and_says_how_to_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "app", interrupted)
    assert run(monkeypatch, "up") == 130
    assert "make down" in capsys.readouterr().err


def test_every_command_has_its_help_in_the_docs() -> None:
    page = (Path(__file__).parents[3] / "docs" / "commands.md").read_text()
    for name in ("up", "down", "status", "doctor", "chat", "models fetch", "logs", "key new", "config show"):
        assert f"## sandbox {name}\n" in page
