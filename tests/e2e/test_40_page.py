"""Journeys through the page in a real browser: with the real sandbox, and with a scripted gateway behind it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, expect
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from sandbox.processes import free_port
from tests.e2e.page_gateway import SESSION_KEY, ScriptedGateway, serving
from tests.e2e.page_visit import APPEARS_MS, visiting
from tests.e2e.sandbox import Sandbox, until
from tests.ui.fake_console import FakeConsole

REPOSITORY = Path(__file__).parents[2]
STARTED_WITHIN_S = 60.0
STOPPED_WITHIN_S = 3.0
EVIL = "http://127.0.0.66:9"  # this machine, but not where the page may ask: a leak would stay here

HOSTILE = f"""Before <script>fetch("{EVIL}/script")</script> <img src="{EVIL}/img.png" onerror="alert(1)"> middle

![inline]({EVIL}/inline.png) ![reference][r] [![linked]({EVIL}/linked.png)]({EVIL}/)

[r]: {EVIL}/definition.png

<iframe src="{EVIL}/frame"></iframe> <style>body {{ background: url({EVIL}/style) }}</style>

[run](javascript:alert(1)) [page](data:text/html,hi) :red[red] :material/delete: :smile: $x^2$

```mermaid
graph LR; A["<img src='{EVIL}/mermaid.png'>"] --> B
```

The end."""
LONG = "\n\n".join(f"{number}. A paragraph with **bold** words, number {number}." for number in range(1, 400))


def say(question: str) -> list[str]:
    """What the scripted model says, in pieces of a few characters."""
    text = {"hostile": HOSTILE, "long": LONG}.get(question.split(maxsplit=1)[0], f"You asked: *{question}*")
    return [text[at : at + 6] for at in range(0, len(text), 6)]


@dataclass(frozen=True)
class Scripted:
    """A real page before a scripted gateway."""

    gateway: ScriptedGateway
    page_url: str

    def signin_url(self) -> str:
        return f"{self.page_url}/signin?ticket={next(iter(self.gateway.tickets))}"


@pytest.fixture(scope="module")
def served() -> Generator[Scripted, None, None]:
    gateway = ScriptedGateway(FakeConsole(say))
    page_port = free_port()
    with serving(gateway.app(), free_port()) as api:
        arguments = [sys.executable, "-m", "ui", "--port", str(page_port), "--api", api]
        process = subprocess.Popen(arguments, cwd=REPOSITORY)
        try:
            scripted = Scripted(gateway, f"http://127.0.0.1:{page_port}")
            wait_until_healthy(scripted.page_url)
            yield scripted
        finally:
            process.terminate()
            process.wait(timeout=20)


@pytest.fixture
def scripted(served: Scripted) -> Scripted:
    """The scripted page, with no chats yet and quick answers."""
    served.gateway.console = FakeConsole(say)
    served.gateway.first_piece_s, served.gateway.piece_s = 0.0, 0.005
    return served


def wait_until_healthy(page_url: str) -> None:
    give_up_at = time.monotonic() + STARTED_WITHIN_S
    while time.monotonic() < give_up_at:
        try:
            if httpx.get(f"{page_url}/healthz", trust_env=False).text == "ok":
                return
        except httpx.TransportError:
            time.sleep(0.1)
    raise AssertionError(f"the page is not healthy after {STARTED_WITHIN_S:.0f} s")


def test_a_question_is_answered_piece_by_piece_with_its_figures(
    running: Sandbox, browser: Browser, tmp_path: Path
) -> None:
    with visiting(browser, running.page_url) as visit:
        visit.sign_in(running.signin_url())
        visit.photograph("first light", tmp_path)
        visit.ask("Write ten sentences about the sea.")
        expect(visit.stop).to_be_visible(timeout=APPEARS_MS)
        lengths: set[int] = set()
        while visit.stop.is_visible():
            lengths.add(len(visit.answers.last.inner_text()))
            visit.page.wait_for_timeout(50)
        visit.wait_until_answered()
        assert len(lengths) >= 5, "the answer came in one piece"
        for words in ("first token after", "tokens/s", "tokens in", "record "):
            expect(visit.answers.last).to_contain_text(words)
        visit.photograph("an answer", tmp_path)
        shown = visit.answers.last.get_by_test_id("stMarkdown").all_inner_texts()
        assert shown and all(shown)
        visit.page.reload()
        expect(visit.answers.last).to_contain_text("record ", timeout=APPEARS_MS)
        expect(visit.answers.last.get_by_test_id("stMarkdown")).to_have_text(shown, timeout=APPEARS_MS)


def test_stop_stops_the_engine_and_keeps_what_was_written(running: Sandbox, browser: Browser) -> None:
    with visiting(browser, running.page_url) as visit:
        visit.sign_in(running.signin_url())
        visit.ask("Count from 1 to 1000, one number on each line, and leave none out.")
        expect(visit.page.get_by_text("Reading the question")).to_have_count(0, timeout=APPEARS_MS)
        assert running.busy_slots() == 1
        visit.stop.click()
        expect(visit.page.get_by_text("Stopped by you")).to_be_visible(timeout=STOPPED_WITHIN_S * 1000)
        until(lambda: running.busy_slots() == 0, STOPPED_WITHIN_S, "the engine's slot is free")
        assert running.last_record_state() == "cancelled"
        expect(visit.input).to_be_enabled(timeout=APPEARS_MS)
        visit.ask("Say hello.")
        expect(visit.questions).to_have_count(2, timeout=APPEARS_MS)
        expect(visit.stop).to_have_count(0, timeout=120_000)


def test_a_link_works_once_and_then_says_so(running: Sandbox, browser: Browser) -> None:
    link = running.signin_url()
    with visiting(browser, running.page_url) as visit:
        visit.sign_in(link)
    with visiting(browser, running.page_url) as visit:
        visit.page.goto(link)
        expect(visit.page.get_by_text("This link was used or is too old.")).to_be_visible()
        expect(visit.page.get_by_text("make up", exact=True)).to_be_visible()
        visit.page.get_by_label("Or paste a key").fill(running.key)
        visit.page.get_by_role("button", name="Sign in").click()
        expect(visit.input).to_be_enabled(timeout=APPEARS_MS)


def test_a_key_made_on_the_page_works_until_it_is_revoked(running: Sandbox, browser: Browser) -> None:
    with visiting(browser, running.page_url) as visit:
        visit.sign_in(running.signin_url())
        visit.page.get_by_role("link", name="Keys").click()
        visit.page.get_by_label("Name of the new key").fill("journey")
        visit.page.get_by_role("button", name="Make key").click()
        secret = visit.page.get_by_test_id("stCode").inner_text().strip()
        assert models_status(running, secret) == 200
        row = visit.page.get_by_test_id("stHorizontalBlock").filter(has_text="journey").last
        row.get_by_role("button", name="Revoke…").click()
        visit.page.get_by_role("button", name="Revoke for good").click()
        expect(visit.page.get_by_role("button", name="Revoke for good")).to_have_count(0, timeout=APPEARS_MS)
        assert models_status(running, secret) == 401


def models_status(running: Sandbox, key: str) -> int:
    headers = {"authorization": f"Bearer {key}"}
    return httpx.get(f"{running.api_url}/models", headers=headers, trust_env=False).status_code


def test_signing_out_ends_the_session(running: Sandbox, browser: Browser) -> None:
    with visiting(browser, running.page_url) as visit:
        visit.sign_in(running.signin_url())
        visit.page.goto(f"{running.page_url}/keys")
        visit.page.get_by_role("link", name="Sign out of this browser").click()
        visit.page.get_by_role("button", name="Sign out").click()
        expect(visit.page.get_by_text("You are signed out.")).to_be_visible()
        visit.page.goto(running.page_url)
        expect(visit.page.get_by_text("Sign in to use the models")).to_be_visible()


def test_hostile_output_is_text_and_fetches_nothing(scripted: Scripted, browser: Browser, tmp_path: Path) -> None:
    with visiting(browser, scripted.page_url) as visit:
        visit.sign_in(scripted.signin_url())
        visit.ask("hostile please")
        visit.wait_until_answered()
        expect(visit.answers.last).to_contain_text("The end.")
        visit.page.wait_for_timeout(500)
        answer = visit.answers.last
        for words in ("<script>fetch(", "<img src=", "[image: inline](blocked)", "<iframe", ":red[red]", "$x^2$"):
            expect(answer).to_contain_text(words)
        assert answer.locator("img, iframe, script, style, svg.mermaid, .katex").count() == 0
        links = answer.locator("a").evaluate_all("links => links.map(link => [decodeURI(link.href), link.innerText])")
        assert all(href.rstrip("/") == text.rstrip("/") for href, text in links), links
        assert [url for url in visit.requests if EVIL in url] == []
        visit.photograph("hostile output", tmp_path)


def test_the_second_wall_stops_what_the_first_might_let_through(scripted: Scripted, browser: Browser) -> None:
    fetched: list[str] = []

    async def note(request: Request) -> Response:
        fetched.append(request.url.path)
        return Response(status_code=204)

    evil = Starlette(routes=[Route("/{path:path}", note)])
    with serving(evil, free_port()) as elsewhere, visiting(browser, scripted.page_url) as visit:
        visit.sign_in(scripted.signin_url())
        blocked, has_run = visit.page.evaluate(
            """async elsewhere => {
              const seen = [];
              document.addEventListener("securitypolicyviolation", event => seen.push(event.effectiveDirective));
              const image = new Image(); image.src = elsewhere + "/image"; document.body.append(image);
              const script = document.createElement("script"); script.src = elsewhere + "/script";
              document.body.append(script);
              const inline = document.createElement("script"); inline.textContent = "window.ran = true";
              document.body.append(inline);
              const frame = document.createElement("iframe"); frame.src = elsewhere + "/frame";
              document.body.append(frame);
              await fetch(elsewhere + "/fetch").catch(() => {});
              await new Promise(done => setTimeout(done, 500));
              return [seen.sort(), window.ran === true];
            }""",
            elsewhere,
        )
        assert blocked == ["connect-src", "frame-src", "img-src", "script-src-elem", "script-src-elem"]
        assert not has_run
        assert fetched == []
        visit.requests.clear()  # the browser names the attempts there, though none left it


@pytest.mark.parametrize("first_piece_s", [0.0, 60.0], ids=["while it streams", "before the first token"])
def test_stop_is_prompt(scripted: Scripted, browser: Browser, first_piece_s: float) -> None:
    scripted.gateway.first_piece_s = first_piece_s
    stopped_before = scripted.gateway.stopped_turns
    with visiting(browser, scripted.page_url) as visit:
        visit.sign_in(scripted.signin_url())
        visit.ask("long answer please")
        expect(visit.page.get_by_text("bold" if first_piece_s == 0 else "Reading the question").first).to_be_visible()
        visit.stop.click()
        expect(visit.page.get_by_text("Stopped by you")).to_be_visible(timeout=STOPPED_WITHIN_S * 1000)
        assert scripted.gateway.stopped_turns == stopped_before + 1
        sent = scripted.gateway.sent_pieces
        visit.page.wait_for_timeout(300)
        assert scripted.gateway.sent_pieces == sent, "the engine goes on after Stop"
        (chat,) = scripted.gateway.console.kept.values()
        assert chat.messages[-1].state == "stopped"


def test_another_tab_shows_an_answer_that_is_being_written_until_it_is_done(
    scripted: Scripted, browser: Browser
) -> None:
    scripted.gateway.first_piece_s = 4.0
    with visiting(browser, scripted.page_url) as visit:
        visit.sign_in(scripted.signin_url())
        visit.ask("quick one")
        expect(visit.stop).to_be_visible(timeout=APPEARS_MS)
        visit.page.wait_for_url("**/?chat=*")
        other = visit.page.context.new_page()
        other.goto(visit.page.url)
        expect(other.get_by_text("This answer is still being written.")).to_be_visible(timeout=APPEARS_MS)
        expect(other.get_by_text("You asked: quick one")).to_be_visible(timeout=APPEARS_MS)
        expect(other.get_by_placeholder("Ask the model")).to_be_enabled(timeout=APPEARS_MS)


def test_a_question_is_edited_and_both_branches_stay(scripted: Scripted, browser: Browser) -> None:
    with visiting(browser, scripted.page_url) as visit:
        visit.sign_in(scripted.signin_url())
        visit.ask("first")
        visit.wait_until_answered()
        message = visit.page.get_by_test_id("stChatMessage").first
        message.get_by_role("button").first.click()
        visit.page.get_by_label("Your question").fill("second")
        visit.page.get_by_role("button", name="Ask", exact=True).click()
        expect(visit.page.get_by_text("You asked: second")).to_be_visible(timeout=APPEARS_MS)
        expect(message.get_by_text("2/2")).to_be_visible(timeout=APPEARS_MS)
        message.get_by_role("button").nth(1).click()
        expect(visit.page.get_by_text("You asked: first")).to_be_visible(timeout=APPEARS_MS)
        expect(message.get_by_text("1/2")).to_be_visible()


def test_a_chat_is_found_renamed_exported_and_deleted(scripted: Scripted, browser: Browser) -> None:
    with visiting(browser, scripted.page_url) as visit:
        visit.sign_in(scripted.signin_url())
        visit.ask("ducks")
        visit.wait_until_answered()
        sidebar = visit.page.get_by_test_id("stSidebar")
        sidebar.get_by_test_id("stPopover").get_by_role("button").click()
        visit.page.get_by_label("Title").fill("About ducks")
        visit.page.get_by_role("button", name="Rename").click()
        expect(sidebar.get_by_role("button", name="About ducks")).to_be_visible(timeout=APPEARS_MS)
        with visit.page.expect_download() as download:
            visit.page.get_by_role("button", name="Export as JSON").click()
        assert download.value.suggested_filename == "About-ducks.json"
        exported = json.loads(Path(download.value.path()).read_text())
        assert [message["content"] for message in exported["messages"]] == ["ducks", "You asked: *ducks*"]
        visit.page.get_by_role("button", name="Delete…").click()
        visit.page.get_by_role("button", name="Delete", exact=True).click()
        expect(visit.page.get_by_text("What would you like to know?")).to_be_visible(timeout=APPEARS_MS)
        assert scripted.gateway.console.kept == {}


def test_a_link_opened_from_another_site_signs_in_and_that_site_gets_nothing(
    scripted: Scripted, browser: Browser
) -> None:
    link = scripted.signin_url()

    async def other_site(request: Request) -> Response:
        return HTMLResponse(f'<a href="{link}">the link</a>')

    with serving(Starlette(routes=[Route("/", other_site)]), port := free_port()):
        context = browser.new_context()
        page = context.new_page()
        page.goto(f"http://localhost:{port}/")
        page.get_by_text("the link").click()
        expect(page.get_by_placeholder("Ask the model")).to_be_enabled(timeout=APPEARS_MS)
        page.goto(f"http://localhost:{port}/")
        opened = page.evaluate(
            """url => new Promise(done => {
              const socket = new WebSocket(url);
              socket.onopen = () => done("open"); socket.onerror = () => done("refused");
            })""",
            scripted.page_url.replace("http://", "ws://") + "/_stcore/stream",
        )
        read = page.evaluate(
            "url => fetch(url, {credentials: 'include'}).then(() => 'read', () => 'refused')", scripted.page_url + "/"
        )
        context.close()
    assert (opened, read) == ("refused", "refused")


def test_the_page_holds_nothing_but_its_session(scripted: Scripted, browser: Browser, tmp_path: Path) -> None:
    with visiting(browser, scripted.page_url, is_dark=True) as visit:
        visit.sign_in(scripted.signin_url())
        visit.ask("hello in the dark")
        visit.wait_until_answered()
        visit.photograph("dark", tmp_path)
        visible = visit.page.evaluate("[document.cookie, JSON.stringify({...localStorage, ...sessionStorage})].join()")
        assert SESSION_KEY not in visible
        assert SESSION_KEY not in visit.page.content()
        cookie = next(one for one in visit.page.context.cookies() if one["name"] == "sandbox_session")
        assert (cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == (True, "Strict", "/")


def test_the_cluster_page_draws_its_plots_without_evaluating_anything(
    scripted: Scripted, browser: Browser, tmp_path: Path
) -> None:
    for is_dark in (False, True):
        with visiting(browser, scripted.page_url, is_dark=is_dark) as visit:
            visit.sign_in(scripted.signin_url())
            visit.page.goto(f"{scripted.page_url}/cluster")
            plots = visit.page.get_by_test_id("stVegaLiteChart").locator("svg")
            expect(plots).to_have_count(4, timeout=APPEARS_MS)
            for number in range(4):  # nothing is drawn where the policy against eval stops Vega
                drawn = plots.nth(number).locator(".mark-area path").first
                expect(drawn).to_have_attribute("d", re.compile("L|C"), timeout=APPEARS_MS)
            expect(plots.first.get_by_text("400", exact=True)).to_be_attached()  # the plan of 420 MiB is on the axis
            expect(visit.page.get_by_text("3 times, last: out of memory (exit 137)")).to_be_visible()
            visit.photograph(f"cluster {'dark' if is_dark else 'light'}", tmp_path)


def test_every_page_warns_while_isolation_is_unproved(scripted: Scripted, browser: Browser, tmp_path: Path) -> None:
    scripted.gateway.console.isolation = "unproved"
    with visiting(browser, scripted.page_url) as visit:
        visit.sign_in(scripted.signin_url())
        for path in ("/", "/status", "/cluster", "/keys"):
            visit.page.goto(scripted.page_url + path)
            expect(visit.page.get_by_text("The network isolation of this cluster is unproved")).to_be_visible(
                timeout=APPEARS_MS
            )
        visit.photograph("unproved", tmp_path)
