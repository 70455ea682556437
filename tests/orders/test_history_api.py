"""What happened to an order, in words, and the order as it was."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test import Client

from core.models import Role
from orders.models import Order
from terminals.services import bind_staff
from tests.core.factories import PASSWORD, UserFactory
from tests.fleet.factories import DriverFactory, TruckFactory
from tests.orders.factories import OrderFactory
from tests.terminals.factories import TerminalFactory

pytestmark = pytest.mark.django_db

MICROSECOND = timedelta(microseconds=1)


@pytest.fixture
def order(dispatcher):
    return OrderFactory(terminal__organization=dispatcher.organization, pallets=3)


def history_of(api, order, query=""):
    answer = api.get(f"/orders/{order.pk}/history{query}")
    assert answer.status_code == 200, answer.json()
    return answer.json()


def actions(api, order):
    return [entry["action"] for entry in history_of(api, order)["data"]]


def at(instant: datetime) -> str:
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class TestHistory:
    def test_tells_each_change_in_words_newest_first(self, api, dispatcher, order):
        api.patch(f"/orders/{order.pk}", {"pallets": 5, "priority": True}, HTTP_X_REQUEST_ID="r-5")
        changed, created = history_of(api, order)["data"]
        assert changed == {
            "at": changed["at"],
            "by": {"type": "user", "name": dispatcher.username},
            "door": "api",
            "address": "127.0.0.1",
            "request_id": "r-5",
            "action": "changed",
            "changes": [
                {"field": "pallets", "before": 3, "after": 5, "text": "Pallets: 3 → 5"},
                {"field": "priority", "before": False, "after": True, "text": "Priority: no → yes"},
            ],
            "version": 2,
        }
        assert (created["action"], created["version"]) == ("created", 1)
        assert created["by"] == {"type": "database", "name": ""}
        told = {change["field"]: change["after"] for change in created["changes"]}
        assert told["terminal"] == order.terminal.name
        assert told["reference"] == order.reference
        assert told["eta_date"] == order.eta_date.isoformat()

    def test_names_each_step(self, api, order):
        for step in ("arrive", "cancel", "reopen", "arrive", "depart"):
            body = {"reason": "Why not."} if step == "cancel" else {}
            assert api.post(f"/orders/{order.pk}/{step}", body).status_code == 200
        assert actions(api, order) == [
            *("departed", "arrived", "reopened", "cancelled", "arrived", "created"),
        ]

    def test_shows_what_is_referred_to_by_the_name_of_that_day(self, api, dispatcher, order):
        home = dispatcher.organization
        kari = DriverFactory(organization=home, name="Kari")
        truck = TruckFactory(organization=home, license_plate="AB12345")
        references = {"eta_driver_id": str(kari.pk), "eta_truck_id": str(truck.pk)}
        assert api.patch(f"/orders/{order.pk}", references).status_code == 200
        api.patch(f"/drivers/{kari.pk}", {"name": "Kari Nordmann"})
        api.patch(f"/orders/{order.pk}", {"eta_driver_id": None})
        taken_off, put_on, _ = history_of(api, order)["data"]
        assert [change["text"] for change in put_on["changes"]] == [
            "Arrival driver: nothing → Kari",
            "Arrival truck: nothing → AB12345",
        ]
        assert [change["text"] for change in taken_off["changes"]] == [
            "Arrival driver: Kari Nordmann → nothing"
        ]

    def test_of_a_deleted_order_stays(self, api, order):
        api.delete(f"/orders/{order.pk}")
        assert api.get(f"/orders/{order.pk}").status_code == 404
        assert actions(api, order) == ["deleted", "created"]

    def test_is_paged_in_both_styles_and_both_ways(self, api, order):
        for pallets in range(10, 15):
            api.patch(f"/orders/{order.pk}", {"pallets": pallets})
        first = history_of(api, order, "?per_page=4")
        assert [entry["version"] for entry in first["data"]] == [6, 5, 4, 3]
        assert (first["total"], first["pages"]) == (6, 2)
        assert first["data"][-1]["changes"][0]["before"] == 10  # told across the page's edge
        walked, address = [], "?cursor=&per_page=4&ordering=at"
        while address:
            page = history_of(api, order, address)
            walked += [entry["version"] for entry in page["data"]]
            address = page["next"] and "?" + page["next"].split("?", 1)[1]
        assert walked == [1, 2, 3, 4, 5, 6]

    @pytest.mark.parametrize("query", ["?ordering=door", "?cursor=x", "?page=0", "?reference=x"])
    def test_refuses_what_it_does_not_understand(self, api, order, query):
        assert api.get(f"/orders/{order.pk}/history{query}").status_code == 422

    def test_of_others_is_not_there(self, api, order):
        theirs = OrderFactory()
        nothing = api.get(f"/orders/{TerminalFactory().pk}/history").json()
        for address in (f"/orders/{theirs.pk}/history", "/orders/5/history"):
            answer = api.get(address)
            assert answer.status_code == 404
            assert answer.json() | {"request_id": ""} == nothing | {"request_id": ""}

    def test_is_for_those_at_its_last_terminal(self, api_of, dispatcher, order):
        elsewhere = TerminalFactory(organization=dispatcher.organization)
        bound = UserFactory(organization=dispatcher.organization)
        bind_staff(bound, [elsewhere])
        order.refresh_from_db()
        past = f"/orders/{order.pk}?as_of={at(order.created_at)}"
        trail = f"/orders/{order.pk}/history"
        assert [api_of(bound).get(each).status_code for each in (trail, past)] == [404, 404]
        Order.objects.filter(pk=order.pk).update(terminal=elsewhere)
        Order.objects.filter(pk=order.pk).delete()
        assert [api_of(bound).get(each).status_code for each in (trail, past)] == [200, 200]

    def test_needs_a_fixed_number_of_statements(self, api, dispatcher, order, statements):
        drivers = [DriverFactory(organization=dispatcher.organization) for _ in range(3)]
        counts = []
        for rounds in (1, 9):
            for turn in range(rounds):
                driver = drivers[turn % 3]
                Order.objects.filter(pk=order.pk).update(eta_driver=driver, pallets=turn)
                Order.objects.filter(pk=order.pk).update(eta_driver=None)
            with statements() as seen:
                history_of(api, order, "?per_page=3&page=1")
            counts.append(len(seen.sql))
        assert counts[0] <= counts[1] <= 6  # who, whose, page, count, before, drivers


class TestAsOf:
    def past(self, api, order, instant):
        return api.get(f"/orders/{order.pk}?as_of={instant}")

    def test_shows_the_order_as_it_stood(self, api, dispatcher, order):
        kari = DriverFactory(organization=dispatcher.organization, name="Kari")
        then = api.patch(f"/orders/{order.pk}", {"eta_driver_id": str(kari.pk)}).json()
        api.patch(f"/drivers/{kari.pk}", {"name": "Kari Nordmann"})
        api.patch(f"/terminals/{order.terminal_id}", {"name": "Renamed"})
        now = api.patch(f"/orders/{order.pk}", {"pallets": 9, "notes": "Later"}).json()
        assert now["eta_driver"]["name"] == "Kari Nordmann"
        answer = self.past(api, order, then["updated_at"])
        assert (answer.status_code, answer.json()) == (200, then)
        assert "ETag" not in answer
        assert self.past(api, order, now["updated_at"]).json() == now

    def test_changes_at_the_very_instant_of_the_change(self, api, order):
        changed = api.patch(f"/orders/{order.pk}", {"pallets": 9}).json()
        instant = datetime.fromisoformat(changed["updated_at"])
        assert self.past(api, order, at(instant)).json()["pallets"] == 9
        assert self.past(api, order, at(instant - MICROSECOND)).json()["pallets"] == 3

    def test_is_nothing_before_it_was_made(self, api, order):
        order.refresh_from_db()
        assert self.past(api, order, at(order.created_at)).status_code == 200
        assert self.past(api, order, at(order.created_at - MICROSECOND)).status_code == 404

    def test_is_nothing_after_it_was_deleted(self, api, order):
        order.refresh_from_db()
        api.delete(f"/orders/{order.pk}")
        gone = history_of(api, order)["data"][0]["at"]
        instant = datetime.fromisoformat(gone)
        assert self.past(api, order, at(instant)).status_code == 404
        assert self.past(api, order, at(instant - MICROSECOND)).status_code == 200
        assert self.past(api, order, at(order.created_at)).json()["pallets"] == 3

    def test_of_each_entry_is_what_it_became(self, api, order):
        for pallets in (7, 8):
            api.patch(f"/orders/{order.pk}", {"pallets": pallets})
        seen = [
            self.past(api, order, entry["at"]).json()["version"]
            for entry in history_of(api, order)["data"]
        ]
        assert seen == [3, 2, 1]

    @pytest.mark.parametrize(
        "instant",
        ["", "yesterday", "2026-11-23", "2026-11-23T10:00:00", "2026-13-01T00:00:00Z", "%00"],
    )
    def test_refuses_what_is_no_instant(self, api, order, instant):
        answer = self.past(api, order, instant)
        assert answer.status_code == 422, instant

    def test_refuses_the_future(self, api, order):
        with connection.cursor() as cursor:
            cursor.execute("SELECT clock_timestamp()")
            now = cursor.fetchone()[0]
        answer = self.past(api, order, at(now + timedelta(seconds=5)))
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["field"] == "as_of"
        assert self.past(api, order, at(now)).status_code == 200

    def test_is_for_reading_only(self, api, order):
        assert api.patch(f"/orders/{order.pk}?as_of=x", {"pallets": 1}).status_code == 422
        assert api.get("/orders?as_of=2026-11-23T10:00:00Z").status_code == 422
        twice = "2026-11-23T10:00:00Z&as_of=2026-11-23T10:00:00Z"
        assert self.past(api, order, twice).status_code == 422

    def test_of_others_is_not_there(self, api):
        theirs = OrderFactory()
        theirs.refresh_from_db()
        assert self.past(api, theirs, at(theirs.created_at)).status_code == 404

    def test_needs_a_fixed_number_of_statements(self, api, dispatcher, order, statements):
        order.refresh_from_db()
        with statements() as seen:
            assert self.past(api, order, at(order.updated_at)).status_code == 200
        assert len(seen.sql) == 5  # who, whose, the order, its terminal, its documents
        full = {"eta_driver": DriverFactory, "etd_driver": DriverFactory, "eta_truck": TruckFactory}
        home = dispatcher.organization
        Order.objects.filter(pk=order.pk).update(
            **{name: factory(organization=home) for name, factory in full.items()}
        )
        order.refresh_from_db()
        with statements() as seen:
            assert self.past(api, order, at(order.updated_at)).json()["etd_driver"]
        assert len(seen.sql) == 7


class TestAdminPage:
    def page(self, user, order):
        client = Client()
        assert client.login(username=user.username, password=PASSWORD)
        return client.get(f"/admin/orders/order/{order.pk}/history/")

    @pytest.mark.parametrize("role", Role)
    def test_tells_what_every_door_did(self, api, dispatcher, order, role):
        api.patch(f"/orders/{order.pk}", {"notes": "<b>Careful</b>"})
        html = self.page(UserFactory(organization=dispatcher.organization, role=role), order)
        assert html.status_code == 200
        text = html.content.decode()
        assert f"by {dispatcher.username}" in text
        assert "Notes: nothing → &lt;b&gt;Careful&lt;/b&gt;" in text

    def test_of_others_is_not_there(self, dispatcher):
        theirs = OrderFactory(notes="Secret")
        answer = self.page(dispatcher, theirs)
        assert answer.status_code == 302
        assert "Secret" not in answer.content.decode()
