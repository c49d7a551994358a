"""The words of nft's language: addresses, spans, comments, blocks, and sets that rules share."""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections.abc import Iterable, Sequence

from sandbox.isolation.spans import Span

VERSIONS = (4, 6)
IP = {4: "ip", 6: "ip6"}
COMMENT_LENGTH = 120
"""nft takes 127 bytes."""
NOT_IN_COMMENTS = re.compile(r"[^A-Za-z0-9 ,./_'-]")


def digest(text: str) -> str:
    """Twelve characters that tell one text from another."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def block(head: str, lines: Iterable[str]) -> list[str]:
    """Lines of a named block in braces."""
    return [f"{head} {{", *(f"\t{line}" for line in lines), "}"]


def elements(written: Sequence[str]) -> list[str]:
    """The elements of a set or map; no line at all where there are none, which is how nft wants it."""
    return [f"elements = {{ {', '.join(written)} }}"] if written else []


def comment(text: str) -> str:
    """A comment; names come from outside and must not end it early."""
    return f'comment "{NOT_IN_COMMENTS.sub("?", text)[:COMMENT_LENGTH]}"'


def address(number: int, version: int) -> str:
    """An address from its number."""
    return str(ipaddress.IPv4Address(number) if version == 4 else ipaddress.IPv6Address(number))


def addresses(span: Span, version: int) -> str:
    """A span of addresses."""
    first, last = span
    return address(first, version) if first == last else f"{address(first, version)}-{address(last, version)}"


def ports(span: Span) -> str:
    """A span of ports."""
    first, last = span
    return str(first) if first == last else f"{first}-{last}"


class Sets:
    """Sets named after what is in them, so that equal ones are written once."""

    def __init__(self) -> None:
        self._written: dict[str, list[str]] = {}

    def named(self, kind: str, head: Sequence[str], items: Sequence[str]) -> str:
        """The name of the set with these items."""
        lines = [*head, *elements(items)]
        name = f"{kind}_{digest(' '.join(lines))}"
        self._written[name] = lines
        return name

    def written(self) -> list[str]:
        """All sets, in the order of their names."""
        return [line for name in sorted(self._written) for line in block(f"set {name}", self._written[name])]
