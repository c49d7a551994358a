"""Whatever a model writes, the page formats it and does nothing else."""

from __future__ import annotations

import re
import textwrap

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from ui.safe_markdown import MAX_CHARS, is_harmless, plain, safe_markdown

INDEPENDENT = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])

NASTY = [
    "![a](http://evil.test/p.png)", "![a][r]", "![r]", "[r]: http://evil.test/p.png\n",
    "[![a](http://evil.test/i)](http://b.test)", "<img src=http://evil.test/x>", "<script>alert(1)</script>", "<!--",
    "-->", "<![CDATA[", "<?php", "<div>\n", "</div>", "<svg onload=x>", "[x](javascript:alert(1))",
    "[x](JaVaScRiPt:alert(1))", "[x](data:text/html,<script>1</script>)", "<javascript:alert(1)>",
    "[x](&#106;avascript:alert(1))", "[https://bank.test](https://evil.test)", "<https://ok.test/a_b?c=d&e>",
    "<a@b.test>", "[x](/signout)", "[x](<a b>)", '[x](u "![t](http://evil.test)")', ":red[x]", ":material/delete:",
    ":smile:", ":::warn\n", "$x^2$", "$$\n", "```", "~~~", "````mermaid\n", "```html\n", "`", "``", "`` ` ``",
    "    indented", "\t", "\n", "\n\n", "  \n", "\\\n", "\\", "\\`", "\\!", "> ", ">>>> ", "- ", "* ", "1. ", "1) ",
    "  - ", "# ", "###### ", "===", "---", "___", "| a | b |\n|---|---|\n", "| c | `d|e` |\n", "|", "*", "**", "***",
    "_", "__", "~~", "~", "&amp;", "&lt;img src=x&gt;", "&#10;", "&#0;", "&#32;", "&nbsp;", "\x00", "\x0b", "\x1c",
    "\x85", "\u2028", "\u202e", "\ud800", "\ufeff", "word", "zwölf", "日本", "🦆", "[", "]", "(", ")", "!", "<", ">",
    ":", "a:b:c", "[^1]", "[^1]: note", "{#id}", "http://evil.test", "www.evil.test",
]  # fmt: skip

nasty_texts = st.lists(st.sampled_from(NASTY) | st.text(max_size=4), max_size=30).map("".join)


def tokens_of(markdown: str) -> list[Token]:
    return [token for block in INDEPENDENT.parse(markdown) for token in (block, *(block.children or ()))]


def assert_inert(markdown: str) -> None:
    for token in tokens_of(markdown):
        assert token.type not in {"image", "html_block", "html_inline"}
        if token.type == "link_open":
            assert re.match(r"(https?|mailto):", str(token.attrs["href"]), re.IGNORECASE)


def shown_words(markdown: str) -> list[str]:
    shown = "".join(
        token.content if token.type in {"text", "code_inline", "fence", "code_block"} else " "
        for token in tokens_of(markdown)
        if token.type != "inline"
    )
    return re.findall(r"\w+", shown)


@settings(max_examples=600, deadline=None)
@given(nasty_texts)
def test_nothing_acts_whatever_is_written(text: str) -> None:
    assert_inert(safe_markdown(text))


@settings(max_examples=300, deadline=None)
@given(nasty_texts)
def test_nothing_acts_after_streamlit_has_trimmed_the_text(text: str) -> None:
    assert_inert(textwrap.dedent(safe_markdown(text)).strip())


@settings(max_examples=300, deadline=None)
@given(nasty_texts)
def test_a_second_pass_finds_nothing_more_to_disarm(text: str) -> None:
    once = safe_markdown(text)
    twice = safe_markdown(once)
    assert_inert(twice)
    assert shown_words(twice) == shown_words(once)


@settings(max_examples=100, deadline=None)
@given(nasty_texts, st.integers(min_value=0, max_value=200))
def test_an_answer_cut_anywhere_is_as_harmless(text: str, at: int) -> None:
    assert_inert(safe_markdown(text[:at]))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.from_regex(r"[A-Za-zäöü0-9]{1,9}[.,;!?]?", fullmatch=True), min_size=1, max_size=40))
def test_text_without_markup_keeps_every_word(words: list[str]) -> None:
    assume_no_list = "x " + " ".join(words)
    assert shown_words(safe_markdown(assume_no_list)) == re.findall(r"\w+", assume_no_list)


@settings(max_examples=200, deadline=None)
@given(nasty_texts)
def test_a_label_is_one_piece_of_text(text: str) -> None:
    kinds = {token.type for token in tokens_of(plain("x" + text))}
    assert kinds <= {"paragraph_open", "inline", "text", "paragraph_close", "text_special"}


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        pytest.param("a **b** *c* ~~d~~ `e`", ["strong_open", "em_open", "s_open", "code_inline"], id="emphasis"),
        pytest.param("1. a\n   - b\n", ["ordered_list_open", "bullet_list_open"], id="nested lists"),
        pytest.param("| a | b |\n|---|---|\n| c | d |\n", ["table_open", "th_open", "td_open"], id="table"),
        pytest.param("> q\n\n## h\n\n---\n", ["blockquote_open", "heading_open", "hr"], id="blocks"),
        pytest.param("a  \nb", ["hardbreak"], id="line break"),
    ],
)
def test_formatting_is_kept(written: str, kept: list[str]) -> None:
    kinds = [token.type for token in tokens_of(safe_markdown(written))]
    assert [kind for kind in kept if kind not in kinds] == []


def test_code_is_kept_as_it_was_written() -> None:
    code = 'x = "<b>" # :smile: $y$\n\n\tprint(`z`)\n'
    (fence,) = [token for token in tokens_of(safe_markdown(f"```python\n{code}```")) if token.type == "fence"]
    assert (fence.info, fence.content) == ("python", code)


def test_an_unclosed_fence_is_closed() -> None:
    assert safe_markdown("text\n\n```python\nprint(1)") == "text\n\n```python\nprint(1)\n```"


def test_an_image_is_named_and_its_address_is_gone() -> None:
    shown = " ".join(shown_words(safe_markdown("![cat](http://evil.test/secret)")))
    assert shown == "image cat blocked"


def test_a_link_shows_where_it_leads() -> None:
    links = [
        token.attrs["href"] for token in tokens_of(safe_markdown("[your bank](https://evil.test/a)")) if token.attrs
    ]
    assert links == ["https://evil.test/a"]
    assert shown_words(safe_markdown("[your bank](https://evil.test/a)")) == [
        "your",
        "bank",
        "https",
        "evil",
        "test",
        "a",
    ]


def test_a_diagram_is_shown_as_code_and_not_drawn() -> None:
    (fence,) = [token for token in tokens_of(safe_markdown("```Mermaid\ngraph LR\n```")) if token.type == "fence"]
    assert fence.info == "text"


@pytest.mark.parametrize(
    "directive",
    [":red[x]", ":material/delete:", ":material_delete:", ":smile:", ":streamlit:", "$x$", "::leaf", ":::box"],
)
def test_directives_of_the_page_are_broken_up(directive: str) -> None:
    written = safe_markdown(f"a {directive} b\n\n{directive}")
    assert directive not in written
    assert not re.search(r"(?<!\\)[$:]", written)
    shown = "".join(token.content for token in tokens_of(written) if token.type == "text")
    assert not re.search(r":[\w+-]*[a-z][\w+-]*:|:material/", shown)


def test_very_long_text_is_shown_as_code() -> None:
    text = "![a](http://evil.test) ``` " * (MAX_CHARS // 20)
    assert [token.type for token in tokens_of(safe_markdown(text))] == ["fence"]


def test_text_that_reads_backwards_is_turned_round() -> None:
    assert "\u202e" not in safe_markdown("https://a.test/\u202egnp.exe")


def test_the_last_check_sees_what_acts() -> None:
    assert is_harmless("plain **text** <https://a.test>")
    assert not is_harmless("![a](b)")
    assert not is_harmless("x <b>y</b>")
    assert not is_harmless("[a](ftp://b)")
