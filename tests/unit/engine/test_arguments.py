"""Arguments of llama-server: what may stand there, and what a program must know."""

from __future__ import annotations

from pathlib import Path

import pytest

from sandbox.engine.arguments import ALLOWED, EVERYWHERE, HOST, Serving, checked, llama_server, unsupported
from tests.fakes import engine_plan

PLAN = engine_plan("m", 1024, slots=3, threads=2, cache_ram_mib=0)


def serving(*, port: int = 8080, alias: str = "m", host: str = HOST) -> Serving:
    return Serving(Path("m.gguf"), alias, port, Path("key"), host)


def value_of(flag: str) -> str:
    argv = llama_server(PLAN, serving())
    return argv[argv.index(flag) + 1]


def test_context_is_that_of_all_slots() -> None:
    assert value_of("--ctx-size") == "3072"
    assert value_of("--parallel") == "3"


def test_every_allowed_flag_is_used() -> None:
    assert {word for word in llama_server(PLAN, serving()) if word.startswith("-")} == ALLOWED


def test_a_flag_outside_the_list_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="--slot-save-path, --tools"):
        checked(("--port", "1", "--tools", "all", "--slot-save-path", "x"))


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_a_port_is_refused_when_out_of_range(port: int) -> None:
    with pytest.raises(ValueError, match="port"):
        llama_server(PLAN, serving(port=port))


@pytest.mark.parametrize("alias", ["", "one,two"])
def test_an_alias_is_refused_when_it_is_none_or_two(alias: str) -> None:
    with pytest.raises(ValueError, match="alias"):
        llama_server(PLAN, serving(alias=alias))


def test_all_flags_are_supported_when_help_names_them_beside_others() -> None:
    text = "\n".join(f"-x,   {flag}, --other N     words (default: 1)" for flag in sorted(ALLOWED))
    assert unsupported(text) == ()


def test_flags_are_unsupported_when_help_only_mentions_longer_ones() -> None:
    text = "\n".join(sorted(ALLOWED - {"--fit", "--no-ui"})) + "\n--fit-target N\n--no-ui-mcp-proxy"
    assert unsupported(text) == ("--fit", "--no-ui")


def test_an_engine_in_a_pod_is_told_to_listen_everywhere() -> None:
    argv = llama_server(PLAN, serving(host=EVERYWHERE))
    assert argv[argv.index("--host") + 1] == EVERYWHERE


@pytest.mark.parametrize(
    "host", ["", "0.0.0.0,127.0.0.1", "192.0.2.7", "8.8.8.8", "172.32.0.1", "localhost", "/run/engine.sock"]
)
def test_any_other_address_is_refused(host: str) -> None:
    with pytest.raises(ValueError, match="host"):
        llama_server(PLAN, serving(host=host))


@pytest.mark.parametrize("host", ["172.18.0.1", "10.0.0.1", "192.168.65.1"])
def test_the_bridge_of_a_cluster_is_listened_on_when_asked(host: str) -> None:
    argv = llama_server(PLAN, serving(host=host))
    assert argv[argv.index("--host") + 1] == host
