"""The pages work under their content security policy: a real browser refuses nothing of ours."""

import base64
import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connections

from core.models import User
from tests.core.factories import PASSWORD, UserFactory
from tests.core.test_two_factor import code_for
from tests.fleet.factories import DriverFactory
from tests.orders.factories import OrderFactory

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
QUIET = ("gpu", "background-networking", "component-update", "sync")
TELL = (
    "addEventListener('securitypolicyviolation', event => console.error("
    "'CSP', event.effectiveDirective, event.blockedURI, event.sourceFile, event.lineNumber))"
)

pytestmark = [
    pytest.mark.browser,
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium or Chrome on the PATH"),
]


@pytest.fixture
def page(live_server, monkeypatch) -> Iterator[Any]:
    """A page of the browser whose console stays silent and which asks nobody else for anything."""
    from playwright.sync_api import sync_playwright

    # Playwright's synchronous API runs an event loop, where Django would refuse to use the ORM.
    monkeypatch.setitem(os.environ, "DJANGO_ALLOW_ASYNC_UNSAFE", "true")
    said: list[str] = []
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
                said.append(f"{page.url}: {line.text}")
                if line.type == "error" and not line.location["url"].endswith("/favicon.ico")
                else None
            ),
        )
        page.on("pageerror", lambda error: said.append(f"{page.url}: {error}"))
        page.on(
            "request",
            lambda request: (
                said.append(f"{page.url} asks {request.url}")
                if not request.url.startswith((live_server.url, "data:", "blob:"))
                else None
            ),
        )
        yield page
        browser.close()
        connections.close_all()  # Django keeps one of its own for what runs beside the event loop
    assert said == []


def sign_in(page: Any, user: User, path: str = "/admin/") -> None:
    page.goto(path)
    page.fill("[name=username]", user.username)
    page.fill("[name=password]", PASSWORD)
    page.click("[type=submit]")


def test_the_admin_works(page) -> None:
    user = UserFactory(admin=True)
    order = OrderFactory(terminal__organization=user.organization)
    DriverFactory(name="Ola Nordmann", organization=user.organization)
    sign_in(page, user)
    for path in (
        "/admin/",
        "/admin/orders/order/",
        f"/admin/orders/order/{order.pk}/delete/",
        f"/admin/orders/order/{order.pk}/history/",
        "/admin/terminals/terminal/",
        "/admin/core/user/add/",
        "/admin/password_change/",
        f"/admin/orders/order/{order.pk}/change/",
    ):
        page.goto(path)
        page.wait_for_load_state("networkidle")
        colour = (
            "getComputedStyle(document.documentElement).getPropertyValue('--color-primary-500')"
        )
        assert page.evaluate(colour).startswith("oklch"), path

    # What needs scripts: choosing a driver in the form, filters and theme by Alpine.
    page.locator("#id_eta_driver + .select2").click()
    page.locator(".select2-search__field").fill("Nordmann")
    page.locator(".select2-results__option", has_text="Ola Nordmann").first.click()
    page.goto("/admin/orders/order/")
    assert page.evaluate("typeof Alpine.version") == "string"


def test_the_second_step_works(page) -> None:
    user = UserFactory()
    user.organization.require_two_factor = True
    user.organization.save()
    sign_in(page, user, "/admin/orders/order/")
    page.wait_for_selector(".qr svg path")
    box = page.locator(".qr svg").bounding_box()
    assert box["width"] > 150
    assert box["width"] == box["height"]
    secret = page.inner_text("#secret").replace(" ", "")
    page.fill("[name=code]", "000000")
    page.click("#code-form [type=submit]")
    page.wait_for_selector("text=another code")
    assert page.inner_text("#secret").replace(" ", "") == secret
    page.fill("[name=code]", code_for(base64.b32decode(secret).hex()))
    page.click("#code-form [type=submit]")
    page.wait_for_selector("#recovery-codes")
    assert page.locator("#recovery-codes li").count() == 10
    recovery = page.locator("#recovery-codes li").first.inner_text()
    page.click("text=I have kept them")
    page.wait_for_url("**/admin/orders/order/")

    page.context.clear_cookies()
    sign_in(page, user)
    page.fill("[name=code]", recovery)
    page.click("#code-form [type=submit]")
    page.wait_for_url("**/admin/")


def test_the_description_of_the_api_can_be_tried(page) -> None:
    page.goto("/api/v1/docs")
    page.wait_for_selector("#operations-health-health_retrieve, [id*=health]")
    page.locator(".opblock", has_text="/api/v1/health").first.click()
    page.click("text=Try it out")
    page.click(".btn.execute")
    page.wait_for_selector(".live-responses-table .response-col_status >> text=200")
    page.goto("/problems/conflict")
    page.wait_for_load_state("networkidle")
