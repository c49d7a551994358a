"""Arithmetic of spans, against plain sets of numbers."""

from __future__ import annotations

import ipaddress
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from sandbox.isolation.spans import Addresses, Span, covers, merged, without

spans = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)).map(lambda pair: (min(pair), max(pair))), max_size=6)


def numbers(of: list[Span] | tuple[Span, ...]) -> set[int]:
    return {number for first, last in of for number in range(first, last + 1)}


@given(spans)
def test_merged_spans_hold_the_same_numbers_and_never_touch(some: list[Span]) -> None:
    found = merged(some)
    assert numbers(found) == numbers(some)
    assert all(before[1] + 1 < after[0] for before, after in pairwise(found))


@given(spans, spans)
def test_holes_are_cut_out_exactly(some: list[Span], holes: list[Span]) -> None:
    assert numbers(without(some, holes)) == numbers(some) - numbers(holes)


@given(spans, st.integers(0, 41))
def test_covers_agrees_with_the_numbers(some: list[Span], number: int) -> None:
    assert covers(some, number) == (number in numbers(some))


def test_families_are_kept_apart() -> None:
    block = Addresses.in_network(ipaddress.ip_network("fd00::/16"))
    assert ipaddress.ip_address("fd00::1") in block
    assert ipaddress.ip_address("10.0.0.1") not in block
    assert not Addresses()
