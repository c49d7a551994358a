from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.units import show_bytes, show_seconds


@pytest.mark.parametrize(
    ("n_bytes", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (98_362_432, "93.8 MiB"),
        (5 << 30, "5.0 GiB"),
        (3 << 40, "3.0 TiB"),
    ],
)
def test_bytes_are_shown_with_a_binary_unit(n_bytes: int, text: str) -> None:
    assert show_bytes(n_bytes) == text


@pytest.mark.parametrize(("duration_s", "text"), [(0.34, "340 ms"), (12.34, "12.3 s"), (245, "4 min 05 s")])
def test_seconds_are_shown_as_a_person_would(duration_s: float, text: str) -> None:
    assert show_seconds(duration_s) == text


@given(st.integers(0, 1 << 56))
def test_bytes_are_always_short(n_bytes: int) -> None:
    assert len(show_bytes(n_bytes)) <= 12
