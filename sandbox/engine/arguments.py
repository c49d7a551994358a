"""Plan → llama-server's command line, every limit explicit; pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sandbox.plan import EnginePlan

HOST = "127.0.0.1"
EVERYWHERE = "0.0.0.0"  # noqa: S104  # inside a pod alone, where network policies admit nobody but the gateway
PRIVATE_NETWORKS = tuple(map(ipaddress.IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")))
"""Where Docker's bridges are: an engine of this machine that serves a cluster listens on the bridge of its node."""
NO_ORIGIN = "https://nobody.invalid"
"""The one origin that engines admit: ``.invalid`` names nobody, ever (RFC 2606).

llama-server always sends an ``Access-Control-Allow-Origin``; its default ``*`` with credentials echoes
whichever origin asks, so every web page open in a browser could read answers. ``null`` would not do:
sandboxed frames send that.
"""

ALLOWED = frozenset(
    {
        "--alias",
        "--api-key-file",
        "--cache-ram",
        "--cors-origins",
        "--ctx-size",
        "--fit",
        "--gpu-layers",
        "--host",
        "--jinja",
        "--metrics",
        "--model",
        "--no-context-shift",
        "--no-cors-credentials",
        "--no-kv-unified",
        "--no-slots",
        "--no-ui",
        "--offline",
        "--parallel",
        "--port",
        "--reasoning-format",
        "--threads",
        "--threads-batch",
    }
)
"""Flags that may ever appear. A flag outside widens what the engine does and needs a review first."""


@dataclass(frozen=True, slots=True)
class Serving:
    """What an engine process is told besides its plan; nothing in it is secret."""

    model_path: Path
    alias: str
    """The model's name as clients of the engine write it."""
    port: int
    key_file: Path
    """File with the engine's key, for the engine's eyes only; the key itself never stands in an argument list."""
    host: str = HOST
    """Address to listen on: loopback, the one of a Docker bridge, or ``EVERYWHERE`` inside a pod."""


def llama_server(plan: EnginePlan, serving: Serving) -> tuple[str, ...]:
    """Write the arguments of llama-server, without the program's own name.

    Raises:
        ValueError: a flag outside ``ALLOWED``, an address or port that is none, or an alias that is a list.
    """
    if serving.host not in (HOST, EVERYWHERE) and not is_private(serving.host):
        raise ValueError(f"host {serving.host!r}: an engine listens on {HOST}, a bridge, or in a pod on {EVERYWHERE}")
    if not 0 < serving.port < 65536:
        raise ValueError(f"port {serving.port} is not between 1 and 65535")
    if not serving.alias or "," in serving.alias:
        raise ValueError(f"alias {serving.alias!r}: llama-server takes a comma for two names")
    argv = (
        *("--host", serving.host),
        *("--port", str(serving.port)),
        *("--api-key-file", str(serving.key_file)),
        *("--cors-origins", NO_ORIGIN),
        "--no-cors-credentials",
        "--no-ui",
        "--no-slots",
        "--metrics",
        "--offline",
        *("--model", str(serving.model_path)),
        *("--alias", serving.alias),
        *("--ctx-size", str(plan.total_context_tokens)),
        *("--parallel", str(plan.slots)),
        # Without it one slot may take the context of all, and a plan promises each slot its own.
        "--no-kv-unified",
        # A full context ends the answer instead of forgetting its beginning.
        "--no-context-shift",
        *("--threads", str(plan.threads)),
        *("--threads-batch", str(plan.threads)),
        *("--cache-ram", str(plan.cache_ram_mib)),
        *("--gpu-layers", str(plan.gpu_layers)),
        # "on" would change the limits above to what it finds free.
        *("--fit", "off"),
        "--jinja",
        # Thoughts stay in the text: the neutral answer has one stream, and what is hidden is not counted.
        *("--reasoning-format", "none"),
    )
    return checked(argv)


def is_private(host: str) -> bool:
    """Say whether an address is a plain one of a private network, as Docker's bridges have."""
    try:
        address = ipaddress.IPv4Address(host)
    except ValueError:
        return False
    return any(address in network for network in PRIVATE_NETWORKS)


def checked(argv: Sequence[str]) -> tuple[str, ...]:
    """Return the arguments if all flags are allowed.

    Raises:
        ValueError: naming every flag that is not.
    """
    foreign = sorted({flag for flag in argv if flag.startswith("-")} - ALLOWED)
    if foreign:
        raise ValueError(f"flags outside the reviewed list: {', '.join(foreign)}")
    return tuple(argv)


def unsupported(help_text: str) -> tuple[str, ...]:
    """Name the allowed flags that a program's ``--help`` does not mention, in alphabetical order."""
    known = {word.strip(",[]()") for word in help_text.split() if word.startswith("-")}
    return tuple(sorted(ALLOWED - known))
