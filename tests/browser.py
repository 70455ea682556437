"""A real browser before the test's own server; `tests.conftest` offers its fixtures."""

import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connections

from core.models import User
from tests.core.factories import PASSWORD

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
QUIET = ("gpu", "background-networking", "component-update", "sync")
TELL = (
    "addEventListener('securitypolicyviolation', event => console.error("
    "'CSP', event.effectiveDirective, event.blockedURI, event.sourceFile, event.lineNumber))"
)
MARKS = [
    pytest.mark.browser,
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium or Chrome on the PATH"),
]


@pytest.fixture
def complaints() -> Iterator[list[str]]:
    """What the browser's console says of errors, and which other host it would ask: nothing.

    A test takes out what it expects.
    """
    said: list[str] = []
    yield said
    assert said == []


@pytest.fixture
def page(live_server: Any, monkeypatch: Any, complaints: list[str]) -> Iterator[Any]:
    """A page of the browser."""
    from playwright.sync_api import sync_playwright

    # Playwright's synchronous API runs an event loop, where Django would refuse to use the ORM.
    monkeypatch.setitem(os.environ, "DJANGO_ALLOW_ASYNC_UNSAFE", "true")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--no-first-run", *(f"--disable-{what}" for what in QUIET)],
        )
        page = browser.new_page(base_url=live_server.url)
        page.add_init_script(TELL)
        page.on(
            "console",
            lambda line: (
                complaints.append(f"{page.url}: {line.text}")
                if line.type == "error" and not line.location["url"].endswith("/favicon.ico")
                else None
            ),
        )
        page.on("pageerror", lambda error: complaints.append(f"{page.url}: {error}"))
        page.on(
            "request",
            lambda request: (
                complaints.append(f"{page.url} asks {request.url}")
                if not request.url.startswith((live_server.url, "data:", "blob:"))
                else None
            ),
        )
        yield page
        browser.close()
        connections.close_all()  # Django keeps one of its own for what runs beside the event loop


def sign_in(page: Any, user: User, path: str = "/admin/") -> None:
    page.goto(path)
    page.fill("[name=username]", user.username)
    page.fill("[name=password]", PASSWORD)
    page.click("[type=submit]")
