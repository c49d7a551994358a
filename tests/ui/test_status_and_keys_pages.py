"""The pages “Status” and “Keys”, run without a browser."""

from __future__ import annotations

import re

import pytest
from streamlit.testing.v1 import AppTest

from sandbox.errors import NotRunning
from tests.ui.fake_console import MODEL, FakeConsole
from tests.ui.test_chat_page import labels, read


@pytest.fixture
def status(page: AppTest) -> AppTest:
    page.run()
    return page.switch_page("pages/status.py")


@pytest.fixture
def keys(page: AppTest) -> AppTest:
    page.run()
    return page.switch_page("pages/keys.py")


def test_status_shows_each_model_with_what_it_is_and_why(status: AppTest) -> None:
    status.run()
    assert not status.exception
    assert [metric.value for metric in status.metric] == ["1 of 1", "1,234", "66 min 40 s"]
    table = re.sub(r"\\", "", str(status.table[0].value.to_dict()))
    for words in (
        "tiny-model",
        "llama-server (found on PATH)",
        "2,048 tokens",
        "Apache-2.0",
        MODEL.sha256[:32],
        "Restarts",
    ):
        assert words in table
    assert [element.value for element in status.text] == list(MODEL.why)


def test_status_says_why_a_model_is_not_ready(status: AppTest, console: FakeConsole) -> None:
    console.rows = [MODEL.model_copy(update={"state": "failed", "detail": "exit 137 (out of memory)"})]
    status.run()
    assert "exit 137 (out of memory)" in read(status)
    assert status.metric[0].value == "0 of 1"


@pytest.mark.parametrize(("name", "call"), [("status", "status"), ("keys", "keys")])
def test_a_gateway_that_is_down_is_shown_with_its_hint(
    name: str, call: str, request: pytest.FixtureRequest, console: FakeConsole
) -> None:
    shown: AppTest = request.getfixturevalue(name)
    console.fails[call] = NotRunning("the gateway does not answer", hint="start it: make up")
    shown.run()
    assert "the gateway does not answer" in read(shown)
    assert "start it: make up" in read(shown)


def test_a_key_is_made_once_and_its_secret_shown_once(keys: AppTest, console: FakeConsole) -> None:
    keys.run()
    keys.text_input(key="key_name").set_value("laptop")
    next(button for button in keys.button if button.label == "Make key").click().run()
    assert console.called("new_key") == ["laptop"]
    assert [element.value for element in keys.code] == ["the-secret-of-laptop"]
    keys.run()
    assert len(keys.code) == 0
    assert console.called("new_key") == ["laptop"]
    assert "laptop" in [element.value for element in keys.text]


def test_a_name_that_cannot_be_is_refused_with_a_hint(keys: AppTest, console: FakeConsole) -> None:
    keys.run()
    keys.text_input(key="key_name").set_value("<script>")
    next(button for button in keys.button if button.label == "Make key").click().run()
    assert console.called("new_key") == []
    assert "1 to 80 letters" in read(keys)


def test_a_key_is_revoked_only_when_confirmed(keys: AppTest, console: FakeConsole) -> None:
    row = console.new_key("laptop")
    keys.run()
    keys.button(key=f"revoke_{row.id}").click().run()
    assert console.called("revoke_key") == []
    assert "Keep" in labels(keys)
    keys.button(key=f"sure_{row.id}").click().run()
    assert console.called("revoke_key") == [row.id]
    assert "laptop" not in [element.value for element in keys.text]
