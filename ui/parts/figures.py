"""Figures of the pages, in words."""

from __future__ import annotations

from datetime import UTC, datetime

from sandbox.units import show_seconds
from sandbox.wire.console import ChatMessage

SHORT_ID_CHARS = 12

_ENDINGS = {
    "length": "cut off at its token limit (raise “Longest answer” in the settings)",
    "content_filter": "stopped by a filter",
    "tool_calls": "ended by asking for a tool",
}


def answer_line(answer: ChatMessage) -> str:
    """Say in one line what an answer cost and where it is on record."""
    stats = answer.stats
    parts: list[str] = []
    if stats is not None and stats.first_token_s is not None:
        parts.append(f"first token after {show_seconds(stats.first_token_s)}")
    if stats is not None and stats.tokens_per_s is not None:
        parts.append(f"{stats.tokens_per_s:.1f} tokens/s")
    if stats is not None:
        parts.append(f"{stats.prompt_tokens:,} tokens in, {stats.completion_tokens:,} out")
    if answer.model:
        parts.append(answer.model)
    if answer.record_id:
        parts.append(f"record {answer.record_id[:SHORT_ID_CHARS]}")
    return " · ".join(parts)


def ending(answer: ChatMessage) -> str | None:
    """Say how an answer ended, if it did not end by itself."""
    if answer.state == "stopped":
        return "stopped by you"
    if answer.state == "failed":
        return f"the engine broke off: {answer.error or 'it did not say why'}"
    if answer.finish_reason in (None, "stop"):
        return None
    return _ENDINGS.get(answer.finish_reason, f"ended: {answer.finish_reason}")


def moment(at_s: float | None) -> str:
    """Print a moment in UTC; a dash for none."""
    return "–" if at_s is None else datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%d %H:%M UTC")
