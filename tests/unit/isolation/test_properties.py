"""Whatever the policies: the rules say what Kubernetes says, more policy never opens, more rules never close."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from random import Random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.isolation.interpreter import Table
from tests.unit.isolation.matrix import connections, written_allows
from tests.unit.isolation.reference import Connection, World, allows
from tests.unit.isolation.worlds import ADDRESSES, policy, random_rule, random_world, rendered

CONNECTIONS = tuple(connections())
seeded = st.integers(min_value=0, max_value=2**32).map(Random)
worlds = seeded.map(random_world)
examples = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)


def tried(world: World) -> Sequence[Connection]:
    """Some of the connections, others for each world."""
    return Random(repr(world)).sample(CONNECTIONS, 120)  # noqa: S311 – nothing secret


def opened(world: World, connections: Sequence[Connection]) -> set[Connection]:
    table = Table.of(rendered(world))
    return {each for each in connections if written_allows(table, each)}


def with_policies(world: World, *policies: dict[str, object]) -> World:
    return World(world.pods, world.namespaces, [*world.policies, *policies])


@examples
@given(worlds)
def test_written_rules_allow_exactly_what_kubernetes_does(world: World) -> None:
    some = tried(world)
    assert opened(world, some) == {each for each in some if allows(world, each)}


@examples
@given(worlds, seeded)
def test_a_policy_that_only_isolates_never_opens_anything(world: World, random: Random) -> None:
    spec = {"podSelector": {}, "policyTypes": random.choice([["Ingress"], ["Egress"], ["Ingress", "Egress"]])}
    isolated = with_policies(world, policy(random.choice("xyz"), "isolating", spec))
    assert opened(isolated, tried(world)) <= opened(world, tried(world))


@examples
@given(worlds, seeded)
def test_one_more_rule_in_a_policy_never_closes_anything(world: World, random: Random) -> None:
    policies = copy.deepcopy(list(world.policies))
    isolating = [(p, d) for p in policies for d in ("Ingress", "Egress") if d in p["spec"].get("policyTypes", [])]
    if not isolating:
        return
    chosen, direction = random.choice(isolating)
    rule = random_rule(random, "from" if direction == "Ingress" else "to")
    chosen["spec"].setdefault(direction.lower(), []).append(rule)
    more = World(world.pods, world.namespaces, policies)
    assert opened(world, tried(world)) <= opened(more, tried(world))


@examples
@given(worlds, seeded)
def test_a_policy_that_is_not_understood_never_opens_what_it_closed_when_it_was(world: World, random: Random) -> None:
    if not world.policies:
        return
    policies = copy.deepcopy(list(world.policies))
    random.choice(policies)["spec"]["ingress"] = [{"from": [{"serviceSelector": {}}]}]
    less = World(world.pods, world.namespaces, policies)
    assert opened(less, tried(world)) <= opened(world, tried(world))


@examples
@given(worlds, st.randoms(use_true_random=False))
def test_the_order_of_the_objects_does_not_matter(world: World, random: Random) -> None:
    pods, namespaces, policies = list(world.pods), list(world.namespaces), list(world.policies)
    for each in (pods, namespaces, policies):
        random.shuffle(each)
    assert rendered(World(pods, namespaces, policies)) == rendered(world)


def test_the_worlds_are_worth_trying() -> None:
    """Negative control: in some worlds most connections are closed, in others most are open."""
    open_shares = []
    for seed in range(12):
        world = random_world(Random(seed))  # noqa: S311 – nothing secret
        of_pods = [each for each in tried(world) if each.source in ADDRESSES]
        open_shares.append(sum(allows(world, each) for each in of_pods) / len(of_pods))
    assert min(open_shares) < 0.4
    assert max(open_shares) > 0.6
