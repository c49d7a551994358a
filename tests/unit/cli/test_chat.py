from __future__ import annotations

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from sandbox.cli.chat import CONTROL


def test_an_answer_cannot_drive_the_terminal() -> None:
    assert CONTROL.sub("", "a\x1b[2Jb\x07c\x9b31md\re\n\tf") == "a[2Jbc31mde\n\tf"


@given(st.text())
def test_of_all_control_characters_only_line_ends_and_tabs_are_left(text: str) -> None:
    shown = CONTROL.sub("", text)
    assert {letter for letter in shown if unicodedata.category(letter) == "Cc"} <= {"\n", "\t"}
