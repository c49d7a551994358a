"""What the kernel does with the rules: real connections between namespaces, held against the reference evaluator."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random

import pytest

from tests.contract.isolation.netns import Lab
from tests.unit.isolation.matrix import connections
from tests.unit.isolation.reference import Connection, allows
from tests.unit.isolation.worlds import random_world, rendered

# within a pod nothing passes the node
CONNECTIONS = tuple(each for each in connections() if each.source != each.destination)
OF_WORLD = 250


def wrong(lab: Lab, expected: Mapping[Connection, bool]) -> list[str]:
    found = lab.tried(list(expected), expected)
    return [
        f"{each} should be {'open' if expected[each] else 'closed'}"
        for each in expected
        if found[each] != expected[each]
    ]


def sampled(seed: int) -> list[Connection]:
    return Random(seed).sample(CONNECTIONS, OF_WORLD)  # noqa: S311 – nothing secret


def test_without_rules_everything_is_open(lab: Lab) -> None:
    """Negative control: what is found closed elsewhere is closed by the rules."""
    assert wrong(lab, dict.fromkeys(sampled(0), True)) == []


@pytest.mark.parametrize("seed", range(40))
def test_kernel_opens_exactly_what_kubernetes_allows(lab: Lab, seed: int) -> None:
    world = random_world(Random(seed))  # noqa: S311 – nothing secret
    lab.nft(rendered(world))
    assert wrong(lab, {each: allows(world, each) for each in sampled(seed)}) == []
