"""Label selectors, operator by operator."""

from __future__ import annotations

import pytest

from sandbox.isolation.selectors import EVERYTHING, Operator, Requirement, Selector

A = frozenset({"1", "2"})


@pytest.mark.parametrize(
    ("operator", "values", "when_listed", "when_other", "when_missing"),
    [
        (Operator.IN, A, True, False, False),
        (Operator.NOT_IN, A, False, True, True),
        (Operator.EXISTS, frozenset(), True, True, False),
        (Operator.DOES_NOT_EXIST, frozenset(), False, False, True),
    ],
)
def test_operators(
    operator: Operator, values: frozenset[str], when_listed: bool, when_other: bool, when_missing: bool
) -> None:
    requirement = Requirement("a", operator, values)
    found = [requirement.holds(labels) for labels in ({"a": "1"}, {"a": "3"}, {"b": "1"})]
    assert found == [when_listed, when_other, when_missing]


def test_all_requirements_must_hold_and_none_select_everything() -> None:
    both = Selector((Requirement("a", Operator.EXISTS), Requirement("b", Operator.EXISTS)))
    assert both.selects({"a": "", "b": ""})
    assert not both.selects({"a": ""})
    assert EVERYTHING.selects({})
