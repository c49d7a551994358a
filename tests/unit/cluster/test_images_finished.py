"""Folders that exist only when they are complete, and commands that say why they failed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from sandbox.cluster.images import commands, finished
from sandbox.engine.recipes import Recipe
from sandbox.errors import BuildFailed

RECIPE = Recipe("thing", ("one",))


def quiet(line: str) -> None:
    del line


def test_a_second_call_makes_nothing(tmp_path: Path) -> None:
    made: list[Path] = []

    def make(into: Path) -> None:
        made.append(into)
        (into / "done").touch()

    first = finished.provide(RECIPE, tmp_path, quiet, make)
    assert finished.provide(RECIPE, tmp_path, quiet, make) == first
    assert len(made) == 1
    assert (first / "done").exists()


@pytest.mark.parametrize("error", [BuildFailed("no", hint="none"), KeyboardInterrupt()], ids=["failure", "Ctrl-C"])
def test_what_was_interrupted_leaves_no_folder_and_is_made_again(tmp_path: Path, error: BaseException) -> None:
    def stop(into: Path) -> None:
        (into / "half").touch()
        raise error

    with pytest.raises(type(error)):
        finished.provide(RECIPE, tmp_path, quiet, stop)
    assert [path for path in (tmp_path / "builds").iterdir() if path.is_dir()] == []
    folder = finished.provide(RECIPE, tmp_path, quiet, lambda into: (into / "whole").touch())
    assert [path.name for path in folder.iterdir()] == ["whole"]


def test_a_failed_command_shows_its_last_words() -> None:
    with pytest.raises(BuildFailed, match="status 3:\nthe disk is on fire") as raised:
        commands.run(
            [sys.executable, "-c", "import sys; sys.stderr.write('the disk is on fire'); sys.exit(3)"], hint="water"
        )
    assert raised.value.hint == "water"


def test_a_command_is_heard_line_by_line_and_given_input_and_variables() -> None:
    heard: list[str] = []
    program = "import os, sys; sys.stderr.write(sys.stdin.read() + os.environ['COLOUR'])"
    commands.run(
        [sys.executable, "-c", program],
        hint="none",
        environment={"COLOUR": "red"},
        standard_input="one\ntwo\n",
        heard=heard.append,
    )
    assert heard == ["one", "two", "red"]


def test_a_missing_command_is_named() -> None:
    with pytest.raises(BuildFailed, match="could not run no-such-program"):
        commands.run(["no-such-program"], hint="install it")
