"""What an engine process refuses: strangers, web pages of others, and looks at its inside."""

from __future__ import annotations

from collections.abc import Callable

import aiohttp
import anyio.to_thread
import psutil
import pytest

from sandbox.engine.protocol import EngineKind
from tests.contract.engines.harness import Running

pytestmark = pytest.mark.anyio

EVIL = {"Origin": "http://evil.example"}
KINDS = [
    pytest.param(kind, marks=pytest.mark.engine(kind)) for kind in ("xllamacpp", "llama-server", "llama-cpp-python")
]


@pytest.fixture(scope="module", params=KINDS)
def server(request: pytest.FixtureRequest, start: Callable[[EngineKind], Running]) -> Running:
    return start(request.param)


async def fetch(server: Running, method: str, path: str, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
    assert server.address is not None
    url = server.address.url + path
    async with aiohttp.ClientSession() as session, session.request(method, url, headers=headers) as answer:
        return answer.status, dict(answer.headers), await answer.read()


def key_of(server: Running) -> dict[str, str]:
    assert server.address is not None
    return {"Authorization": f"Bearer {server.address.key}"}


@pytest.mark.parametrize("method", ["GET", "OPTIONS"])
async def test_no_foreign_origin_is_admitted(server: Running, method: str) -> None:
    _, headers, _ = await fetch(server, method, "/v1/models", EVIL | key_of(server))
    assert headers.get("Access-Control-Allow-Origin", "") not in ("*", "null", EVIL["Origin"])
    assert headers.get("Access-Control-Allow-Credentials", "false") == "false"


@pytest.mark.parametrize("shown", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "Bearer "}])
async def test_nobody_is_answered_without_the_key(server: Running, shown: dict[str, str]) -> None:
    status, _, _ = await fetch(server, "GET", "/v1/models", shown)
    assert status == 401


async def test_the_model_is_listed_with_the_key(server: Running) -> None:
    status, _, body = await fetch(server, "GET", "/v1/models", key_of(server))
    assert status == 200
    assert b'"smollm2"' in body


@pytest.mark.parametrize("path", ["/slots", "/tools", "/cors-proxy", "/"])
async def test_what_was_switched_off_is_not_served(server: Running, path: str) -> None:
    status, _, _ = await fetch(server, "GET", path, key_of(server))
    assert status in (403, 404, 501)


async def test_an_engine_ends_within_seconds_of_being_asked(
    server: Running, start: Callable[[EngineKind], Running]
) -> None:
    assert server.address is not None
    other = await anyio.to_thread.run_sync(start, server.address.kind)
    process = psutil.Process(other.pid)
    process.terminate()
    await anyio.to_thread.run_sync(process.wait, 5)
    assert not psutil.pid_exists(process.pid)
