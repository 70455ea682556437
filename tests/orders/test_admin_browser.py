"""A dispatcher's morning in a real browser."""

from core.models import User
from orders.models import Order, Status
from tests.browser import MARKS, sign_in
from tests.fleet.factories import DriverFactory
from tests.orders.factories import today
from tests.terminals.factories import TerminalFactory

pytestmark = MARKS


def choose(page, field: str, words: str) -> None:
    """Find something in an autocomplete field, and take the first that it offers."""
    page.locator(f"#id_{field} + .select2").click()
    page.locator(".select2-search__field").fill(words)
    page.locator(".select2-results__option", has_text=words).first.click()


def test_an_order_is_planned_and_arrives(page, dispatcher: User) -> None:
    terminal = TerminalFactory(name="Oslo Alnabru", organization=dispatcher.organization)
    driver = DriverFactory(name="Ola Nordmann", organization=dispatcher.organization)

    sign_in(page, dispatcher)
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
