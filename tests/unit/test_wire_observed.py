from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.wire.observed import KEPT_S, History, ModelFigures, Observed, Sample, UnitFigures, moment

MODELS = {"m": ModelFigures(running=1, queued=0, slots=2, tokens_per_s=3.0)}
UNITS = {"u": UnitFigures(memory_bytes=1)}


def test_of_one_moment_units_and_models_are_both_kept() -> None:
    history = History()
    history.add([Sample(at=1, units=UNITS), Sample(at=1, models=MODELS)])
    history.add([Sample(at=1, units=UNITS)])
    assert len(history.since()) == 2


@given(st.lists(st.floats(min_value=1, max_value=3 * KEPT_S)))
def test_samples_are_in_order_and_none_is_too_old_however_they_come(moments: list[float]) -> None:
    history = History()
    for at in moments:
        history.add([Sample(at=at, units=UNITS)])
    kept = [sample.at for sample in history.since()]
    assert kept == sorted(set(kept))
    if moments:
        assert kept[-1] == max(moments)
        assert kept[0] > max(moments) - KEPT_S


def test_what_is_told_comes_back_as_it_was() -> None:
    told = Observed(history=(Sample(at=0.1 + 0.2, units=UNITS), Sample(at=2, models=MODELS)))
    assert Observed.model_validate_json(told.model_dump_json()) == told


@pytest.mark.parametrize("text", ["", "x", "-1", "nan", "inf", "1e999"])
def test_what_is_no_moment_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be seconds"):
        moment(text)


def test_a_moment_is_read() -> None:
    assert moment("1763970000.25") == 1763970000.25
