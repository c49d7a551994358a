from __future__ import annotations

from collections.abc import Iterator

from sandbox import errors


def tree(kind: type[errors.SandboxError] = errors.SandboxError) -> Iterator[type[errors.SandboxError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from tree(child)


def test_every_error_has_a_code_of_its_own() -> None:
    codes = [kind.code for kind in tree()]
    assert len(set(codes)) == len(codes)
    assert all(errors.by_code(kind.code) is kind for kind in tree())


def test_every_family_has_an_exit_status_of_its_own() -> None:
    families = errors.SandboxError.__subclasses__()
    assert len({family.exit_code for family in families}) == len(families)
    for family in families:
        assert {kind.exit_code for kind in tree(family)} == {family.exit_code}


def test_every_error_is_drawn_in_the_tree_of_the_module() -> None:
    drawn = errors.__doc__ or ""
    assert all(kind.__name__ in drawn for kind in tree())


def test_an_unknown_code_becomes_the_plain_error() -> None:
    assert errors.by_code("from_the_future") is errors.SandboxError
