import html
import re
import threading
import time as clock
from datetime import date, time, timedelta

import psycopg
import pytest
from django.apps import apps
from django.contrib.admin.models import LogEntry
from django.db import connection, connections

from core.models import Organization, Role, TenantModel, User
from fleet.models import Driver
from orders.models import Commodity, Order, Service, Status
from terminals.models import TerminalStaff
from tests.core.admin_pages import as_sent, errors_of, messages_of, signed_in, text_of
from tests.core.factories import UserFactory
from tests.fleet.factories import DriverFactory, TrailerFactory, TruckFactory
from tests.orders.factories import OrderFactory, today
from tests.terminals.factories import TerminalFactory

pytestmark = pytest.mark.django_db

ORDERS = "/admin/orders/order/"
DAY = timedelta(days=1)


@pytest.fixture
def terminal(dispatcher):
    return TerminalFactory(organization=dispatcher.organization, name="Oslo Alnabru")


@pytest.fixture
def client(dispatcher):
    return signed_in(dispatcher)


@pytest.fixture
def order(terminal):
    return OrderFactory(terminal=terminal, reference="REF-1")


def page_of(order):
    return f"{ORDERS}{order.pk}/change/"


def references(page):
    return [order.reference for order in page.context["cl"].result_list]


class TestList:
    def test_shows_a_line_as_a_dispatcher_reads_it(self, client, terminal):
        organization = terminal.organization
        OrderFactory(
            terminal=terminal,
            reference="REF-7",
            commodity=Commodity.SALMON,
            priority=True,
            eta_date=date(2021, 3, 1),
            eta_time=time(6, 30),
            eta_truck=TruckFactory(license_plate="AB12345", organization=organization),
            eta_driver=DriverFactory(name="Ola", phone="+4790123456", organization=organization),
            etd_date=date(2021, 3, 2),
            etd_truck_plate="XY99",
            etd_driver_name="somebody",
        )
        shown = text_of(client.get(ORDERS))
        assert (
            "REF-7 late priority Oslo Alnabru Cross-dock Salmon"
            " Mon 1 Mar 2021 06:30 AB12345 · Ola Tue 2 Mar 2021 XY99 · somebody Planned"
        ) in shown

    def test_marks_the_late_ones_only(self, client, terminal):
        for reference, eta in (("LATE-1", today() - DAY), ("SOON-1", today())):
            OrderFactory(terminal=terminal, reference=reference, eta_date=eta)
        OrderFactory(terminal=terminal, reference="GONE-1", eta_date=today() - DAY, departed=True)
        shown = text_of(client.get(ORDERS))
        assert "LATE-1 late" in shown
        assert "SOON-1 late" not in shown
        assert "GONE-1 late" not in shown

    def test_shows_soonest_first_what_is_to_be_done_and_latest_first_what_there_was(
        self, client, terminal
    ):
        for reference, day, at in (
            ("C", 0, None),
            ("B", 0, time(9)),
            ("A", 0, time(6)),
            ("Z", -1, time(23)),
        ):
            OrderFactory(
                terminal=terminal, reference=reference, eta_date=today() + day * DAY, eta_time=at
            )
        stored = OrderFactory(
            terminal=terminal, reference="S", service=Service.INTO_PLUKK_STORAGE, eta_date=None
        )
        assert stored.etd_date == today() + DAY
        week = {"period": "this_month"} if (today() - DAY).month == today().month else {"late": 1}
        assert references(client.get(ORDERS)) == ["B", "A", "C", "Z", "S"]
        assert references(client.get(ORDERS, {"period": "today"})) == ["A", "B", "C"]
        assert references(client.get(ORDERS, week))[0] == "Z"
        by_arrival = references(client.get(ORDERS, {"o": "4"}))
        assert by_arrival == ["Z", "A", "B", "C", "S"]
        assert references(client.get(ORDERS, {"o": "-4"})) == ["B", "A", "C", "Z", "S"]

    def test_takes_the_same_statements_for_one_order_and_for_thirty(
        self, client, terminal, statements
    ):
        organization = terminal.organization

        def one():
            carriers = {
                f"{leg}_{noun}": factory(organization=organization)
                for leg in ("eta", "etd")
                for noun, factory in (
                    ("driver", DriverFactory),
                    ("truck", TruckFactory),
                    ("trailer", TrailerFactory),
                )
            }
            OrderFactory(terminal__organization=organization, **carriers, arrived=True)

        counts = []
        for more in (1, 29):
            for _ in range(more):
                one()
            client.get(ORDERS)
            with statements() as seen:
                client.get(ORDERS, {"period": "today", "late": ""})
            counts.append(len(seen.sql))
        # Session, tenant, user, has it a second step, the filter's terminals and zones, the
        # count, the page, and what is late.
        assert counts == [10, 10]


class TestFilters:
    @pytest.fixture
    def others(self, terminal):
        """A plain order that each filter leaves out, beside the one that it finds."""
        return OrderFactory(
            terminal=terminal,
            reference="OTHER",
            eta_date=today() + 20 * DAY,
            etd_date=today() + 21 * DAY,
        )

    @pytest.mark.parametrize(
        ("query", "found"),
        [
            ({"period": "today"}, {"eta_date": today()}),
            ({"period": "tomorrow"}, {"eta_date": today() + DAY}),
            ({"status__exact": ["arrived", "cancelled"]}, {"arrived": True}),
            ({"in_terminal": "1"}, {"arrived": True}),
            ({"late": "1"}, {"eta_date": today() - DAY}),
            ({"service__exact": "reload_car_car"}, {"service": Service.RELOAD_CAR_CAR}),
            ({"commodity__exact": ["salmon", "trout"]}, {"commodity": Commodity.TROUT}),
            ({"priority__exact": "1"}, {"priority": True}),
            ({"q": "ab 12"}, {"eta_truck_plate": "AB12345"}),
            ({"q": "found-1"}, {}),
        ],
    )
    def test_find_what_they_say_and_nothing_else(self, client, terminal, others, query, found):
        later = {"eta_date": today() + 20 * DAY, "etd_date": today() + 21 * DAY}
        OrderFactory(terminal=terminal, reference="FOUND-1", **later | found)
        assert references(client.get(ORDERS, query)) == ["FOUND-1"]

    def test_find_the_orders_of_a_terminal(self, client, terminal, order):
        OrderFactory(terminal__organization=terminal.organization)
        assert references(client.get(ORDERS, {"terminal": str(terminal.pk)})) == ["REF-1"]

    @pytest.mark.parametrize(
        "query",
        [
            {"period": "whenever"},
            {"terminal": "nowhere"},
            {"late": "maybe"},
            {"reference": "a\0b"},
            {"eta_date": "soon"},
            {"id__exact": "1"},
        ],
    )
    def test_with_nonsense_lead_back_to_the_list(self, client, order, query):
        answer = client.get(ORDERS, query)
        assert (answer.status_code, answer["Location"]) == (302, f"{ORDERS}?e=1")

    def test_that_reach_into_other_tables_are_refused(self, client, order):
        query = {"organization__users__password__startswith": "md5"}
        assert client.get(ORDERS, query).status_code == 400


class TestOrderForm:
    def sent(self, terminal, **values):
        return {
            "terminal": terminal.pk,
            "reference": "NEW-1",
            "service": "cross_dock",
            "eta_date": "2026-11-23",
            "eta_time": "06:30",
            "etd_date": "2026-11-24",
        } | values

    def test_plans_an_order(self, client, terminal):
        driver = DriverFactory(organization=terminal.organization)
        sent = self.sent(terminal, eta_driver=driver.pk, etd_truck_plate="ab 12-345")
        answer = client.post(f"{ORDERS}add/", sent)
        assert answer.status_code == 302
        order = Order.objects.get()
        assert (order.reference, order.status, order.version) == ("NEW-1", Status.PLANNED, 1)
        assert (order.eta_time, order.eta_driver) == (time(6, 30), driver)
        assert order.etd_truck_plate == "AB12345"
        assert order.organization == terminal.organization
        assert LogEntry.objects.get().object_id == str(order.pk)

    def test_shows_each_broken_rule_once_beside_its_field(self, client, terminal):
        sent = self.sent(
            terminal,
            reference=" ",
            service="",
            pallets="-1",
            eta_date="",
            etd_date="not a day",
            etd_truck=TruckFactory(organization=terminal.organization).pk,
            etd_truck_plate="AB12345",
        )
        refused = client.post(f"{ORDERS}add/", sent)
        assert refused.status_code == 200
        assert errors_of(refused) == {
            "reference": ["This field is required."],
            "service": ["This field is required."],
            "pallets": ["An amount is not negative."],
            "eta_date": ["A time of arrival needs its date."],
            "etd_date": ["Enter a valid date."],
            "etd_truck_plate": ["The truck is either from the registry or typed in, not both."],
        }
        assert not Order.objects.exists()

    def test_shows_what_only_the_service_knows_beside_its_field(self, client, terminal):
        refused = client.post(
            f"{ORDERS}add/",
            self.sent(terminal, eta_date="2026-03-29", eta_time="02:30", etd_date="2026-03-30"),
        )
        assert errors_of(refused) == {
            "eta_time": ["The terminal's clock skips this time on that day."]
        }

    def test_shows_a_taken_reference_beside_its_field(self, client, order):
        refused = client.post(f"{ORDERS}add/", self.sent(order.terminal, reference="ref-1"))
        assert errors_of(refused) == {"reference": ["This is taken already."]}
        assert messages_of(refused) == []
        assert Order.objects.count() == 1
        assert not LogEntry.objects.exists()

    def test_changes_what_was_changed(self, client, order):
        answer = client.post(page_of(order), as_sent(client.get(page_of(order)), notes="Cold"))
        assert answer.status_code == 302
        order.refresh_from_db()
        assert (order.notes, order.version) == ("Cold", 2)

    def test_keeps_seconds_that_it_does_not_show_otherwise(self, client, terminal):
        order = OrderFactory(terminal=terminal, eta_time=time(6, 30, 15))
        client.post(page_of(order), as_sent(client.get(page_of(order)), notes="Cold"))
        order.refresh_from_db()
        assert order.eta_time == time(6, 30, 15)

    def test_saved_unchanged_leaves_the_order_and_its_history_as_they_are(self, client, order):
        client.post(page_of(order), as_sent(client.get(page_of(order))))
        order.refresh_from_db()
        assert order.version == 1
        assert not LogEntry.objects.exists()

    def test_shows_instants_on_the_terminals_clock(self, client, order):
        order.terminal.timezone = "Asia/Tokyo"
        order.terminal.save()
        assert "(Asia/Tokyo)" in text_of(client.get(page_of(order)))

    def test_overwrites_nobody_and_tells_what_is_there_now(self, client, order):
        opened = client.get(page_of(order))
        Order.objects.filter(pk=order.pk).update(notes="A colleague's words", boxes=7)
        refused = client.post(page_of(order), as_sent(opened, notes="My words"))
        assert refused.status_code == 200
        errors = errors_of(refused)
        assert errors.pop("notes") == ["Now: A colleague's words"]
        assert errors.pop("boxes") == ["Now: 7"]
        assert "Somebody else has changed this order" in errors.pop("__all__")[0]
        assert errors == {}
        assert "My words" in text_of(refused)
        order.refresh_from_db()
        assert (order.notes, order.version) == ("A colleague's words", 2)

        again = client.post(page_of(order), as_sent(opened, notes="My words"))
        assert "__all__" in errors_of(again)
        fresh = client.get(page_of(order))
        assert client.post(page_of(order), as_sent(fresh, notes="Mine")).status_code == 302

    def test_of_two_editors_the_second_is_told_who_changed_what(
        self, client, api, order, dispatcher
    ):
        """Twenty rounds, in both orders: the API's client first, then the form, and so on."""
        address, kept = f"/api/v1/orders/{order.pk}", []
        for number in range(10):
            opened = client.get(page_of(order))
            assert api.patch(address, {"notes": f"api {number}"}).status_code == 200
            refused = client.post(page_of(order), as_sent(opened, notes="Mine", boxes=number))
            told = text_of(refused)
            assert f"Changed by {dispatcher.username} (api)" in told
            assert f"→ api {number}" in told
            kept.append(f"api {number}")

            opened, version = client.get(page_of(order)), api.get(address).headers["ETag"]
            sent = as_sent(opened, notes=f"form {number}")
            assert client.post(page_of(order), sent).status_code == 302
            late = api.patch(address, {"notes": "Mine"}, headers={"If-Match": version})
            assert late.status_code == 412
            kept.append(f"form {number}")
        order.refresh_from_db()
        assert (order.notes, order.boxes, order.version) == (kept[-1], None, 21)
        written = Order.pgh_event_model.objects.filter(pgh_obj=order.pk).order_by("pgh_id")
        assert [event.notes for event in written[1:]] == kept

    def test_shows_what_others_wrote_as_text(self, client, order):
        opened = client.get(page_of(order))
        Order.objects.filter(pk=order.pk).update(notes="<script>alert(1)</script>")
        refused = client.post(page_of(order), as_sent(opened, notes="Mine"))
        assert "<script>alert(1)" not in refused.content.decode()

    def test_takes_no_change_without_the_version_it_was_opened_with(self, client, order):
        for version in ("", "two", "0"):
            sent = as_sent(client.get(page_of(order)), notes="Mine", seen_version=version)
            assert client.post(page_of(order), sent).status_code == 200
        order.refresh_from_db()
        assert order.notes == ""

    @pytest.mark.parametrize(
        ("state", "open_fields"),
        [
            ("arrived", {"reference", "eta_date", "notes", "kilos"}),
            ("departed", {"notes"}),
            ("cancelled", {"notes"}),
        ],
    )
    def test_offers_only_what_the_status_leaves_open(self, client, terminal, state, open_fields):
        order = OrderFactory(terminal=terminal, **{state: True})
        fields = client.get(page_of(order)).context["adminform"].form.fields.keys()
        assert open_fields <= fields
        assert not {"terminal", "service", "status"} & fields
        assert ("reference" in fields) == ("reference" in open_fields)

    def test_ignores_what_is_not_its_to_set(self, client, order):
        forged = {
            "status": "departed",
            "version": "9",
            "organization": Organization.objects.exclude(pk=order.organization_id).first() or "",
            "arrived_at_0": "2026-01-01",
            "arrived_at": "2026-01-01",
            "id": "1",
        }
        client.post(page_of(order), as_sent(client.get(page_of(order)), notes="x", **forged))
        stored = Order.objects.get(pk=order.pk)
        assert (stored.status, stored.version, stored.notes) == (Status.PLANNED, 2, "x")
        assert stored.organization_id == order.organization_id


class TestSteps:
    def press(self, client, order, step, **changes):
        return client.post(
            page_of(order), as_sent(client.get(page_of(order)), **{step: ""}, **changes)
        )

    def shown(self, client, order):
        page = client.get(page_of(order)).content.decode()
        return set(re.findall(r'name="(_arrive|_depart|_reopen)"', page)) | (
            {"cancel"} if f"{order.pk}/cancel/" in page else set()
        )

    def test_are_offered_where_they_are_possible(self, client, terminal):
        def plan(**values):
            return OrderFactory(terminal=terminal, **values)

        leaves = {"service": Service.INTO_PLUKK_STORAGE, "eta_date": None}
        comes = {"service": Service.INTO_PLUKK_STORAGE, "etd_date": None}
        assert self.shown(client, plan()) == {"_arrive", "cancel"}
        assert self.shown(client, plan(**leaves)) == {"_depart", "cancel"}
        assert self.shown(client, plan(arrived=True)) == {"_depart", "cancel"}
        assert self.shown(client, plan(**comes, arrived=True)) == {"cancel"}
        assert self.shown(client, plan(departed=True)) == set()
        assert self.shown(client, plan(cancelled=True)) == {"_reopen"}

    def test_are_not_offered_to_a_viewer(self, terminal, order):
        viewer = UserFactory(role=Role.VIEWER, organization=terminal.organization)
        assert self.shown(signed_in(viewer), order) == set()

    def test_save_what_was_typed_and_are_told(self, client, order):
        answer = self.press(client, order, "_arrive", eta_truck_plate="AB 1")
        assert answer.status_code == 302
        assert messages_of(answer) == ["Arrived: REF-1."]
        order.refresh_from_db()
        assert (order.status, order.eta_truck_plate) == (Status.ARRIVED, "AB1")
        assert "Arrived." in {entry.change_message for entry in LogEntry.objects.all()}

        self.press(client, order, "_depart")
        order.refresh_from_db()
        assert order.status == Status.DEPARTED

    def test_that_are_refused_leave_no_trace(self, client, order):
        answer = self.press(client, order, "_depart", notes="typed")
        assert answer.status_code == 200
        assert errors_of(answer) == {
            "__all__": ["Order REF-1 is planned: only an order that has arrived departs."]
        }
        assert "typed" in text_of(answer)
        order.refresh_from_db()
        assert (order.status, order.notes, order.version) == (Status.PLANNED, "", 1)
        assert not LogEntry.objects.exists()

    def test_are_judged_by_the_order_as_it_is_now(self, client, order):
        opened = client.get(page_of(order))
        Order.objects.filter(pk=order.pk).update(notes="Wait for the vet")
        answer = client.post(page_of(order), as_sent(opened, _arrive=""))
        assert "Somebody else" in errors_of(answer)["__all__"][0]
        order.refresh_from_db()
        assert order.status == Status.PLANNED

    def test_reopen_a_cancelled_order(self, client, terminal):
        order = OrderFactory(terminal=terminal, cancelled=True)
        assert self.press(client, order, "_reopen").status_code == 302
        order.refresh_from_db()
        assert (order.status, order.cancel_reason) == (Status.PLANNED, "")

    def test_cancel_asks_for_the_reason_first(self, client, order):
        path = f"{ORDERS}{order.pk}/cancel/"
        assert "Why is this order called off?" in text_of(client.get(path))
        assert "This field is required." in text_of(client.post(path, {"reason": " "}))
        order.refresh_from_db()
        assert order.status == Status.PLANNED

        answer = client.post(path, {"reason": "No fish"})
        assert messages_of(answer) == ["Cancelled: REF-1."]
        order.refresh_from_db()
        assert (order.status, order.cancel_reason) == (Status.CANCELLED, "No fish")

    def test_cancel_changes_nothing_when_it_is_only_looked_at(self, client, order):
        client.get(f"{ORDERS}{order.pk}/cancel/", {"reason": "No fish"})
        order.refresh_from_db()
        assert order.status == Status.PLANNED

    def test_cancel_is_refused_with_the_reason_why(self, client, terminal):
        order = OrderFactory(terminal=terminal, reference="GONE", departed=True)
        answer = client.post(f"{ORDERS}{order.pk}/cancel/", {"reason": "No fish"})
        assert messages_of(answer) == [
            "Order GONE is departed: only a planned or arrived order is cancelled."
        ]

    @pytest.mark.parametrize("object_id", ["nothing", "00000000-0000-7000-8000-000000000000"])
    def test_of_nothing_lead_back_to_the_first_page(self, client, object_id):
        answer = client.post(f"{ORDERS}{object_id}/cancel/", {"reason": "No fish"})
        assert (answer.status_code, answer["Location"]) == (302, "/admin/")


class TestListActions:
    def run(self, client, action, *orders, **more):
        ids = [getattr(order, "pk", order) for order in orders]
        return client.post(ORDERS, {"action": action, "_selected_action": ids, **more})

    def test_take_the_step_with_each_and_tell_which_refused(self, client, terminal, order):
        gone = OrderFactory(terminal=terminal, reference="GONE", departed=True)
        second = OrderFactory(terminal=terminal, reference="REF-2")
        answer = self.run(client, "arrive_selected", order, gone, second)
        told = messages_of(answer)
        assert told[0] == "Arrived: REF-1, REF-2."
        assert told[1] == "Order GONE is departed: only a planned order arrives."
        assert set(Order.objects.filter(status=Status.ARRIVED)) == {order, second}

        assert messages_of(self.run(client, "depart_selected", order))[-1] == "Departed: REF-1."
        order.refresh_from_db()
        assert order.status == Status.DEPARTED

    def test_name_only_the_first_of_many(self, client, terminal):
        gone = OrderFactory.create_batch(12, terminal=terminal, departed=True)
        told = messages_of(self.run(client, "arrive_selected", *gone))
        assert told[0].count("only a planned order arrives") == 10
        assert told[0].endswith("and 2 more")

    def test_cancel_several_for_one_reason(self, client, terminal, order):
        second = OrderFactory(terminal=terminal, reference="REF-2")
        asked = self.run(client, "cancel_selected", order, second)
        assert "Why are these 2 orders called off?" in text_of(asked)
        self.run(client, "cancel_selected", order, second, reason="Storm")
        assert set(Order.objects.filter(cancel_reason="Storm")) == {order, second}

    def test_reopen_several(self, client, terminal):
        order = OrderFactory(terminal=terminal, cancelled=True, reference="REF-3")
        assert messages_of(self.run(client, "reopen_selected", order)) == ["Planned again: REF-3."]

    def test_delete_orders(self, client, order):
        assert "Order: REF-1" in text_of(self.run(client, "delete_selected", order))
        self.run(client, "delete_selected", order, post="yes")
        assert not Order.objects.exists()

    @pytest.mark.parametrize("action", ["arrive_selected", "delete_selected", "cancel_selected"])
    def test_with_a_forged_id_are_refused(self, client, order, action):
        answer = self.run(client, action, "1' or 1=1", post="yes", reason="x")
        assert answer.status_code == 302
        assert messages_of(answer) == ["There is no such thing here."]

    def test_are_not_for_viewers(self, terminal, order):
        viewer = signed_in(UserFactory(role=Role.VIEWER, organization=terminal.organization))
        for action in ("arrive_selected", "delete_selected"):
            self.run(viewer, action, order, post="yes")
        assert viewer.get(f"{ORDERS}{order.pk}/cancel/").status_code == 403
        assert viewer.post(f"{ORDERS}{order.pk}/cancel/", {"reason": "x"}).status_code == 403
        assert Order.objects.get().status == Status.PLANNED


class TestBoard:
    def test_counts_each_terminals_day(self, client, terminal):
        bergen = TerminalFactory(organization=terminal.organization, name="Bergen")
        OrderFactory.create_batch(3, terminal=terminal)
        OrderFactory.create_batch(2, terminal=terminal, eta_date=today() - DAY)
        OrderFactory(terminal=terminal, departed=True)
        OrderFactory(terminal=bergen, arrived=True)
        OrderFactory(terminal=terminal, cancelled=True)
        OrderFactory()
        shown = text_of(client.get("/admin/"))
        bergens = "0 expected today 1 in terminal 0 late 0 departed today"
        oslos = "3 expected today 0 in terminal 2 late 1 departed today"
        assert f"Bergen {bergen.account_code} {bergens}" in shown
        assert f"Oslo Alnabru {terminal.account_code} {oslos}" in shown

    def test_leads_to_lists_of_as_many_orders_as_it_says(self, client, terminal):
        OrderFactory.create_batch(2, terminal=terminal)
        OrderFactory(terminal=terminal, eta_date=today() - DAY)
        OrderFactory(terminal=terminal, departed=True)
        OrderFactory(terminal__organization=terminal.organization)
        page = client.get("/admin/").content.decode()
        links = re.findall(rf'<a href="([^"]*{terminal.pk})"><b>(\d+)</b>', page)
        assert [int(number) for _path, number in links] == [2, 0, 1, 1]
        for path, number in links:
            assert len(references(client.get(html.unescape(path)))) == int(number)

    def test_takes_two_statements_beside_those_of_every_page(self, client, terminal, statements):
        OrderFactory(terminal=terminal)
        with statements() as seen:
            client.get("/admin/")
        # Session, tenant, user, has it a second step, the two of the board, the user's own
        # last actions.
        assert len(seen.sql) == 8


@pytest.mark.django_db(transaction=True)
class TestForgedRequests:
    """What no page of ours leads to is refused or passed over, and never an accident."""

    @pytest.mark.parametrize(
        ("path", "query"),
        [
            ("order/", {"eta_date__year": "99999999"}),
            ("order/", {"reference__regex": "("}),
            ("order/", {"created_at__gte": "0001-01-01"}),
            ("order/", {"version": "9" * 30}),
            ("order/", {"kilos": "1e400"}),
            ("order/", {"terminal__in": "a"}),
            ("order/", {"priority__exact": "maybe"}),
            ("order/", {"o": "99.x", "p": "x"}),
            ("order/", {"q": "x" * 5000}),
            ("order/", {"_to_field": "organization"}),
            ("order/add/", {"terminal": "x", "eta_driver": "\0", "eta_date": "y"}),
            ("order/_00/change/", {}),
            ("order/%00/history/", {}),
            ("../r/1/x/", {}),
            ("../search/", {"s": "order", "page": "x"}),
        ],
    )
    def test_by_address(self, client, path, query):
        assert client.get(f"/admin/orders/{path}", query).status_code < 500

    @pytest.mark.parametrize(
        "values",
        [
            {"terminal": "x", "eta_driver": "\0"},
            {"reference": "a\0b", "kilos": "NaN", "pallets": "1" * 400},
            {"eta_date": "0000-00-00", "eta_time": "25:00", "seen_version": "1" * 400},
            {"eta_date": "0001-01-01", "eta_time": "00:00", "etd_date": "9999-12-31"},
        ],
    )
    def test_by_form(self, client, order, values):
        for path in (f"{ORDERS}add/", page_of(order)):
            sent = as_sent(client.get(page_of(order)), **values)
            assert client.post(path, sent).status_code < 500
        assert client.get(ORDERS).status_code == 200


# ------------------------------------------------------------------------------ two organizations

FOREIGN = "Skagen"  # in every name of the other organization; no request says it


@pytest.fixture
def theirs(db):
    """A day of another organization."""
    user = UserFactory(username="skagen-chief", admin=True, organization__name="Skagen Havn")
    terminal = TerminalFactory(organization=user.organization, name="Skagen Kai")
    order = OrderFactory(
        terminal=terminal,
        reference="Skagen-1",
        eta_driver=DriverFactory(organization=user.organization, name="Skagen Per"),
        eta_truck=TruckFactory(organization=user.organization, name="Skagen blue"),
        eta_trailer=TrailerFactory(organization=user.organization, name="Skagen long"),
        notes="Skagen notes",
    )
    TerminalStaff.objects.create(organization=user.organization, terminal=terminal, user=user)
    LogEntry.objects.create(
        user=user, object_id=str(order.pk), object_repr="Skagen-1", action_flag=2
    )
    return order


def paths(order):
    """The admin's addresses of everything that hangs on an order."""
    return {
        "order": f"{ORDERS}{order.pk}/",
        "terminal": f"/admin/terminals/terminal/{order.terminal_id}/",
        "driver": f"/admin/fleet/driver/{order.eta_driver_id}/",
        "truck": f"/admin/fleet/truck/{order.eta_truck_id}/",
        "trailer": f"/admin/fleet/trailer/{order.eta_trailer_id}/",
        "user": f"/admin/core/user/{order.organization.users.first().pk}/",
        "organization": f"/admin/core/organization/{order.organization_id}/",
    }


FORGED = {
    "name": "Taken over",
    "license_plate": "HACKED",
    "plate_country": "NO",
    "account_code": "HACKED",
    "timezone": "Europe/Oslo",
    "reference": "HACKED",
    "notes": "HACKED",
    "seen_version": "1",
    "username": "hacked",
    "slug": "hacked",
    "post": "yes",
    "reason": "HACKED",
    "_arrive": "",
}


def hostile_requests(order):
    """What somebody could try who knows every id of the other organization: method, path, data."""
    for path in paths(order).values():
        changelist = path.rsplit("/", 2)[0] + "/"
        key = path.rsplit("/", 2)[1]
        for page in ("change/", "delete/", "history/"):
            yield "get", path + page, {}
            yield "post", path + page, FORGED
        yield "get", f"{changelist}{key}/change/", {"_popup": "1", "_to_field": "id"}
        yield "get", changelist, {}
        yield "get", changelist, {"q": "kage"}
        yield "get", changelist, {"id__exact": key}
        yield "get", changelist, {"organization__id__exact": str(order.organization_id)}
        yield "get", changelist, {"organization": str(order.organization_id)}
        for across in ("0", "1"):
            yield (
                "post",
                changelist,
                {
                    "action": "delete_selected",
                    "_selected_action": [key],
                    "post": "yes",
                    "select_across": across,
                },
            )
        yield (
            "post",
            changelist,
            {
                "_save": "",
                "form-0-id": key,
                "form-TOTAL_FORMS": "1",
                "form-INITIAL_FORMS": "1",
                **FORGED,
            },
        )
    for action in ("arrive", "depart", "cancel", "reopen"):
        for across in ("0", "1"):
            yield (
                "post",
                ORDERS,
                {
                    "action": f"{action}_selected",
                    "_selected_action": [str(order.pk)],
                    "select_across": across,
                    "reason": "HACKED",
                },
            )
    yield "get", paths(order)["order"] + "cancel/", {}
    yield "post", paths(order)["order"] + "cancel/", {"reason": "HACKED"}
    for name in ("terminal", "eta_driver", "eta_truck", "eta_trailer"):
        found = {"app_label": "orders", "model_name": "order", "field_name": name}
        yield "get", "/admin/autocomplete/", {**found, "term": "kage"}
        yield "get", "/admin/autocomplete/", {**found, "term": ""}
        yield "get", ORDERS, {f"{name}__id__exact": str(getattr(order, f"{name}_id"))}
        yield "get", ORDERS, {name: str(getattr(order, f"{name}_id"))}
    for label, model, field in (
        ("terminals", "terminalstaff", "user"),
        ("terminals", "terminalstaff", "terminal"),
        ("core", "user", "organization"),
        ("admin", "logentry", "user"),
        ("orders", "order", "organization"),
    ):
        found = {"app_label": label, "model_name": model, "field_name": field}
        yield "get", "/admin/autocomplete/", {**found, "term": ""}
    yield "get", "/admin/", {}
    yield "get", "/admin/search/", {"s": "kage", "extended": ""}
    yield "get", "/admin/orders/", {}


def rows_of(organization):
    """Everything that belongs to an organization, as it is stored."""
    tenants = [model for model in apps.get_models() if issubclass(model, TenantModel)]
    found = {
        model: list(model.objects.filter(organization=organization).order_by("pk").values())
        for model in tenants
    }
    found[User] = list(User.objects.filter(organization=organization).values())
    found[Organization] = list(Organization.objects.filter(pk=organization.pk).values())
    found[LogEntry] = list(LogEntry.objects.filter(user__organization=organization).values())
    return found


class TestOtherOrganization:
    @pytest.mark.parametrize("role", [Role.ADMIN, Role.DISPATCHER, Role.VIEWER])
    def test_is_neither_seen_nor_touched(self, theirs, role, settings):
        settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
        user = UserFactory(role=role)
        OrderFactory(terminal__organization=user.organization, reference="OURS")
        client = signed_in(user)
        before = rows_of(theirs.organization)
        tried = 0
        for method, path, data in hostile_requests(theirs):
            answer = getattr(client, method)(path, data, follow=True)
            what = (method, path, data, answer.status_code)
            assert answer.status_code < 500, what
            assert FOREIGN.lower() not in answer.content.decode().lower(), what
            tried += 1
        assert tried > 100
        assert rows_of(theirs.organization) == before

    @pytest.mark.parametrize("field", ["terminal", "eta_driver", "etd_truck", "eta_trailer"])
    def test_is_not_pointed_to_by_an_order(self, theirs, client, order, field):
        foreign = getattr(theirs, field.replace("etd", "eta") + "_id")
        sent = as_sent(client.get(page_of(order)), **{field: foreign})
        for path in (page_of(order), f"{ORDERS}add/"):
            refused = client.post(path, {**sent, "reference": "NEW"})
            assert "Select a valid choice" in errors_of(refused)[field][0]
            assert FOREIGN not in refused.content.decode()
        assert Order.objects.filter(organization=order.organization).count() == 1
        assert getattr(Order.objects.get(pk=order.pk), f"{field}_id") != foreign

    def test_is_not_mixed_with_another_one_by_a_superuser(self, theirs, order):
        client = signed_in(UserFactory(superuser=True))
        sent = as_sent(client.get(page_of(order)), eta_driver=theirs.eta_driver_id)
        refused = client.post(page_of(order), sent)
        assert errors_of(refused) == {"eta_driver": ["There is nothing with this id."]}
        order.refresh_from_db()
        assert order.eta_driver is None

    def test_has_terminals_that_no_filter_names(self, theirs, client, order):
        assert FOREIGN not in client.get(ORDERS).content.decode()
        answer = client.get(ORDERS, {"terminal": str(theirs.terminal_id)})
        assert answer["Location"] == f"{ORDERS}?e=1"

    def test_is_all_there_for_a_superuser(self, theirs, order):
        client = signed_in(UserFactory(superuser=True))
        shown = text_of(client.get(ORDERS))
        assert "Skagen-1" in shown
        assert "Skagen Havn" in shown
        assert "REF-1" in shown


# ------------------------------------------------------------------------------------------ races


@pytest.mark.django_db(transaction=True)
class TestRaces:
    """Somebody else holds a row in a transaction of their own while the form is sent."""

    @pytest.fixture
    def somebody_else(self, db):
        settings = connection.get_connection_params()
        names = ("host", "port", "dbname", "user", "password", "options")
        with psycopg.connect(**{name: settings[name] for name in names if name in settings}) as one:
            yield one

    @pytest.fixture
    def impatient(self, db):
        with connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = '200ms'")
            yield
            cursor.execute("RESET lock_timeout")

    def test_an_order_that_stays_held_is_told_in_the_form(
        self, client, order, somebody_else, impatient
    ):
        sent = as_sent(client.get(page_of(order)), notes="Mine")
        somebody_else.execute("UPDATE orders_order SET notes = '' WHERE id = %s", [order.pk])
        answer = client.post(page_of(order), sent)
        assert answer.status_code == 200
        assert errors_of(answer) == {
            "__all__": ["This cannot be served right now; try again in a moment."]
        }

    def test_an_order_that_stays_held_is_told_above_the_list(
        self, client, order, somebody_else, impatient
    ):
        somebody_else.execute("UPDATE orders_order SET notes = '' WHERE id = %s", [order.pk])
        one = {"_selected_action": [order.pk]}
        for path, sent in (
            (f"{ORDERS}{order.pk}/cancel/", {"reason": "Storm"}),
            (ORDERS, {"action": "arrive_selected", **one}),
            (ORDERS, {"action": "delete_selected", "post": "yes", **one}),
            (f"{ORDERS}{order.pk}/delete/", {"post": "yes"}),
        ):
            answer = client.post(path, sent)
            assert answer.status_code == 302
            told = messages_of(answer)[-1]
            assert told == "This cannot be served right now; try again in a moment."
        somebody_else.rollback()
        order.refresh_from_db()
        assert (order.status, order.version) == (Status.PLANNED, 1)
        assert not LogEntry.objects.exists()

    def meanwhile(self, somebody_else, send):
        """Send the form, let it wait for the row that is held, then let go; returns the answer."""
        answers = []

        def sending():
            try:
                answers.append(send())
            finally:
                connections.close_all()

        thread = threading.Thread(target=sending)
        thread.start()
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE %s = ANY(pg_blocking_pids(pid))"
        for _ in range(200):
            with connection.cursor() as cursor:
                cursor.execute(waiting, [somebody_else.info.backend_pid])
                if cursor.fetchone()[0]:
                    break
            clock.sleep(0.02)
        else:
            pytest.fail("the form did not wait for the row that is held")
        somebody_else.commit()
        thread.join(timeout=20)
        return answers[0]

    def test_a_change_that_commits_first_is_not_overwritten(self, client, order, somebody_else):
        sent = as_sent(client.get(page_of(order)), notes="Mine")
        somebody_else.execute("UPDATE orders_order SET notes = 'Theirs' WHERE id = %s", [order.pk])
        answer = self.meanwhile(somebody_else, lambda: client.post(page_of(order), sent))
        assert errors_of(answer)["notes"] == ["Now: Theirs"]
        order.refresh_from_db()
        assert order.notes == "Theirs"

    def test_a_driver_that_is_deleted_first_is_told_beside_the_field(
        self, client, order, somebody_else
    ):
        driver = DriverFactory(organization=order.organization)
        sent = as_sent(client.get(page_of(order)), eta_driver=driver.pk)
        somebody_else.execute("DELETE FROM fleet_driver WHERE id = %s", [driver.pk])
        answer = self.meanwhile(somebody_else, lambda: client.post(page_of(order), sent))
        assert answer.status_code == 200
        assert len(errors_of(answer)["eta_driver"]) == 1
        assert messages_of(answer) == []
        order.refresh_from_db()
        assert (order.eta_driver, order.version) == (None, 1)
        assert not LogEntry.objects.exists()

    def test_a_driver_who_gets_an_order_first_is_not_deleted(self, client, order, somebody_else):
        driver = DriverFactory(organization=order.organization)
        somebody_else.execute(
            "UPDATE orders_order SET eta_driver_id = %s WHERE id = %s", [driver.pk, order.pk]
        )
        path = f"/admin/fleet/driver/{driver.pk}/delete/"
        somebody_else.execute("SET CONSTRAINTS ALL IMMEDIATE")
        answer = self.meanwhile(somebody_else, lambda: client.post(path, {"post": "yes"}))
        assert messages_of(answer) == ["It cannot be deleted while something else points to it."]
        assert Driver.objects.filter(pk=driver.pk).exists()

    def test_of_two_orders_with_one_reference_the_second_is_told(
        self, client, order, somebody_else
    ):
        sent = as_sent(client.get(page_of(order)), reference="BOTH")
        other = OrderFactory(terminal=order.terminal)
        somebody_else.execute(
            "UPDATE orders_order SET reference = 'both' WHERE id = %s", [other.pk]
        )
        answer = self.meanwhile(somebody_else, lambda: client.post(page_of(order), sent))
        assert errors_of(answer) == {"reference": ["This is taken already."]}
