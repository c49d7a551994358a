"""What a model wrote, as Markdown that can only format.

A model's answer may carry anything, also what somebody planted in a document that it read. Shown as it
is, an image would make the browser fetch an address of the author's choosing, with the conversation in
its query. So the answer is parsed, and written anew from the parsed tree with every character of text
escaped: no image, no HTML, no link whose text hides its target, none of Streamlit's own directives.
The page's content security policy is the second wall behind this one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, ClassVar

from markdown_it import MarkdownIt
from markdown_it.token import Token
from mdformat.plugins import PARSER_EXTENSIONS
from mdformat.renderer import MDRenderer

MAX_CHARS = 200_000
"""Longer text is shown as it is, in a code block: parsing it would hold up the page for seconds."""

_CLICKABLE = re.compile(r"(?:https?://|mailto:)[^\s<>\x00-\x20]+", re.IGNORECASE)
_LINK_SCHEMES = ("http://", "https://", "mailto:")
_LANGUAGE = re.compile(r"[A-Za-z0-9_+#.-]{1,30}")
_DRAWN_LANGUAGES = frozenset({"mermaid"})
"""Fences that the page would draw instead of show."""

_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ufeff]")
_BIDI_CONTROLS = re.compile(r"[\u202a-\u202e\u2066-\u2069]")
"""Characters that make text read in another order than it is in, and so a link look like another."""
_LONE_SURROGATES = re.compile(r"[\ud800-\udfff]")

_BLANKS = re.compile(r"[ \t\r\n]+")
_PUNCTUATION = re.compile(r"([\\`*_{}\[\]()<>#+\-.!~:$&=^@])")
_SHORTCODE = re.compile(r":(?=[\w+-]*[A-Za-z1][\w+-]*:|material[/_])")
"""A colon that opens an emoji or an icon of the page; escaping does not stop it, as it is replaced late."""
_WORD_JOINER = "\u2060"


def safe_markdown(text: str) -> str:
    """Rewrite untrusted Markdown so that it formats and does nothing else; never raises."""
    return _cached(text)


def plain(text: str) -> str:
    """Escape text for a label or message that would be read as Markdown."""
    return _escaped(_cleaned(text))


@lru_cache(maxsize=256)
def _cached(text: str) -> str:
    if len(text) > MAX_CHARS:
        return _as_code(text)
    try:
        rewritten = _rewritten(_cleaned(text))
        return rewritten if is_harmless(rewritten) else _as_code(text)
    except Exception:  # noqa: BLE001  # whatever a parser trips over must not hide the answer
        return _as_code(text)


def is_harmless(markdown: str) -> bool:
    """Say whether a parser that allows everything finds nothing in it that acts."""
    tokens = _LENIENT.parse(markdown)
    return all(_does_nothing(token) for block in tokens for token in (block, *(block.children or ())))


def _does_nothing(token: Token) -> bool:
    if token.type in ("image", "html_block", "html_inline"):
        return False
    return token.type != "link_open" or str(token.attrs.get("href", "")).lower().startswith(_LINK_SCHEMES)


def _cleaned(text: str) -> str:
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    text = _LONE_SURROGATES.sub("\ufffd", text)
    return _BIDI_CONTROLS.sub("", _CONTROLS.sub(" ", text))


def _rewritten(text: str) -> str:
    env: dict[str, Any] = {}
    tokens = _PARSER.parse(text, env)
    return str(MDRenderer().render(tokens, _PARSER.options, env, finalize=False))


def _escaped(text: str) -> str:
    unbroken = _SHORTCODE.sub(":" + _WORD_JOINER, text)
    return _PUNCTUATION.sub(r"\\\1", _BLANKS.sub(" ", unbroken))


def _as_code(text: str) -> str:
    cleaned = _cleaned(text)
    longest = max((len(run) for run in re.findall("`+", cleaned)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{cleaned}\n{fence}"


def _render_text(node: Any, context: Any) -> str:
    return _escaped(node.content)


def _render_image(node: Any, context: Any) -> str:
    return _escaped(f"[image: {node.content}](blocked)")


def _render_link(node: Any, context: Any) -> str:
    href = str(node.attrs.get("href", ""))
    shown = "".join(child.render(context) for child in node.children)
    if _CLICKABLE.fullmatch(href):
        visible = f"<{href}>"
        return visible if node.info == "auto" or shown == _escaped(href) else f"{shown} ({visible})"
    return f"{shown} ({_escaped(href)})"


def _render_fence(node: Any, context: Any) -> str:
    info = (node.info or "").strip().split(maxsplit=1)
    language = info[0] if info and _LANGUAGE.fullmatch(info[0]) else ""
    if language.lower() in _DRAWN_LANGUAGES:
        language = "text"
    longest = max((len(run) for run in re.findall("`+", node.content)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{node.content.rstrip(chr(10))}\n{fence}"


def _render_line_break(node: Any, context: Any) -> str:
    parent = node.parent.parent if node.parent else None
    in_paragraph = parent is not None and parent.type == "paragraph"
    return "\\\n" if in_paragraph else " "


def _render_strikethrough(node: Any, context: Any) -> str:
    return "~~" + "".join(child.render(context) for child in node.children) + "~~"


class _Rewriting:
    """The extension that mdformat asks how to write each kind of node."""

    RENDERERS: ClassVar[Mapping[str, Callable[[Any, Any], str]]] = {
        "code_block": _render_fence,
        "fence": _render_fence,
        "hardbreak": _render_line_break,
        "image": _render_image,
        "link": _render_link,
        "s": _render_strikethrough,
        "text": _render_text,
    }
    POSTPROCESSORS: ClassVar[Mapping[str, Any]] = {}


def _parser() -> MarkdownIt:
    # Without the rules for HTML and for reference definitions both stay text, so nothing is hidden.
    parser = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"]).disable("reference")
    options = {"mdformat": {"compact_tables": True}, "parser_extension": [PARSER_EXTENSIONS["tables"], _Rewriting]}
    parser.options.update(options)
    return parser


_PARSER = _parser()
_LENIENT = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
