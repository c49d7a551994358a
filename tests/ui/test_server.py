"""The page's wall: whose requests are heard, how one signs in, what replies may load."""

from __future__ import annotations

import re
import time

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect
from streamlit import config
from streamlit.runtime.pages_manager import PagesManager

from sandbox.errors import NotRunning, SandboxError, Unauthenticated
from sandbox.wire.console import IssuedKey
from ui.guard import COOKIE, Guard, allowed_hosts
from ui.server import PAGES, SCRIPT, build, document
from ui.signin import SignIn

SESSION = "a-session-key-that-looks-like-one"
HOME = "http://127.0.0.1:8501"
SIGNED_IN = {"cookie": f"{COOKIE}={SESSION}"}


class FakeGate:
    """The gateway as far as signing in goes; notes what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.key = ""
        self.fails: SandboxError | None = None

    def made_with(self, key: str) -> FakeGate:
        self.key = key
        return self

    def redeem(self, ticket: str) -> IssuedKey:
        return self._issue("redeem", ticket)

    def open_session(self) -> IssuedKey:
        return self._issue("open_session", self.key)

    def close_session(self) -> None:
        self._issue("close_session", self.key)

    def close(self) -> None:
        self.asked.append(("close", ""))

    def _issue(self, name: str, given: str) -> IssuedKey:
        self.asked.append((name, given))
        if self.fails is not None:
            raise self.fails
        return IssuedKey(
            id="s", name="page", kind="session", owner="local", created_at=0, expires_at=time.time() + 600, key=SESSION
        )


@pytest.fixture
def gate() -> FakeGate:
    return FakeGate()


@pytest.fixture
def browser(gate: FakeGate) -> TestClient:
    """A client of the wall, with a small application behind it instead of Streamlit."""

    async def behind(request: Request) -> Response:
        return PlainTextResponse("data", headers={"cache-control": "public, max-age=60"})

    async def stream(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text("data")
        await websocket.close()

    guard = Middleware(Guard, hosts=allowed_hosts(8501, ["box.test"]), pages=PAGES, index="<p>index</p>")
    routes = [
        *SignIn(gate.made_with).routes(),
        WebSocketRoute("/_stcore/stream", stream),
        Route("/{path:path}", behind, methods=["GET", "POST"]),
    ]
    return TestClient(Starlette(routes=routes, middleware=[guard]), base_url=HOME, follow_redirects=False)


@pytest.mark.parametrize(
    "host", ["127.0.0.1:8501", "localhost:8501", "[::1]:8501", "LOCALHOST:8501", "box.test:99", "box.test"]
)
def test_own_names_are_served(browser: TestClient, host: str) -> None:
    assert browser.get("/healthz", headers={"host": host}).text == "ok"


@pytest.mark.parametrize(
    "host",
    [
        "evil.test",
        "evil.test:8501",
        "127.0.0.1",
        "127.0.0.1:8502",
        "127.0.0.1:8501.evil.test",
        "",
        "localhost:8501@evil.test",
    ],
)
@pytest.mark.parametrize("path", ["/healthz", "/", "/signin?ticket=x", "/static/x.js"])
def test_other_names_are_refused_and_told_why(browser: TestClient, gate: FakeGate, host: str, path: str) -> None:
    reply = browser.get(path, headers={"host": host, **SIGNED_IN})
    assert reply.status_code == 403
    assert "not served under the name" in reply.text
    assert gate.asked == []


def test_a_websocket_under_another_name_is_refused(browser: TestClient) -> None:
    assert not opens(browser, {"host": "evil.test:8501", **SIGNED_IN})


@pytest.mark.parametrize(
    "origin", ["http://evil.test", "null", "http://127.0.0.1:9999", "http://127.0.0.1:8501.evil.test", "file://"]
)
def test_requests_made_by_other_sites_are_refused(browser: TestClient, gate: FakeGate, origin: str) -> None:
    reply = browser.post("/signin", data={"key": "k" * 20}, headers={"origin": origin})
    assert reply.status_code == 403
    assert gate.asked == []
    assert not opens(browser, {"origin": origin, **SIGNED_IN})


def test_a_websocket_of_the_page_itself_opens(browser: TestClient) -> None:
    assert opens(browser, {"origin": HOME, **SIGNED_IN})


@pytest.mark.parametrize(
    "cookie", ["", f"{COOKIE}=", f"{COOKIE}=short", f"{COOKIE}=bad value here with spaces", "other=" + SESSION]
)
def test_without_a_session_there_is_no_page_and_no_data(browser: TestClient, cookie: str) -> None:
    headers = {"cookie": cookie}
    for page in sorted(PAGES):
        reply = browser.get(page, headers=headers)
        assert (reply.status_code, reply.headers["location"]) == (303, "/signin")
    for path in ("/media/file.json", "/_stcore/health", "/_stcore/host-config"):
        assert browser.get(path, headers=headers).status_code == 401
    assert not opens(browser, headers)


def test_assets_need_no_session_and_may_be_kept(browser: TestClient) -> None:
    reply = browser.get("/static/js/index.js")
    assert (reply.status_code, reply.headers["cache-control"]) == (200, "public, max-age=60")


def test_with_a_session_the_page_is_served(browser: TestClient) -> None:
    for page in sorted(PAGES):
        assert browser.get(page, headers=SIGNED_IN).text == "<p>index</p>"
    assert browser.post("/", headers=SIGNED_IN).status_code == 405
    assert browser.get("/media/x", headers=SIGNED_IN).text == "data"


@pytest.mark.parametrize(
    "path",
    [
        "/_stcore/agent/interact",
        "/_stcore/upload_file/x",
        "/_stcore/metrics",
        "/component/x",
        "/app/static/x",
        "/elsewhere",
        "/signinx",
        "/status/x",
    ],
)
def test_nothing_else_of_streamlit_can_be_reached(browser: TestClient, path: str) -> None:
    assert browser.get(path, headers=SIGNED_IN).status_code == 404
    assert browser.post(path, headers=SIGNED_IN).status_code == 404


@pytest.mark.parametrize("path", ["/", "/healthz", "/signin", "/static/x.js", "/elsewhere", "/media/x"])
def test_every_reply_says_what_it_may_load(browser: TestClient, path: str) -> None:
    for headers in (SIGNED_IN, {}, {"host": "evil.test"}):
        reply = browser.get(path, headers=headers)
        policy = dict(part.split(" ", 1) for part in reply.headers["content-security-policy"].split("; "))
        assert policy["script-src"] == "'self'"
        assert policy["img-src"] == "'self' data: blob:"
        assert {policy[name] for name in ("default-src", "object-src", "frame-ancestors", "base-uri")} == {"'none'"}
        assert (policy["connect-src"], policy["form-action"]) == ("'self'", "'self'")
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert reply.headers["x-frame-options"] == "DENY"
        assert reply.headers["referrer-policy"] == ("same-origin" if path == "/signin" else "no-referrer")
        assert reply.headers["cross-origin-opener-policy"] == "same-origin"
        assert path.startswith("/static/") or reply.headers["cache-control"] == "no-store"


def test_a_ticket_becomes_a_session_cookie(browser: TestClient, gate: FakeGate) -> None:
    reply = browser.get("/signin?ticket=one-time")
    assert gate.asked == [("redeem", "one-time"), ("close", "")]
    assert reply.status_code == 200
    assert 'http-equiv="refresh" content="0;url=/"' in reply.text
    cookie = reply.headers["set-cookie"]
    assert cookie.startswith(f"{COOKIE}={SESSION};")
    assert {"httponly", "path=/", "samesite=strict"} <= {part.strip().lower() for part in cookie.split(";")}
    lifetime = re.search(r"Max-Age=(\d+)", cookie)
    assert lifetime and 590 <= int(lifetime[1]) <= 600


def test_a_used_ticket_says_so_and_how_to_go_on(browser: TestClient, gate: FakeGate) -> None:
    gate.fails = Unauthenticated("this ticket was used", hint="")
    reply = browser.get("/signin?ticket=used-before")
    assert reply.status_code == 401
    assert "set-cookie" not in reply.headers
    assert "was used or is too old" in reply.text
    assert "make up" in reply.text
    assert '<form method="post" action="/signin">' in reply.text
    assert "used-before" not in reply.text


def test_a_gateway_that_is_down_is_said_at_sign_in(browser: TestClient, gate: FakeGate) -> None:
    gate.fails = NotRunning("the gateway at <x> does not answer", hint="")
    reply = browser.get("/signin?ticket=one-time")
    assert reply.status_code == 503
    assert "the gateway at &lt;x&gt; does not answer" in reply.text


@pytest.mark.parametrize("ticket", ["two%20words", "%0a", "x" * 201, "%C3%A9"])
def test_what_cannot_be_a_ticket_is_not_sent_on(browser: TestClient, gate: FakeGate, ticket: str) -> None:
    assert browser.get(f"/signin?ticket={ticket}").status_code == 400
    assert gate.asked == []


def test_a_pasted_key_becomes_a_session(browser: TestClient, gate: FakeGate) -> None:
    reply = browser.post("/signin", data={"key": " my-key "}, headers={"origin": HOME})
    assert gate.asked == [("open_session", "my-key"), ("close", "")]
    assert reply.status_code == 200
    assert SESSION in reply.headers["set-cookie"]


@pytest.mark.parametrize(
    ("form", "status"),
    [({}, 400), ({"key": ""}, 400), ({"key": "a b"}, 400), ({"key": "x" * 5000}, 413)],
    ids=["none", "empty", "blank inside", "too long"],
)
def test_what_cannot_be_a_key_is_not_sent_on(
    browser: TestClient, gate: FakeGate, form: dict[str, str], status: int
) -> None:
    assert browser.post("/signin", data=form).status_code == status
    assert gate.asked == []


def test_a_wrong_key_is_refused(browser: TestClient, gate: FakeGate) -> None:
    gate.fails = Unauthenticated("unknown key", hint="")
    reply = browser.post("/signin", data={"key": "wrong"})
    assert reply.status_code == 401
    assert "not valid" in reply.text


def test_signing_out_revokes_the_session_and_forgets_the_cookie(browser: TestClient, gate: FakeGate) -> None:
    assert browser.get("/signout", headers=SIGNED_IN).status_code == 200
    assert gate.asked == []
    reply = browser.post("/signout", headers={"origin": HOME, **SIGNED_IN})
    assert gate.asked == [("close_session", SESSION), ("close", "")]
    assert "Max-Age=0" in reply.headers["set-cookie"]
    assert "signed out" in reply.text


def test_signing_out_twice_is_harmless(browser: TestClient, gate: FakeGate) -> None:
    gate.fails = Unauthenticated("ended", hint="")
    assert "Max-Age=0" in browser.post("/signout", headers=SIGNED_IN).headers["set-cookie"]


def test_a_session_that_could_not_be_revoked_is_not_called_signed_out(browser: TestClient, gate: FakeGate) -> None:
    gate.fails = NotRunning("no answer", hint="")
    reply = browser.post("/signout", headers=SIGNED_IN)
    assert "set-cookie" not in reply.headers
    assert "You are not signed out" in reply.text


def test_the_document_runs_no_inline_script_and_loads_only_its_own_files() -> None:
    text = document()
    assert re.findall(r"<script(?![^>]*\ssrc=)", text) == []
    links = re.findall(r'(?:src|href)="([^"]*)"', text)
    assert links and all(link.startswith(("./static/", "/favicon.svg")) for link in links)
    assert "<title>Sandbox</title>" in text
    assert "agent" not in text


def opens(browser: TestClient, headers: dict[str, str]) -> bool:
    """Whether the page's websocket opens for a request with these headers."""
    given = {"host": "127.0.0.1:8501", **headers}
    try:
        with browser.websocket_connect("/_stcore/stream", headers=given) as stream:
            return bool(stream.receive_text() == "data")
    except WebSocketDisconnect:
        return False


def test_every_page_has_its_address() -> None:
    pages = {path.stem for path in (SCRIPT.parent / "pages").glob("*.py")}
    assert {"/", *(f"/{name}" for name in pages - {"chat"})} == PAGES


def test_no_page_is_ever_run_without_the_router_around_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PagesManager, "uses_pages_directory", None)  # as in a fresh process
    monkeypatch.setattr(config, "set_option", lambda *_: None)
    build(api="http://127.0.0.1:8502", port=8501)
    assert PagesManager.uses_pages_directory is False
