"""What the two Python engine processes are told on their command line; no secret in it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sandbox.engine.arguments import Serving
from sandbox.plan import EnginePlan


@dataclass(frozen=True, slots=True)
class Spec:
    """One engine process: its model, its address on loopback and its limits."""

    model: Path
    alias: str
    port: int
    key_file: Path
    context_tokens: int
    """Context of one slot, tokens."""
    slots: int
    threads: int
    cache_ram_mib: int

    def to_argv(self) -> tuple[str, ...]:
        """Write the specification as arguments that ``parse`` reads back."""
        return (
            *("--model", str(self.model)),
            *("--alias", self.alias),
            *("--port", str(self.port)),
            *("--key-file", str(self.key_file)),
            *("--context-tokens", str(self.context_tokens)),
            *("--slots", str(self.slots)),
            *("--threads", str(self.threads)),
            *("--cache-ram-mib", str(self.cache_ram_mib)),
        )

    def key(self) -> str:
        """Read the engine's key from its file.

        Raises:
            ValueError: the file is empty; an engine without a key would answer anybody.
        """
        key = self.key_file.read_text().strip()
        if not key:
            raise ValueError(f"key file {self.key_file} is empty")
        return key


def of(plan: EnginePlan, serving: Serving) -> Spec:
    """Join a plan and its serving into one specification."""
    return Spec(
        model=serving.model_path,
        alias=serving.alias,
        port=serving.port,
        key_file=serving.key_file,
        context_tokens=plan.context_tokens,
        slots=plan.slots,
        threads=plan.threads,
        cache_ram_mib=plan.cache_ram_mib,
    )


def parse(argv: Sequence[str] | None = None) -> Spec:
    """Read a specification from the command line; anything missing or unknown ends the process with status 2."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--alias", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--key-file", type=Path, required=True)
    for number in ("--context-tokens", "--slots", "--threads", "--cache-ram-mib"):
        parser.add_argument(number, type=int, required=True)
    return Spec(**vars(parser.parse_args(argv)))
