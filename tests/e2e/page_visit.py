"""A person at the page, in a real browser: what they do, what they see, what their browser fetched."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Generator
from pathlib import Path

from playwright.sync_api import Browser, Dialog, Locator, Page, expect

APPEARS_MS = 30_000
OWN_SCHEMES = ("data:", "blob:", "about:")


class Visit:
    """One person's browser with one page open, and every request it made."""

    def __init__(self, page: Page, page_url: str) -> None:
        self.page = page
        self.page_url = page_url
        self.requests: list[str] = []
        self.complaints: list[str] = []
        page.context.on("request", lambda request: self.requests.append(request.url))
        page.on("websocket", lambda socket: self.requests.append(socket.url))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("dialog", self._refuse)

    def _refuse(self, dialog: Dialog) -> None:
        self.complaints.append(dialog.message)
        dialog.dismiss()

    @property
    def input(self) -> Locator:
        return self.page.get_by_placeholder("Ask the model")

    @property
    def answers(self) -> Locator:
        """The shown answers: messages with figures or a Stop button have no question's text element."""
        return self.page.get_by_test_id("stChatMessage").filter(has_not=self.page.get_by_test_id("stText"))

    @property
    def questions(self) -> Locator:
        return self.page.get_by_test_id("stChatMessage").get_by_test_id("stText")

    @property
    def stop(self) -> Locator:
        return self.page.get_by_role("button", name="Stop", exact=True)

    def sign_in(self, url: str) -> None:
        self.page.goto(url)
        expect(self.input).to_be_enabled(timeout=APPEARS_MS)

    def ask(self, text: str) -> None:
        """Ask, and come back as soon as the page has taken the question."""
        expect(self.input).to_be_enabled(timeout=APPEARS_MS)
        self.input.fill(text)
        self.input.press("Enter")

    def wait_until_answered(self, answers: int = 1) -> None:
        """Wait until that many answers are shown with their figures, and another question may be asked."""
        expect(self.page.get_by_text("first token after")).to_have_count(answers, timeout=120_000)
        expect(self.input).to_be_enabled(timeout=APPEARS_MS)

    def foreign_requests(self) -> list[str]:
        """List what the browser asked of anybody but the page's own server."""
        own = (self.page_url + "/", self.page_url.replace("http://", "ws://") + "/")
        return [url for url in self.requests if not url.startswith(own + OWN_SCHEMES)]

    def photograph(self, name: str, otherwise: Path) -> Path:
        """Save what is on the screen: into ``E2E_SCREENSHOTS``, or else into the given folder."""
        folder = Path(os.environ.get("E2E_SCREENSHOTS") or otherwise)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{re.sub(r'[^a-z0-9]+', '-', name.lower())}.png"
        self.page.screenshot(path=path)
        return path


@contextlib.contextmanager
def visiting(browser: Browser, page_url: str, *, is_dark: bool = False) -> Generator[Visit, None, None]:
    """Open a fresh browser profile; on the way out, insist that nothing but the page was ever asked."""
    context = browser.new_context(
        viewport={"width": 1280, "height": 900}, color_scheme="dark" if is_dark else "light", accept_downloads=True
    )
    visit = Visit(context.new_page(), page_url)
    try:
        yield visit
        assert visit.foreign_requests() == []
        assert visit.complaints == []
    finally:
        context.close()
