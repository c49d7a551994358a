from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest

from tests.unit.gateway.conftest import HOST, Gateway

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1:9999", "127.0.0.1", "evil.example:8502", "127.0.0.1:8502.evil.example"]
)
async def test_a_foreign_host_is_refused(gateway: Gateway, host: str) -> None:
    reply = await gateway.http.get("/v1/models", headers={"Host": host})
    assert (reply.status_code, reply.json()["error"]["code"]) == (403, "forbidden")


@pytest.mark.parametrize("origin", ["http://evil.example", "null", f"https://{HOST}", "http://127.0.0.1:8501"])
async def test_a_foreign_origin_is_refused(gateway: Gateway, origin: str) -> None:
    reply = await gateway.http.get("/v1/models", headers={"Origin": origin})
    assert reply.status_code == 403
    assert "access-control-allow-origin" not in reply.headers


async def test_the_own_origin_is_let_in(gateway: Gateway) -> None:
    assert (await gateway.http.get("/v1/models", headers={"Origin": f"http://{HOST}"})).status_code == 200


async def test_a_body_of_declared_length_that_is_too_long_is_refused(gateway: Gateway) -> None:
    reply = await gateway.http.post("/v1/chat/completions", content=b"x" * 20_000)
    assert (reply.status_code, reply.json()["error"]["code"]) == (413, "request_too_large")


async def test_a_body_without_a_length_is_counted_too(gateway: Gateway) -> None:
    async def pieces() -> AsyncGenerator[bytes, None]:
        for _ in range(20):
            yield b"x" * 1000

    reply = await gateway.http.post("/v1/chat/completions", content=pieces())
    assert (reply.status_code, reply.json()["error"]["code"]) == (413, "request_too_large")


async def test_every_reply_carries_the_headers_for_browsers(gateway: Gateway) -> None:
    for path in ("/health", "/v1/models", "/v1/nothing"):
        headers = (await gateway.http.get(path)).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in headers["content-security-policy"]
