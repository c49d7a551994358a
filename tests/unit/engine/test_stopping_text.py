"""Tokens' bytes become text; stop words never show."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sandbox.engine.children.text import StoppingText


def shown(pieces: list[bytes], stop: list[str]) -> tuple[str, bool]:
    text = StoppingText(stop)
    out = ""
    for piece in pieces:
        out += text.feed(piece)
        if text.is_stopped:
            return out, True
    return out + text.rest(), False


def test_a_character_is_whole_when_two_tokens_share_it() -> None:
    first, second = "é".encode()[:1], "é".encode()[1:]
    text = StoppingText([])
    assert (text.feed(first), text.feed(second)) == ("", "é")


def test_a_stop_word_is_found_when_tokens_split_it() -> None:
    assert shown([b"one E", b"N", b"D two"], ["END"]) == ("one ", True)


def test_the_beginning_of_a_stop_word_is_shown_when_the_rest_never_comes() -> None:
    assert shown([b"one E", b"N"], ["END"]) == ("one EN", False)


def test_the_earliest_of_several_stop_words_counts() -> None:
    assert shown([b"a b c d"], ["c", "b"]) == ("a ", True)


def test_an_empty_stop_word_stops_nothing() -> None:
    assert shown([b"text"], [""]) == ("text", False)


@given(st.text(alphabet="abé"), st.lists(st.text(alphabet="abé", min_size=1, max_size=4), max_size=3), st.data())
def test_any_cut_into_pieces_shows_the_same(whole: str, stop: list[str], data: st.DataObject) -> None:
    raw = whole.encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=8)))
    pieces = [raw[a:b] for a, b in zip([0, *cuts], [*cuts, len(raw)], strict=True)]
    text, is_stopped = shown(pieces, stop)
    ends = [at for word in stop if (at := whole.find(word)) >= 0]
    assert is_stopped == bool(ends)
    assert not any(word in text for word in stop)
    if not ends:
        assert text == whole
    else:
        assert whole.startswith(text)
