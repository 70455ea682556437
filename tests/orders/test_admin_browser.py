"""A dispatcher's morning in a real browser."""

import os
import shutil
from collections.abc import Iterator

import pytest
from django.db import connections

from core.models import User
from orders.models import Order, Status
from tests.core.factories import PASSWORD
from tests.fleet.factories import DriverFactory
from tests.orders.factories import today
from tests.terminals.factories import TerminalFactory

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)

pytestmark = [
    pytest.mark.browser,
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium or Chrome on the PATH"),
]


@pytest.fixture
def page(live_server, monkeypatch) -> Iterator:
    """A page of the browser, and no other host that it could ask for anything."""
    from playwright.sync_api import sync_playwright

    # Playwright's synchronous API runs an event loop, where Django would refuse to use the ORM.
    monkeypatch.setitem(os.environ, "DJANGO_ALLOW_ASYNC_UNSAFE", "true")
    quiet = ["background-networking", "component-update", "sync"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=[
                "--no-sandbox",
                "--disable-gpu",
                "--no-first-run",
                *(f"--disable-{what}" for what in quiet),
            ],
        )
        page = browser.new_page(base_url=live_server.url)
        outside: list[str] = []
        page.on(
            "request",
            lambda request: (
                outside.append(request.url)
                if not request.url.startswith((live_server.url, "data:", "blob:"))
                else None
            ),
        )
        yield page
        browser.close()
        connections.close_all()  # Django keeps one of its own for what runs beside the event loop
    assert outside == []


def choose(page, field: str, words: str) -> None:
    """Find something in an autocomplete field, and take the first that it offers."""
    page.locator(f"#id_{field} + .select2").click()
    page.locator(".select2-search__field").fill(words)
    page.locator(".select2-results__option", has_text=words).first.click()


def test_an_order_is_planned_and_arrives(page, dispatcher: User) -> None:
    terminal = TerminalFactory(name="Oslo Alnabru", organization=dispatcher.organization)
    driver = DriverFactory(name="Ola Nordmann", organization=dispatcher.organization)

    page.goto("/admin/")
    page.fill("[name=username]", dispatcher.username)
    page.fill("[name=password]", PASSWORD)
    page.click("[type=submit]")

    page.click("text=New order")
    choose(page, "terminal", "Alnabru")
    page.fill("[name=reference]", "REF-1")
    page.select_option("[name=service]", "cross_dock")
    page.fill("[name=eta_date]", today().isoformat())
    page.fill("[name=eta_time]", "23:59")
    choose(page, "eta_driver", "Nordmann")
    page.fill("[name=etd_date]", today().isoformat())
    page.click("[name=_save]")
    page.wait_for_selector("text=was added successfully")
    order = Order.objects.get()
    assert (order.terminal, order.eta_driver, order.status) == (terminal, driver, Status.PLANNED)

    page.click("#nav-sidebar >> text=Today")
    page.wait_for_selector("#result_list >> text=Ola Nordmann")
    page.click("#result_list >> text=REF-1")
    page.click("[name=_arrive]")
    page.wait_for_selector("text=Arrived: REF-1.")
    assert page.locator("#result_list >> text=Arrived").count() == 1
    order.refresh_from_db()
    assert order.status == Status.ARRIVED
