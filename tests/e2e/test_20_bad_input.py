"""Journey 2: what people and machines get wrong; each is one clear error, and nothing is half-done."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import filelock
import httpx
import pytest

from tests.e2e.sandbox import MODEL, REPOSITORY, Sandbox, is_open, until


def refused(sandbox: Sandbox, *words: str, more: dict[str, str] | None = None, code: int) -> str:
    """Run a command that must fail, with an error, a hint, and no traceback; return what it said."""
    done = sandbox.run(*words, more=more, ok=False)
    assert done.returncode == code, f"exit {done.returncode}:\n{done.stdout}\n{done.stderr}"
    assert done.stderr.count("error:") == 1
    assert "hint:" in done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def test_a_taken_port_is_named_with_its_holder_and_nothing_is_started(another: Sandbox) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", another.api_port))
        holder.listen()
        said = refused(another, "up", code=2)
    assert f"port {another.api_port} on 127.0.0.1 is taken by" in said
    assert f"(process {os.getpid()})" in said
    assert "SANDBOX_API_PORT=" in said
    assert not (another.home / "run").exists()


@pytest.mark.parametrize("home", ["/proc/sandbox", "/dev/null/sandbox"])
def test_a_data_folder_that_cannot_be_written_is_named(another: Sandbox, home: str) -> None:
    said = refused(another, "up", more={"SANDBOX_HOME": home}, code=2)
    assert f"the data folder {home} cannot be written" in said


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=700m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("needs the right to mount a small disk: run as root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path) -> Path:
    path = folder / "filler"
    with path.open("wb", buffering=0) as file:
        chunk = b"\0" * (1 << 20)
        try:
            while True:
                file.write(chunk)
        except OSError:
            pass
    return path


def test_a_full_disk_stops_answers_before_they_go_unrecorded(another: Sandbox, small_disk: Path) -> None:
    shutil.move(another.home, small_disk / "home")
    another.home = small_disk / "home"
    another.key = another.up()["key"]
    assert another.ask("Say yes.")
    filler = fill(small_disk)
    reply = post(another, {"model": MODEL, "messages": [{"role": "user", "content": "Say yes."}]})
    assert (reply.status_code, reply.json()["error"]["code"]) == (503, "record_unavailable")
    filler.unlink()
    assert another.ask("Say yes.")
    another.run("down")

    fill(small_disk)
    said = refused(another, "up", code=2)
    assert "data folder" in said
    assert "free" in said


@pytest.mark.parametrize("damage", ["flipped byte", "cut short"])
def test_a_damaged_model_is_refused_and_the_hint_mends_it(another: Sandbox, damage: str) -> None:
    (blob,) = (another.home / "blobs").iterdir()
    blob.chmod(0o644)
    with blob.open("r+b") as file:
        if damage == "cut short":
            file.truncate(1_000_000)
        else:
            file.seek(50_000_000)
            byte = file.read(1)
            file.seek(50_000_000)
            file.write(bytes([byte[0] ^ 1]))
    said = refused(another, "up", code=3)
    assert MODEL in said
    assert not (another.home / "run").exists(), "nothing was started"
    assert refused(another, "models", "verify", MODEL, code=3)
    assert f"sandbox models fetch {MODEL} --replace" in said
    another.run("models", "fetch", MODEL, "--replace")
    assert "as reviewed" in another.run("models", "verify", MODEL).stdout


def test_a_model_swapped_while_running_is_not_started_again(another: Sandbox) -> None:
    another.key = another.up()["key"]
    (blob,) = (another.home / "blobs").iterdir()
    blob.chmod(0o644)
    data = bytearray(blob.read_bytes())
    data[-1] ^= 1
    blob.unlink()
    blob.write_bytes(data)
    os.kill(another.pid("engine"), signal.SIGKILL)
    until(lambda: another_state(another) == "failed", 30, "the engine is refused its file")
    detail = json.loads(another.run("status", "--json").stdout)["models"][0]["detail"]
    assert "digest" in detail
    assert "--replace" in detail


def another_state(sandbox: Sandbox) -> str:
    return str(json.loads(sandbox.run("status", "--json").stdout)["models"][0]["state"])


def test_more_context_than_the_model_has_is_refused_before_anything_starts(another: Sandbox) -> None:
    said = refused(another, "up", more={"SANDBOX_ENGINE_CONTEXT_TOKENS": "9000"}, code=2)
    assert "9000 tokens asked for" in said
    assert "SANDBOX_ENGINE_CONTEXT_TOKENS=8192" in said
    assert not (another.home / "run").exists()


def test_an_unknown_model_in_the_settings_names_the_nearest(another: Sandbox) -> None:
    said = refused(another, "up", more={"SANDBOX_MODELS_SERVE": "smollm2-135m"}, code=3)
    assert f"did you mean {MODEL}?" in said


def test_a_misspelt_setting_is_named(another: Sandbox) -> None:
    said = refused(another, "up", more={"SANDBOX_PAGE_PROT": "1"}, code=2)
    assert "did you mean SANDBOX_PAGE_PORT?" in said


def test_a_configured_engine_that_is_none_is_named(another: Sandbox) -> None:
    said = refused(another, "up", more={"SANDBOX_ENGINE_PATH": "/bin/true"}, code=5)
    assert "/bin/true" in said


def test_a_python_that_is_too_old_is_told_which_is_needed() -> None:
    script = REPOSITORY / "requirements" / "least_python.py"
    code = f"import sys; sys.version_info = (3, 9, 1, 'final', 0); exec(open({str(script)!r}).read())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Python 3.9.1" in done.stderr
    assert "make up PYTHON=python3.11" in done.stderr


def test_two_ups_at_once_one_works_and_the_other_says_so(another: Sandbox) -> None:
    with filelock.FileLock(another.home / "lock"):
        said = refused(another, "up", code=4)
    assert "another command is changing the sandbox" in said
    command = [str(another.checkout / ".venv" / "bin" / "sandbox"), "up", "--json"]
    both = [
        subprocess.Popen(command, env=another.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(2)
    ]
    said_both = [child.communicate(timeout=120) for child in both]
    codes = sorted(child.returncode for child in both)
    assert codes in ([0, 0], [0, 4]), said_both
    assert another.json("status")["running"] is True


@pytest.mark.parametrize("delay_s", [0.6, 1.0, 1.6, 2.4])
def test_ctrl_c_in_mid_up_loses_nothing_and_the_next_up_succeeds(another: Sandbox, delay_s: float) -> None:
    command = [str(another.checkout / ".venv" / "bin" / "sandbox"), "up"]
    with subprocess.Popen(command, env=another.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        try:
            child.wait(delay_s)
        except subprocess.TimeoutExpired:
            child.send_signal(signal.SIGINT)
        _, said = child.communicate(timeout=60)
    assert child.returncode in (0, 130), said
    assert b"Traceback" not in said
    another.up()
    assert another.json("status")["running"] is True
    assert not list((another.home / "blobs").glob(".fetch-*"))


def test_processes_whose_files_were_lost_are_cleared_and_up_succeeds(another: Sandbox) -> None:
    another.up()
    old = {name: another.pid(name) for name in ("steward", "gateway", "page", "engine")}
    shutil.rmtree(another.home / "run")
    done = another.run("up")
    assert "nobody looks after" in done.stderr
    assert not set(old.values()) & {another.pid(name) for name in old}
    another.run("down")
    assert not is_open(another.page_port)


def test_a_file_of_a_process_that_is_long_gone_is_no_hindrance(another: Sandbox) -> None:
    run = another.home / "run"
    run.mkdir(parents=True)
    for name in ("steward", "gateway", "page"):
        (run / f"{name}.process.json").write_text('{"pid": 1, "started_at": 1.0, "fingerprint": "x"}')
    (run / "steward.json").write_text("{")
    another.up()
    assert another.json("status")["running"] is True


def test_logs_of_nobody_say_whose_there_are(running: Sandbox) -> None:
    assert "gateway" in refused(running, "logs", "nobody", code=4)


def post(sandbox: Sandbox, body: Any, key: str | None = None, path: str = "chat/completions") -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    key = sandbox.key if key is None else key
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
    return httpx.post(f"{sandbox.api_url}/{path}", content=content, headers=headers, timeout=60, trust_env=False)


HELLO = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 1}


@pytest.mark.parametrize(
    ("body", "key", "status", "code", "named"),
    [
        (HELLO, "", 401, "invalid_api_key", "API key"),
        (HELLO, "sk-wrong", 401, "invalid_api_key", "not valid"),
        ({**HELLO, "model": "gpt-4"}, None, 404, "model_not_found", "gpt-4"),
        ({**HELLO, "colour": "blue"}, None, 400, "invalid_request", "colour: unknown field"),
        ({**HELLO, "max_tokens": -1}, None, 400, "invalid_request", "max_tokens"),
        ({**HELLO, "max_tokens": 10**40}, None, 400, "invalid_request", "max_tokens"),
        ({**HELLO, "temperature": 1e300}, None, 400, "invalid_request", "temperature"),
        (b"{", None, 400, "invalid_request", "not valid JSON"),
        (b"\xff", None, 400, "invalid_request", ""),
        (
            {**HELLO, "messages": [{"role": "user", "content": "x" * 10_000_000}]},
            None,
            413,
            "request_too_large",
            "2097152",
        ),
        (
            {**HELLO, "messages": [{"role": "user", "content": "x " * 9000}]},
            None,
            400,
            "context_length_exceeded",
            "4096",
        ),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_bad_request_gets_its_status_code_and_what_is_wrong(
    running: Sandbox, body: Any, key: str | None, status: int, code: str, named: str
) -> None:
    reply = post(running, body, key)
    error = reply.json()["error"]
    assert (reply.status_code, error["code"]) == (status, code)
    assert named in error["message"]


def test_a_foreign_host_or_origin_is_refused(running: Sandbox) -> None:
    for headers in ({"Host": "evil.example"}, {"Origin": "http://evil.example"}, {"Origin": "null"}):
        reply = httpx.get(f"http://127.0.0.1:{running.api_port}/health", headers=headers, trust_env=False)
        assert (reply.status_code, reply.json()["error"]["code"]) == (403, "forbidden")
        assert "access-control-allow-origin" not in reply.headers
