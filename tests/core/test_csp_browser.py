"""The pages work under their content security policy: a real browser refuses nothing of ours."""

import base64

from tests.browser import MARKS, sign_in
from tests.core.factories import UserFactory
from tests.core.test_two_factor import code_for
from tests.fleet.factories import DriverFactory
from tests.orders.factories import OrderFactory

pytestmark = MARKS


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
