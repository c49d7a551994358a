"""Rows and figures that the command line and the page both show."""

from __future__ import annotations

from sandbox.units import show_bytes, show_seconds
from sandbox.wire.console import AnswerStats, ModelRow


def model_cells(row: ModelRow) -> dict[str, str]:
    """Write one served model as labelled cells, in the order in which they are read."""
    return {
        "model": row.id,
        "state": row.state,
        "engine": row.engine,
        "context": f"{row.slots} × {row.context_tokens} tokens",
        "threads": str(row.threads),
        "memory": show_bytes(row.memory_bytes) if row.memory_bytes else "–",
        "restarts": str(row.restarts),
        "licence": row.licence,
        "digest": f"sha256:{row.sha256[:12]}…",
    }


def stats_line(stats: AnswerStats) -> str:
    """Write what an answer cost in one line: first token, speed, tokens."""
    parts = []
    if stats.first_token_s is not None:
        parts.append(f"first token {show_seconds(stats.first_token_s)}")
    if stats.tokens_per_s is not None:
        parts.append(f"{stats.tokens_per_s:.0f} tokens/s")
    parts.append(f"{stats.prompt_tokens} + {stats.completion_tokens} tokens")
    return " · ".join(parts)
