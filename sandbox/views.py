"""Rows and figures that the command line and the page both show."""

from __future__ import annotations

from sandbox.units import show_bytes, show_seconds
from sandbox.wire.console import AnswerStats, ModelRow
from sandbox.wire.observed import Exit, Happening, Observed, Unit

UNKNOWN = "not known"
REASON_CHARS = 160
"""Longer reasons are cut: an engine's last words can be pages."""
ENDINGS = {
    "OOMKilled": "out of memory",
    "Error": "failed",
    "Completed": "ended by itself",
    "StartError": "could not be started",
    "ContainerCannotRun": "could not be started",
    "ContainerStatusUnknown": "nobody saw how",
}
"""Kubernetes' words for how a container ended, in a person's."""
SIGNALS = {137: "killed", 139: "crashed", 143: "asked to stop"}
"""What an exit status says where the reason is only that it failed."""


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


def unit_cells(unit: Unit, now: float) -> dict[str, str]:
    """Write one pod or process as labelled cells, in the order in which they are read."""
    return {
        "part": f"engine of {unit.model}" if unit.model else unit.component,
        "state": state_words(unit),
        "memory": memory_words(unit),
        "CPU": cpu_words(unit),
        "restarts": restart_words(unit, now),
        "since": "–" if unit.started_at is None else age(now - unit.started_at),
    }


def state_words(unit: Unit) -> str:
    """Say whether it can do its work; what is wrong stands in its detail."""
    if unit.is_ready:
        return "ready"
    return unit.phase if unit.phase not in ("running", "ready") else "not ready"


def memory_words(unit: Unit) -> str:
    """Say what it holds of what it may."""
    if unit.memory_bytes is None:
        return UNKNOWN
    if not unit.memory_limit_bytes:
        return show_bytes(unit.memory_bytes)
    share = unit.memory_bytes / unit.memory_limit_bytes
    return f"{show_bytes(unit.memory_bytes)} of {show_bytes(unit.memory_limit_bytes)} ({share:.0%})"


def cpu_words(unit: Unit) -> str:
    """Say how many cores it uses of those that its threads can."""
    if unit.cpu_cores is None:
        return UNKNOWN
    used = f"{unit.cpu_cores:.2f}"
    return f"{used} of {unit.cpu_planned:g} planned" if unit.cpu_planned else f"{used} cores"


def restart_words(unit: Unit, now: float) -> str:
    """Say how often it was started again, and how it had ended before the last time."""
    if not unit.restarts:
        return "never"
    times = "once" if unit.restarts == 1 else f"{unit.restarts} times"
    return times if unit.last_exit is None else f"{times}, last: {exit_words(unit.last_exit, now)}"


def exit_words(ended: Exit, now: float) -> str:
    """Say how something ended: ``out of memory (exit 137), 3 min ago``."""
    why = ENDINGS.get(ended.reason, ended.reason) or "ended"
    if ended.reason in ("Error", "") and ended.code in SIGNALS:
        why = SIGNALS[ended.code]
    told = _short(why) if ended.code is None else f"{_short(why)} (exit {ended.code})"
    return told if ended.at is None else f"{told}, {age(now - ended.at)} ago"


def happening_cells(happening: Happening, now: float) -> dict[str, str]:
    """Write something that happened as labelled cells."""
    times = f" ({happening.count} times)" if happening.count > 1 else ""
    return {
        "when": f"{age(now - happening.at)} ago",
        "to": happening.about,
        "what": _short(f"{happening.reason}: {happening.message}" if happening.message else happening.reason) + times,
    }


def place_words(observed: Observed) -> str:
    """Say where it runs, and whether anybody enforces who may talk to whom there."""
    if observed.backend in ("", "local"):
        return "Runs as processes of this machine, on its loopback alone. Isolation by network policies does not apply."
    place = "in the kind cluster of this machine"
    if observed.backend != "kind":
        place = f"in the cluster of the context {observed.backend.removeprefix('context:')}"
    isolation = observed.isolation or "nobody has said whether it is enforced"
    return f"Runs {place}. Isolation of the network: {isolation}."


def age(duration_s: float) -> str:
    """Write how long something has lasted, as a person would say it: ``40 s``, ``3 min``, ``5 h``, ``2 days``."""
    if duration_s < 60:
        return f"{max(0, round(duration_s))} s"
    if duration_s < 3600:
        return f"{duration_s / 60:.0f} min"
    if duration_s < 48 * 3600:
        return f"{duration_s / 3600:.0f} h"
    return f"{duration_s / 86400:.0f} days"


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= REASON_CHARS else line[: REASON_CHARS - 1] + "…"
