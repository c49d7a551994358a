"""The chat page, run without a browser."""

from __future__ import annotations

import re
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from sandbox.errors import EngineUnavailable, NotRunning, Unauthenticated
from sandbox.wire import console as wire
from tests.ui.fake_console import MODEL, FakeConsole
from ui.parts.welcome import EXAMPLES


def ask(page: AppTest, text: str) -> AppTest:
    page.chat_input[0].set_value(text)
    return page.run()


def read(page: AppTest) -> str:
    """Everything the page shows, unescaped."""
    kinds = ("markdown", "caption", "text", "error", "warning", "info", "success", "subheader")
    elements: list[Any] = [element for kind in kinds for element in page.get(kind)]
    shown = [str(element.value) for element in elements]
    return re.sub(r"\\([^\w\s])", r"\1", "\n".join(shown)).replace("\u2060", "")


def labels(page: AppTest) -> list[str]:
    return [re.sub(r"\\([^\w\s])", r"\1", button.label) for button in page.button]


def only(console: FakeConsole) -> wire.Chat:
    (chat,) = console.kept.values()
    return chat


def test_an_empty_page_offers_examples(page: AppTest) -> None:
    page.run()
    assert not page.exception
    assert set(EXAMPLES) <= set(labels(page))


def test_an_example_asks_it_once(page: AppTest, console: FakeConsole) -> None:
    page.run()
    page.button(key="example_1").click().run()
    assert [turn.text for turn in console.called("turn") if isinstance(turn, wire.Turn)] == [EXAMPLES[1]]
    assert "You asked: " + EXAMPLES[1] in read(page)


def test_a_question_makes_a_chat_and_shows_the_answer_with_its_figures(page: AppTest, console: FakeConsole) -> None:
    ask(page.run(), "Hello *there*")
    assert not page.exception
    assert page.query_params["chat"] == only(console).id
    assert [element.value for element in page.text] == ["Hello *there*"]
    assert "first token after 210 ms · 17.5 tokens/s · 12 tokens in, 34 out · tiny-model · record 0123456789ab" in read(
        page
    )


def test_a_rerun_asks_nothing_again(page: AppTest, console: FakeConsole) -> None:
    ask(page.run(), "Hello")
    page.run()
    page.run()
    assert len(console.called("turn")) == 1


def test_the_next_question_continues_below_the_last_answer(page: AppTest, console: FakeConsole) -> None:
    ask(page.run(), "one")
    first_answer = only(console).leaf_id
    ask(page, "two")
    assert console.called("turn")[1] == wire.Turn(text="two", parent_id=first_answer)
    assert [element.value for element in page.text] == ["one", "two"]


def test_settings_of_a_new_chat_go_with_it(page: AppTest, console: FakeConsole) -> None:
    page.run()
    page.slider(key="temperature_new").set_value(0.0)
    page.text_area(key="system_new").set_value("Be brief.")
    page.number_input(key="seed_new").set_value(7)
    ask(page, "Hello")
    chat = only(console)
    assert (chat.system, chat.sampling.temperature, chat.sampling.seed, chat.model) == ("Be brief.", 0.0, 7, MODEL.id)


def test_settings_of_an_open_chat_are_saved_at_once(page: AppTest, console: FakeConsole) -> None:
    ask(page.run(), "Hello")
    page.number_input(key=f"max_tokens_{only(console).id}").set_value(64).run()
    assert console.called("change_chat") == [wire.ChatChange(sampling=wire.SamplingSettings(max_tokens=64))]
    assert only(console).sampling.max_tokens == 64


def test_another_model_can_be_picked(page: AppTest, console: FakeConsole) -> None:
    console.rows = [MODEL, MODEL.model_copy(update={"id": "other", "title": "Other"})]
    ask(page.run(), "Hello")
    page.selectbox(key=f"model_{only(console).id}").set_value("other").run()
    assert only(console).model == "other"


def test_answering_once_more_makes_a_second_answer_to_move_between(page: AppTest, console: FakeConsole) -> None:
    ask(page.run(), "Hello")
    question, first = only(console).messages
    page.button(key=f"again_{question.id}").click().run()
    assert console.called("turn")[1] == wire.Turn(text=None, parent_id=question.id)
    assert "2/2" in read(page)
    second = only(console).leaf_id
    page.button(key=f"chevron_left_{second}").click().run()
    assert only(console).leaf_id == first.id
    assert "1/2" in read(page)


def test_editing_a_question_makes_a_branch_and_keeps_the_old_one(page: AppTest, console: FakeConsole) -> None:
    ask(page.run(), "first")
    question = only(console).messages[0]
    page.button(key=f"edit_{question.id}").click().run()
    page.text_area(key=f"edited_{question.id}").set_value("second")
    next(button for button in page.button if button.label == "Ask").click().run()
    assert console.called("turn")[1] == wire.Turn(text="second", parent_id=None)
    assert [element.value for element in page.text] == ["second"]
    edited = only(console).messages[2]
    page.button(key=f"chevron_left_{edited.id}").click().run()
    assert [element.value for element in page.text] == ["first"]


def test_an_edit_can_be_dropped(page: AppTest, console: FakeConsole) -> None:
    ask(page.run(), "first")
    question = only(console).messages[0]
    page.button(key=f"edit_{question.id}").click().run()
    next(button for button in page.button if button.label == "Cancel").click().run()
    assert [element.value for element in page.text] == ["first"]
    assert len(console.called("turn")) == 1


@pytest.mark.parametrize(
    ("ends", "words"),
    [
        pytest.param({"state": "stopped"}, "Stopped by you", id="stopped"),
        pytest.param({"state": "done", "finish_reason": "length"}, "Cut off at its token limit", id="too long"),
        pytest.param({"state": "failed", "error": "exit 137"}, "The engine broke off: exit 137", id="broken"),
    ],
)
def test_an_unusual_ending_is_said_in_words(
    page: AppTest, console: FakeConsole, ends: dict[str, object], words: str
) -> None:
    console.ends = ends
    ask(page.run(), "Hello")
    assert words in read(page)


def test_a_plain_ending_is_not_mentioned(page: AppTest) -> None:
    ask(page.run(), "Hello")
    assert "Stopped" not in read(page)
    assert "ended" not in read(page)


def test_a_refused_question_is_kept_and_can_be_asked_again(page: AppTest, console: FakeConsole) -> None:
    page.run()
    console.fails["turn"] = EngineUnavailable("tiny-model is starting", hint="sandbox status")
    ask(page, "Hello")
    assert "Hello" in [element.value for element in page.text]
    assert "tiny-model is starting" in read(page)
    assert "sandbox status" in read(page)
    page.button(key="ask_again").click().run()
    assert "You asked: Hello" in read(page)
    assert len(console.kept) == 1


def test_a_gateway_that_is_down_is_shown_with_its_hint(page: AppTest, console: FakeConsole) -> None:
    console.fails["chats"] = NotRunning("the gateway does not answer", hint="start it: make up")
    page.run()
    assert [re.sub(r"\\", "", error.value) for error in page.error] == ["the gateway does not answer"]
    assert "start it: make up" in read(page)


def test_an_expired_session_leads_to_sign_in(page: AppTest, console: FakeConsole) -> None:
    console.fails["chats"] = Unauthenticated("this session has ended", hint="sign in again")
    page.run()
    assert any("/signin" in str(element.proto.body) for element in page.get("html"))


def test_a_chat_that_is_gone_is_said_and_the_history_stays(page: AppTest, console: FakeConsole) -> None:
    page.query_params["chat"] = "gone"
    page.run()
    assert "there is no chat 'gone'" in read(page)
    assert "New chat" in labels(page)


def test_a_link_opens_its_chat(page: AppTest, console: FakeConsole) -> None:
    chat = console.new_chat(wire.NewChat(model=MODEL.id))
    console.open_turn(chat.id, wire.Turn(text="from a link"))
    console.settle(chat.id, str(only(console).leaf_id), "done", state="done")
    page.query_params["chat"] = chat.id
    page.run()
    assert [element.value for element in page.text] == ["from a link"]


def test_an_answer_that_is_being_written_elsewhere_is_shown_and_nothing_can_be_asked(
    page: AppTest, console: FakeConsole
) -> None:
    chat = console.new_chat(wire.NewChat(model=MODEL.id))
    console.open_turn(chat.id, wire.Turn(text="slow"))
    console.settle(chat.id, str(only(console).leaf_id), "half an ans", state="writing")
    page.query_params["chat"] = chat.id
    page.run()
    assert "half an ans" in read(page)
    assert "still being written" in read(page)
    assert page.chat_input[0].disabled


def test_hostile_output_is_shown_as_text(page: AppTest, console: FakeConsole) -> None:
    console.answer = lambda question: ["![x](http://127.0.0.66/a) <script>1</script>"]
    ask(page.run(), "Hello")
    shown = "\n".join(element.value for element in page.markdown)
    assert "![x](http" not in shown
    assert "<script>" not in shown
    assert "[image: x](blocked)" in read(page)


def test_history_lists_searches_and_opens(page: AppTest, console: FakeConsole) -> None:
    for text in ("about ducks", "about geese"):
        chat = console.new_chat(wire.NewChat(model=MODEL.id))
        _, answer = console.open_turn(chat.id, wire.Turn(text=text))
        console.settle(chat.id, answer.id, "ok", state="done")
    page.run()
    assert [label for label in labels(page) if label.startswith("about")] == ["about geese", "about ducks"]
    page.text_input(key="search").set_value("duck").run()
    assert [label for label in labels(page) if label.startswith("about")] == ["about ducks"]
    page.button(key="open_chat1").click().run()
    assert page.query_params["chat"] == "chat1"
    assert "about ducks" in [element.value for element in page.text]


def test_a_chat_is_renamed(page: AppTest, console: FakeConsole) -> None:
    ask(page.run(), "Hello")
    page.text_input(key=f"title_{only(console).id}").set_value("A better name")
    next(button for button in page.button if button.label == "Rename").click().run()
    assert only(console).title == "A better name"
    assert "A better name" in labels(page)


def test_a_failed_rename_is_shown(page: AppTest, console: FakeConsole) -> None:
    ask(page.run(), "Hello")
    console.fails["change_chat"] = NotRunning("the gateway does not answer", hint="make up")
    page.text_input(key=f"title_{only(console).id}").set_value("A better name")
    next(button for button in page.button if button.label == "Rename").click().run()
    assert "the gateway does not answer" in read(page)


def test_a_chat_is_deleted_only_when_confirmed(page: AppTest, console: FakeConsole) -> None:
    ask(page.run(), "Hello")
    chat_id = only(console).id
    page.button(key=f"delete_{chat_id}").click().run()
    assert console.called("delete_chat") == []
    page.button(key=f"keep_{chat_id}").click().run()
    page.button(key=f"delete_{chat_id}").click().run()
    page.button(key=f"confirm_{chat_id}").click().run()
    assert console.called("delete_chat") == [chat_id]
    assert "chat" not in page.query_params
    assert set(EXAMPLES) <= set(labels(page))


def test_a_chat_is_exported_only_when_asked(page: AppTest, console: FakeConsole) -> None:
    ask(page.run(), "Hello")
    buttons: list[Any] = list(page.get("download_button"))
    assert [button.label for button in buttons] == ["Export as Markdown", "Export as JSON"]
    assert all(button.proto.deferred_file_id for button in buttons)
    assert console.called("export_chat") == []


def test_code_to_copy_names_the_model_and_leaves_the_key_to_the_environment(page: AppTest) -> None:
    page.run()
    shown = [element.value for element in page.code]
    assert len(shown) == 3
    assert all("http://127.0.0.1:8502/v1" in lines and '"tiny-model"' in lines for lines in shown)
    assert all("SANDBOX_API_KEY" in lines for lines in shown)


def test_a_model_that_is_not_ready_is_said(page: AppTest, console: FakeConsole) -> None:
    console.rows = [MODEL.model_copy(update={"state": "starting", "detail": "reading the file"})]
    page.run()
    assert "Tiny Model 135M is starting. reading the file" in read(page)


def test_without_a_model_nothing_can_be_asked(page: AppTest, console: FakeConsole) -> None:
    console.rows = []
    page.run()
    assert "No chat model is served yet" in read(page)
    assert page.chat_input[0].disabled
