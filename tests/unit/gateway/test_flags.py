"""How the gateway is told where it is: on this machine without a word, in a pod by flags."""

from __future__ import annotations

import json
import secrets
from pathlib import Path

import anyio
import pytest
from starlette.testclient import TestClient

from sandbox import config
from sandbox.engine.arguments import EVERYWHERE
from sandbox.errors import ConfigError
from sandbox.gateway.__main__ import assemble, main, parse
from sandbox.gateway.engines import contact_at, contact_file


def made_key() -> str:
    return f"sb_{secrets.token_hex(6)}_{secrets.token_urlsafe(32)}"


def settings(tmp_path: Path, **environment: str) -> config.Settings:
    return config.load(environment={"SANDBOX_HOME": str(tmp_path / "home"), **environment}).settings


def test_without_flags_it_is_this_machines_own(tmp_path: Path) -> None:
    asked = parse([])
    assert (asked.listen, asked.port, asked.operator_key_file, asked.steward_url) == ("127.0.0.1", None, None, None)
    with TestClient(assemble(settings(tmp_path), asked), base_url="http://127.0.0.1:8502") as client:
        key = (tmp_path / "home" / "run" / "operator.key").read_text()
        status = client.get("/sandbox/v1/status", headers={"Authorization": f"Bearer {key}"})
        assert status.json()["backend"] == "local"
        assert client.get("/health", headers={"Host": "gateway:8502"}).status_code == 403


def test_in_a_pod_it_takes_the_key_given_and_hears_its_names(tmp_path: Path) -> None:
    key_file, token_file = tmp_path / "key", tmp_path / "token"
    first = made_key()
    token_file.write_text("t")
    asked = parse(
        [
            *("--listen", EVERYWHERE, "--port", "8502", "--allowed-host", "Gateway:8502"),
            *("--operator-key-file", str(key_file)),
            *("--steward-url", "http://steward:8503/", "--steward-token-file", str(token_file)),
        ]
    )
    ours = settings(tmp_path, SANDBOX_API_PORT="9502", SANDBOX_BACKEND="kind")
    for given in (first, first, made_key()):  # a start, a start with the same key, a start with another
        key_file.write_text(given)
        with TestClient(assemble(ours, asked), base_url="http://gateway:8502") as client:
            status = client.get("/sandbox/v1/status", headers={"Authorization": f"Bearer {given}"})
            assert (status.status_code, status.json()["backend"]) == (200, "kind")
            for host, code in (("127.0.0.1:9502", 200), ("localhost:8502", 200), ("steward:8503", 403)):
                assert client.get("/health", headers={"Host": host}).status_code == code
            if given != first:
                old = client.get("/sandbox/v1/status", headers={"Authorization": f"Bearer {first}"})
                assert old.status_code == 401
    stored = b"".join(path.read_bytes() for path in (tmp_path / "home" / "state").iterdir())
    assert first.split("_", 2)[2].encode() not in stored
    assert not (tmp_path / "home" / "run").exists()


def test_a_key_of_another_form_stops_it_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("hunter2")
    app = assemble(settings(tmp_path), parse(["--operator-key-file", str(tmp_path / "key")]))
    with pytest.raises(ConfigError, match="sb_"), TestClient(app):
        pass


@pytest.mark.parametrize("flag", ["--steward-url=http://steward:8503", "--steward-token-file=/token"])
def test_half_of_the_stewards_address_is_no_address(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse([flag])
    assert "go together" in capsys.readouterr().err


def test_a_wrong_setting_ends_it_with_its_exit_status(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SANDBOX_API_PROT", "1")
    assert main([]) == ConfigError.exit_code


def test_the_stewards_contact_is_read_anew_each_time(tmp_path: Path) -> None:
    path = tmp_path / "contact"
    for token in ("one", "two"):
        path.write_text(json.dumps({"url": "http://127.0.0.1:1", "token": token}))
        assert anyio.run(contact_file(path)).token == token
        path.write_text(f"{token}\n")
        contact = anyio.run(contact_at("http://steward:8503", path))
        assert (contact.url, contact.token) == ("http://steward:8503", token)
        assert token not in repr(contact)
