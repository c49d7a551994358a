"""The page's server: Streamlit behind the guard and the sign-in."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import streamlit
from starlette.middleware import Middleware
from starlette.types import ASGIApp
from streamlit import config
from streamlit.runtime.pages_manager import PagesManager
from streamlit.starlette import App

from sandbox.client import Client
from ui.guard import Guard, allowed_hosts
from ui.parts.connection import use_gateway
from ui.signin import SignIn

SCRIPT = Path(__file__).parent / "app.py"
PAGES = frozenset({"/", "/status", "/cluster", "/keys"})

_LIGHT = {
    "primaryColor": "#0f766e",
    "backgroundColor": "#ffffff",
    "secondaryBackgroundColor": "#f3f6f5",
    "textColor": "#1c2726",
    "borderColor": "#d9dfdd",
}
_DARK = {
    "primaryColor": "#2a9d8f",
    "backgroundColor": "#121817",
    "secondaryBackgroundColor": "#1a2321",
    "textColor": "#e4ebe9",
    "borderColor": "#33403d",
}
_OPTIONS: dict[str, object] = {
    "browser.gatherUsageStats": False,
    "client.disableDataExport": True,
    "client.showErrorDetails": "type",
    "client.showErrorLinks": False,
    "client.toolbarMode": "minimal",
    "global.developmentMode": False,
    "logger.level": "warning",
    "runner.magicEnabled": False,
    "server.enableAgentApi": False,
    "server.enableCORS": True,
    "server.enableStaticServing": False,
    "server.enableXsrfProtection": True,
    "server.fileWatcherType": "none",
    "server.headless": True,
    "server.maxUploadSize": 1,
    "server.runOnSave": False,
    "server.showEmailPrompt": False,
    "server.xsrfCookieSameSite": "strict",
    "theme.base": None,
    "theme.baseRadius": "0.5rem",
}


def build(*, api: str, port: int, extra_hosts: Iterable[str] = ()) -> ASGIApp:
    """Put the page together.

    Args:
        api: the gateway's address without a path, ``http://127.0.0.1:8502``.
        port: where the page will listen; requests must name it.
        extra_hosts: more names that the page may be opened under, ``name`` or ``name:port``.
    """
    hosts = allowed_hosts(port, extra_hosts)
    _configure(port, hosts)
    use_gateway(api)
    guard = Middleware(Guard, hosts=hosts, pages=PAGES, index=document())
    return App(SCRIPT, routes=SignIn(lambda key: Client(api, key)).routes(), middleware=[guard])


def _configure(port: int, hosts: Iterable[str]) -> None:
    """Set every option that matters here, so that no file or variable of the caller can loosen one."""
    names = sorted({re.sub(r":\d+$", "", host).strip("[]") for host in hosts})
    # Until the router has run once, Streamlit would run a file of the folder “pages” alone, without what it puts around
    PagesManager.uses_pages_directory = False
    for name, value in {**_OPTIONS, "server.port": port, "server.allowedHosts": names}.items():
        config.set_option(name, value)
    for theme, colours in (("light", _LIGHT), ("dark", _DARK)):
        for name, colour in colours.items():
            config.set_option(f"theme.{theme}.{name}", colour)


def document() -> str:
    """Read Streamlit's document and leave out what advertises Streamlit or needs an inline script."""
    text = (Path(streamlit.__file__).parent / "static" / "index.html").read_text(encoding="utf-8")
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r"<script>.*?</script>", "", text, flags=re.DOTALL)
    text = re.sub(r'<link rel="(?:service-desc|shortcut icon)"[^>]*>', "", text)
    text = re.sub(
        r"<noscript>.*?</noscript>", "<noscript>This page needs JavaScript.</noscript>", text, flags=re.DOTALL
    )
    title = '<title>Sandbox</title>\n<link rel="icon" href="/favicon.svg">'
    return re.sub(r"<title>.*?</title>", title, text, flags=re.DOTALL)
