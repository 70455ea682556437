"""Orders over REST: shapes, conditional requests, steps, and which refusal comes first."""

import json
import uuid
from datetime import UTC, datetime, timedelta, timezone

import pytest
from django.utils import timezone as clock

from fleet.models import Driver
from orders.models import Order
from tests.core.factories import UserFactory
from tests.fleet.factories import DriverFactory, TrailerFactory, TruckFactory
from tests.orders.bodies import order_body
from tests.orders.factories import OrderFactory, hours_ago
from tests.terminals.factories import TerminalFactory

LEG = {
    "date",
    "time",
    "driver",
    "truck",
    "trailer",
    "driver_name",
    "driver_phone",
    "truck_plate",
    "trailer_plate",
}
IN_LIST = {
    "id",
    "reference",
    "service",
    "terminal",
    "commodity",
    "pallets",
    "boxes",
    "kilos",
    "priority",
    "notes",
    *(f"{leg}_{name}" for leg in ("eta", "etd") for name in LEG),
    "status",
    "arrived_at",
    "departed_at",
    "cancelled_at",
    "cancel_reason",
    "documents_count",
    "version",
    "created_at",
    "updated_at",
}
STEPS = {"arrive": {}, "depart": {}, "cancel": {"reason": "The ship is late."}, "reopen": {}}


@pytest.fixture
def terminal(dispatcher):
    return TerminalFactory(organization=dispatcher.organization, name="Quay", account_code="Q1")


@pytest.fixture
def order(terminal):
    return OrderFactory(terminal=terminal, reference="A-1")


@pytest.fixture
def foreign(db):
    """An order of another organization."""
    return OrderFactory()


def path_of(order, step=""):
    return f"/orders/{order.pk}{step and '/' + step}"


def problem(response):
    """Status and code of a refusal, once it has the contract's form."""
    assert response["Content-Type"] == "application/problem+json"
    body = response.json()
    assert body["status"] == response.status_code
    assert body["type"] == f"/problems/{body['code']}"
    assert body["request_id"] == response["X-Request-ID"]
    return response.status_code, body["code"]


def blamed(response):
    return {error["field"] for error in response.json().get("errors", [])}


def row_of(order):
    """Everything that is stored of an order."""
    return Order.objects.filter(pk=order.pk).values().first()


def instant(text):
    assert text.endswith("Z")
    return datetime.fromisoformat(text)


class TestCreate:
    def test_answers_201_with_location_etag_and_the_order(self, api, terminal):
        response = api.post("/orders", order_body(terminal))
        assert response.status_code == 201
        made = response.json()
        assert response["Location"] == f"/api/v1/orders/{made['id']}"
        assert response["ETag"] == '"v1"'
        assert uuid.UUID(made["id"]).version == 7
        assert api.get(response["Location"]).json() == made

    def test_gives_every_field_its_default(self, api, terminal):
        made = api.post("/orders", order_body(terminal)).json()
        assert made == {
            **dict.fromkeys(IN_LIST, None),
            "id": made["id"],
            "reference": "A-1",
            "service": "cross_dock",
            "terminal": {"id": str(terminal.pk), "name": "Quay", "account_code": "Q1"},
            "priority": False,
            "notes": "",
            "eta_date": "2026-11-23",
            "etd_date": "2026-11-24",
            **{f"{leg}_{name}": "" for leg in ("eta", "etd") for name in LEG if "_" in name},
            "status": "planned",
            "cancel_reason": "",
            "documents_count": 0,
            "documents": [],
            "version": 1,
            "created_at": made["created_at"],
            "updated_at": made["updated_at"],
        }
        assert made["created_at"] == made["updated_at"]
        assert abs(instant(made["created_at"]) - datetime.now(UTC)) < timedelta(minutes=1)

    def test_takes_every_field(self, api, terminal):
        at_home = {"organization": terminal.organization}
        driver = DriverFactory(name="Kari", phone="+4790123456", **at_home)
        truck = TruckFactory(license_plate="AB12345", name="Volvo", **at_home)
        trailer = TrailerFactory(license_plate="XY1234", plate_country="SE", **at_home)
        given = {
            "commodity": "salmon_mix",
            "pallets": 33,
            "boxes": 0,
            "kilos": 21450.5,
            "priority": True,
            "notes": "Keep cold.",
            "eta_time": "06:30",
            "etd_time": "07:15:30",
            "etd_driver_name": "Ola",
            "etd_driver_phone": "call 22 33",
            "etd_truck_plate": "cd 23-456",
            "etd_trailer_plate": "",
        }
        response = api.post(
            "/orders",
            order_body(
                terminal,
                **given,
                eta_driver_id=str(driver.pk),
                eta_truck_id=str(truck.pk),
                eta_trailer_id=str(trailer.pk),
            ),
        )
        assert response.status_code == 201
        made = response.json()
        assert {name: made[name] for name in given} == {
            **given,
            "eta_time": "06:30:00",
            "etd_truck_plate": "CD23456",
        }
        assert made["eta_driver"] == {
            "id": str(driver.pk),
            "name": "Kari",
            "phone": "+4790123456",
        }
        assert made["eta_truck"] == {
            "id": str(truck.pk),
            "license_plate": "AB12345",
            "plate_country": "NO",
            "name": "Volvo",
        }
        assert made["eta_trailer"] == {
            "id": str(trailer.pk),
            "license_plate": "XY1234",
            "plate_country": "SE",
            "name": "",
        }
        assert made["etd_driver"] is made["etd_truck"] is made["etd_trailer"] is None
        assert api.get(f"/orders/{made['id']}").json() == made

    @pytest.mark.parametrize("written", ["2.5", "2.50", "2.500", "25e-1"])
    def test_writes_kilos_as_a_number(self, api, terminal, written):
        body = json.dumps(order_body(terminal))[:-1] + f', "kilos": {written}}}'
        response = api.post("/orders", body)
        assert response.status_code == 201
        assert b'"kilos":2.5,' in response.content

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("pallets", "5"),
            ("pallets", True),
            ("pallets", -1),
            ("pallets", 100_000),
            ("boxes", 2**31),
            ("boxes", 1e300),
            ("kilos", "5"),
            ("kilos", -0.01),
            ("kilos", 0.001),
            ("kilos", 10_000_000),
            ("kilos", False),
            ("priority", "yes"),
            ("priority", 1),
            ("priority", None),
            ("service", "teleport"),
            ("service", None),
            ("service", ["cross_dock"]),
            ("commodity", "gold"),
            ("commodity", ""),
            ("reference", ""),
            ("reference", "   "),
            ("reference", None),
            ("reference", 12),
            ("reference", "x" * 33),
            ("reference", "a\u202eb"),
            ("reference", "a\x00b"),
            ("reference", "a\nb"),
            ("notes", "x" * 1025),
            ("notes", ["x"]),
            ("eta_date", "2026-02-30"),
            ("eta_date", "23.11.2026"),
            ("eta_date", "2026-11-23T00:00:00Z"),
            ("eta_date", 20261123),
            ("eta_time", "24:00"),
            ("eta_time", "6:30"),
            ("eta_time", "06:30:00.5"),
            ("eta_time", "06:30Z"),
            ("terminal_id", None),
            ("terminal_id", "Q1"),
            ("terminal_id", 1),
            ("eta_driver_id", "{00000000-0000-0000-0000-000000000000}"),
            ("eta_driver_name", "x" * 121),
            ("eta_driver_phone", "1" * 33),
            ("eta_truck_plate", "АВ12345"),  # Cyrillic
            ("eta_truck_plate", "A" * 17),
            ("id", "01890000-0000-7000-8000-000000000001"),
            ("version", 7),
            ("status", "arrived"),
            ("organization_id", "01890000-0000-7000-8000-000000000002"),
            ("created_at", "2026-11-23T00:00:00Z"),
            ("documents_count", 1),
            ("terminal", {"id": "x"}),
            ("arrived_at", None),
            ("refrence", "A-1"),
            ("__class__", "x"),
        ],
    )
    def test_refuses_what_is_wrong_and_names_the_field(self, api, terminal, field, value):
        response = api.post("/orders", order_body(terminal) | {field: value})
        assert problem(response) == (422, "validation-error")
        assert blamed(response) == {field}
        assert not Order.objects.exists()

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("pallets", 0),
            ("pallets", 99_999),
            ("pallets", None),
            ("kilos", 0),
            ("kilos", 9_999_999.99),
            ("kilos", 7),
            ("reference", "x" * 32),
            ("reference", "Ærlig 12/3 – ok"),
            ("notes", "x" * 1024),
            ("notes", "two\nlines"),
            ("eta_driver_name", "x" * 120),
            ("eta_driver_phone", "1" * 32),
            ("eta_truck_plate", "A" * 16),
        ],
    )
    def test_accepts_what_is_just_right(self, api, terminal, field, value):
        response = api.post("/orders", order_body(terminal) | {field: value})
        assert response.status_code == 201
        assert response.json()[field] == value

    @pytest.mark.parametrize(
        ("field", "value", "kept"),
        [
            ("reference", f"  {'x' * 32}\t", "x" * 32),
            ("reference", "Cafe\u0301", "Café"),
            ("notes", f"\n {'x' * 1024} \r\n", "x" * 1024),
            ("notes", None, ""),
            ("eta_driver_name", None, ""),
            ("eta_driver_name", "  Kari ", "Kari"),
            ("eta_driver_phone", " 22 33-44 ", "22 33-44"),
            ("eta_truck_plate", " ab 12-345 ", "AB12345"),
            ("eta_trailer_plate", "a" + " -" * 20 + "b", "AB"),
        ],
    )
    def test_brings_texts_into_their_normal_form_first(self, api, terminal, field, value, kept):
        response = api.post("/orders", order_body(terminal) | {field: value})
        assert response.status_code == 201
        assert response.json()[field] == kept

    def test_names_every_field_that_is_to_blame(self, api, terminal):
        response = api.post("/orders", {"pallets": "5", "color": "blue"})
        assert problem(response) == (422, "validation-error")
        assert blamed(response) == {"reference", "service", "terminal_id", "pallets", "color"}
        assert response.json()["detail"] == "5 fields were refused."

    def test_refuses_a_reference_that_is_taken_in_its_terminal(self, api, order, terminal):
        response = api.post("/orders", order_body(terminal, reference=" a-1"))
        assert problem(response) == (409, "conflict")
        assert blamed(response) == {"reference"}
        assert Order.objects.count() == 1
        # Free at the terminal beside it, and under another name at this one.
        beside = TerminalFactory(organization=terminal.organization)
        assert api.post("/orders", order_body(beside)).status_code == 201
        assert api.post("/orders", order_body(terminal, reference="A-2")).status_code == 201

    def test_refuses_references_that_name_nothing_here(self, api, terminal):
        elsewhere = DriverFactory()
        given = {
            "terminal_id": str(TerminalFactory().pk),
            "eta_driver_id": str(elsewhere.pk),
            "eta_truck_id": str(uuid.uuid4()),
            "etd_trailer_id": str(uuid.UUID(int=0)),
        }
        for name, key in given.items():
            response = api.post("/orders", order_body(terminal) | {name: key})
            assert problem(response) == (422, "unknown-reference")
            assert blamed(response) == {name}
        response = api.post("/orders", order_body(terminal) | given)
        assert blamed(response) == set(given)
        assert not Order.objects.exists()

        elsewhere.organization = terminal.organization
        elsewhere.save()
        accepted = api.post("/orders", order_body(terminal, eta_driver_id=str(elsewhere.pk)))
        assert accepted.status_code == 201

    def test_keeps_a_superuser_within_the_terminals_organization(self, api_of, terminal):
        root = api_of(UserFactory(superuser=True))
        driver, stranger = DriverFactory(organization=terminal.organization), DriverFactory()
        response = root.post("/orders", order_body(terminal, eta_driver_id=str(stranger.pk)))
        assert problem(response) == (422, "unknown-reference")
        assert blamed(response) == {"eta_driver_id"}
        assert not Order.objects.exists()

        response = root.post("/orders", order_body(terminal, eta_driver_id=str(driver.pk)))
        assert response.status_code == 201
        assert Order.objects.get().organization_id == terminal.organization_id


class TestRetrieve:
    def test_shows_the_list_entry_and_its_documents(self, api, order):
        response = api.get(path_of(order))
        assert response.status_code == 200
        assert response["ETag"] == '"v1"'
        alone = response.json()
        assert set(alone) == IN_LIST | {"documents"}
        listed = api.get("/orders").json()["data"]
        assert [{**each, "documents": []} for each in listed] == [alone]

    def test_does_not_tell_anothers_from_none(self, api, order, foreign):
        answers = [
            api.get(f"/orders/{key}", headers={"X-Request-ID": "same"})
            for key in (foreign.pk, uuid.uuid4(), "A-1", "..", "1.5", "%00", uuid.UUID(int=0))
        ]
        assert {answer.content for answer in answers} == {answers[0].content}
        assert problem(answers[0]) == (404, "not-found")
        assert api.get(path_of(order)).status_code == 200

    def test_answers_with_and_without_the_last_slash(self, api, order):
        assert api.get(path_of(order) + "/").json() == api.get(path_of(order)).json()

    def test_writes_instants_in_utc(self, api, terminal):
        at = datetime(2026, 11, 23, 6, 30, tzinfo=UTC)
        order = OrderFactory(terminal=terminal, status="arrived", arrived_at=at)
        assert instant(api.get(path_of(order)).json()["arrived_at"]) == at

    def test_shows_a_superuser_every_organizations_orders(self, api_of, order, foreign):
        root = api_of(UserFactory(superuser=True))
        assert root.get(path_of(order)).status_code == 200
        assert root.get(path_of(foreign)).status_code == 200
        assert root.get("/orders").json()["total"] == 2


class TestIfNoneMatch:
    @pytest.mark.parametrize(
        "tags",
        [
            '"v1"',
            'W/"v1"',
            "*",
            " * ",
            '"v2", "v1"',
            '"v2","v1","v3"',
            'W/"v9", W/"v1"',
            '"a,b", "v1"',
            '"", "v1"',
            ', "v1",',
            '"v1", ,',
            '  "v1"  ',
        ],
    )
    def test_says_304_to_who_has_it(self, api, order, tags, statements):
        with statements() as done:
            response = api.get(path_of(order), headers={"If-None-Match": tags})
        assert response.status_code == 304
        assert response.content == b""
        assert response["ETag"] == '"v1"'
        assert len(done.sql) <= 2

    @pytest.mark.parametrize(
        "tags",
        [
            '"v2"',
            'W/"v2"',
            '"v11"',
            '"1"',
            '"V1"',
            '"v01"',
            '"v1 "',
            "v1",
            '"v1',
            'v1"',
            "'v1'",
            'w/"v1"',
            'W/ "v1"',
            '"v1" "v2"',
            '"v2" garbage, "v1"',
            "**",
            "",
            '"',
            '"v' + "9" * 400 + '"',
            '"é"',
        ],
    )
    def test_sends_the_order_to_anybody_else(self, api, order, tags):
        response = api.get(path_of(order), headers={"If-None-Match": tags})
        assert response.status_code == 200
        assert response["ETag"] == '"v1"'
        assert response.json()["id"] == str(order.pk)

    def test_sends_it_again_once_it_has_changed(self, api, order):
        headers = {"If-None-Match": api.get(path_of(order))["ETag"]}
        assert api.get(path_of(order), headers=headers).status_code == 304
        api.patch(path_of(order), {"notes": "Changed."})
        assert api.get(path_of(order), headers=headers).status_code == 200

    def test_does_not_hide_what_is_not_there(self, api, foreign):
        assert api.get(path_of(foreign), headers={"If-None-Match": "*"}).status_code == 404


class TestIfMatch:
    REQUESTS = {
        "put": lambda api, order, **headers: api.put(
            path_of(order), order_body(order.terminal, notes="Mine."), headers=headers
        ),
        "patch": lambda api, order, **headers: api.patch(
            path_of(order), {"notes": "Mine."}, headers=headers
        ),
        "delete": lambda api, order, **headers: api.delete(path_of(order), headers=headers),
        "arrive": lambda api, order, **headers: api.post(path_of(order, "arrive"), headers=headers),
        "cancel": lambda api, order, **headers: api.post(
            path_of(order, "cancel"), {"reason": "Mine."}, headers=headers
        ),
    }

    @pytest.mark.parametrize("send", REQUESTS.values(), ids=REQUESTS)
    def test_stops_who_judged_by_an_older_version(self, api, order, send):
        api.patch(path_of(order), {"notes": "Theirs."})
        before = row_of(order)
        response = send(api, order, **{"If-Match": '"v1"'})
        assert problem(response) == (412, "precondition-failed")
        assert response.json()["current_version"] == 2
        assert row_of(order) == before

        assert send(api, order, **{"If-Match": '"v2"'}).status_code in {200, 204}

    @pytest.mark.parametrize("send", REQUESTS.values(), ids=REQUESTS)
    def test_is_not_demanded(self, api, order, send):
        assert send(api, order).status_code in {200, 204}

    def test_stops_depart_and_reopen_too(self, api, terminal):
        for order, step in (
            (OrderFactory(terminal=terminal, arrived=True), "depart"),
            (OrderFactory(terminal=terminal, cancelled=True), "reopen"),
        ):
            stale = api.post(path_of(order, step), headers={"If-Match": '"v2"'})
            assert problem(stale) == (412, "precondition-failed")
            fresh = api.post(path_of(order, step), headers={"If-Match": '"v1"'})
            assert fresh.status_code == 200

    @pytest.mark.parametrize("tags", ['"v1"', "*", " * ", '"v2", "v1"', '"v1",W/"v1"', ',"v1",'])
    def test_lets_through_who_has_the_present_one(self, api, order, tags):
        response = api.patch(path_of(order), {"notes": "Mine."}, headers={"If-Match": tags})
        assert response.status_code == 200
        assert response["ETag"] == '"v2"'

    @pytest.mark.parametrize(
        "tags",
        [
            'W/"v1"',
            'W/"v1", W/"v2"',
            '"v2"',
            '"v2", "v3"',
            "v1",
            "1",
            '"v1',
            '"v1" "v1"',
            '"v1"; "v1"',
            '"v01"',
            "",
            "*, x",
            '"v' + "9" * 400 + '"',
        ],
    )
    def test_stops_every_other_tag(self, api, order, tags):
        before = row_of(order)
        response = api.patch(path_of(order), {"notes": "Mine."}, headers={"If-Match": tags})
        assert problem(response) == (412, "precondition-failed")
        assert response.json()["current_version"] == 1
        assert row_of(order) == before

    def test_stops_even_a_change_of_nothing(self, api, order):
        response = api.patch(path_of(order), {}, headers={"If-Match": '"v2"'})
        assert problem(response) == (412, "precondition-failed")


class TestReplace:
    def test_gives_what_is_left_out_its_default(self, api, terminal):
        driver = DriverFactory(organization=terminal.organization)
        given = order_body(
            terminal,
            commodity="trout",
            pallets=3,
            boxes=4,
            kilos=5.5,
            priority=True,
            notes="Old.",
            eta_time="06:30",
            eta_driver_id=str(driver.pk),
            etd_driver_name="Ola",
            etd_truck_plate="AB12345",
        )
        made = api.post("/orders", given).json()
        plain = api.post("/orders", order_body(terminal, reference="A-2")).json()
        response = api.put(f"/orders/{made['id']}", order_body(terminal, reference="A-1"))
        assert response.status_code == 200
        assert response["ETag"] == '"v2"'
        kept = {name: made[name] for name in ("id", "reference", "created_at")}
        changed = {"version": 2, "updated_at": response.json()["updated_at"]}
        assert response.json() == {**plain, **kept, **changed}
        assert instant(changed["updated_at"]) > instant(made["updated_at"])

    @pytest.mark.parametrize("name", ["reference", "service", "terminal_id", "eta_date"])
    def test_demands_what_is_required(self, api, order, name):
        before = row_of(order)
        body = order_body(order.terminal)
        response = api.put(path_of(order), {key: body[key] for key in body if key != name})
        assert problem(response) == (422, "validation-error")
        assert blamed(response) == {name}
        assert row_of(order) == before

    def test_of_the_same_by_the_same_changes_nothing(self, api, terminal):
        given = order_body(terminal, kilos=2.5, eta_time="06:30", eta_truck_plate="ab 12345")
        made = api.post("/orders", given).json()
        response = api.put(f"/orders/{made['id']}", given)
        assert response.status_code == 200
        assert response.json() == made

    def test_never_makes_an_order(self, api, terminal):
        response = api.put(f"/orders/{uuid.uuid4()}", order_body(terminal))
        assert problem(response) == (404, "not-found")
        assert not Order.objects.exists()


class TestChange:
    def test_changes_only_what_is_named(self, api, order):
        before = api.get(path_of(order)).json()
        response = api.patch(path_of(order), {"pallets": 12, "notes": " More. "})
        assert response.status_code == 200
        assert response["ETag"] == '"v2"'
        after = response.json()
        changed = {name for name in after if after[name] != before[name]}
        assert changed == {"pallets", "notes", "version", "updated_at"}
        assert (after["pallets"], after["notes"], after["version"]) == (12, "More.", 2)
        assert api.get(path_of(order)).json() == after

    @pytest.mark.parametrize(
        "nothing",
        [{}, {"notes": ""}, {"notes": None}, {"notes": "  "}, {"reference": " A-1 "}],
    )
    def test_of_nothing_keeps_the_version(self, api, order, nothing):
        before = row_of(order)
        response = api.patch(path_of(order), nothing)
        assert response.status_code == 200
        assert response["ETag"] == '"v1"'
        assert row_of(order) == before

    def test_takes_a_reference_away_and_gives_another(self, api, order):
        driver = DriverFactory(organization=order.organization)
        named = api.patch(path_of(order), {"eta_driver_id": str(driver.pk)}).json()
        assert named["eta_driver"]["id"] == str(driver.pk)
        typed = {"eta_driver_id": None, "eta_driver_name": "Ola"}
        changed = api.patch(path_of(order), typed).json()
        assert (changed["eta_driver"], changed["eta_driver_name"]) == (None, "Ola")

    def test_changes_the_spelling_of_its_own_reference(self, api, order):
        response = api.patch(path_of(order), {"reference": "a-1"})
        assert response.status_code == 200
        assert (response.json()["reference"], response.json()["version"]) == ("a-1", 2)

    def test_refuses_a_reference_that_is_taken(self, api, order):
        other = OrderFactory(terminal=order.terminal, reference="A-2")
        beside = TerminalFactory(organization=order.organization)
        there = OrderFactory(terminal=beside, reference="A-1")
        before = row_of(other), row_of(there)
        for moved, given in (
            (other, {"reference": "a-1"}),
            (there, {"terminal_id": str(order.terminal_id)}),
        ):
            response = api.patch(path_of(moved), given)
            assert problem(response) == (409, "conflict")
            assert blamed(response) == {"reference"}
        assert (row_of(other), row_of(there)) == before

    def test_refuses_what_the_organization_does_not_have(self, api, order):
        before = row_of(order)
        for name, key in (
            ("terminal_id", TerminalFactory().pk),
            ("etd_truck_id", TruckFactory().pk),
            ("etd_trailer_id", uuid.uuid4()),
        ):
            response = api.patch(path_of(order), {name: str(key)})
            assert problem(response) == (422, "unknown-reference")
            assert blamed(response) == {name}
        assert row_of(order) == before

    def test_keeps_a_superuser_within_the_orders_organization(self, api_of, order):
        root = api_of(UserFactory(superuser=True))
        before = row_of(order)
        for given in (
            {"terminal_id": str(TerminalFactory().pk)},
            {"eta_driver_id": str(DriverFactory().pk)},
        ):
            response = root.patch(path_of(order), given)
            assert problem(response) == (422, "unknown-reference")
        assert row_of(order) == before

    @pytest.mark.parametrize(
        "name",
        [
            "id",
            "pk",
            "_state",
            "organization",
            "organization_id",
            "version",
            "status",
            "created_at",
            "updated_at",
            "arrived_at",
            "cancel_reason",
            "created_by",
            "is_superuser",
            "documents_count",
        ],
    )
    def test_knows_nothing_of_what_the_server_sets(self, api, order, name):
        before = row_of(order)
        response = api.patch(path_of(order), {name: "x", "notes": "Mine."})
        assert problem(response) == (422, "validation-error")
        assert blamed(response) == {name}
        assert row_of(order) == before

    def test_does_not_reach_another_organizations(self, api, foreign):
        before = row_of(foreign)
        for response in (
            api.patch(path_of(foreign), {"notes": "Mine."}),
            api.put(path_of(foreign), order_body(foreign.terminal)),
            api.delete(path_of(foreign)),
            *(api.post(path_of(foreign, step), body) for step, body in STEPS.items()),
        ):
            assert problem(response) == (404, "not-found")
        assert row_of(foreign) == before


class TestChangeByStatus:
    """Departed and cancelled orders accept only notes, arrived ones keep terminal and service."""

    def test_of_a_planned_one_is_free(self, api, order):
        beside = TerminalFactory(organization=order.organization)
        given = {"terminal_id": str(beside.pk), "service": "reload_car_car", "pallets": 3}
        response = api.patch(path_of(order), given)
        assert response.status_code == 200
        assert response.json()["terminal"]["id"] == str(beside.pk)

    def test_of_an_arrived_one_keeps_terminal_and_service(self, api, terminal):
        order = OrderFactory(terminal=terminal, arrived=True)
        beside = TerminalFactory(organization=terminal.organization)
        before = row_of(order)
        for given in ({"terminal_id": str(beside.pk)}, {"service": "reload_car_car"}):
            response = api.patch(path_of(order), {**given, "pallets": 3})
            assert problem(response) == (409, "wrong-status")
        assert row_of(order) == before

        same = {"terminal_id": str(terminal.pk), "service": order.service, "pallets": 3}
        assert api.patch(path_of(order), same).status_code == 200

    @pytest.mark.parametrize("state", ["departed", "cancelled"])
    def test_of_an_ended_one_accepts_only_notes(self, api, terminal, state):
        order = OrderFactory(terminal=terminal, **{state: True})
        before = row_of(order)
        for given in ({"pallets": 3}, {"reference": "A-9"}, {"priority": True, "notes": "N"}):
            assert problem(api.patch(path_of(order), given)) == (409, "wrong-status")
        assert row_of(order) == before

        same = {"reference": order.reference, "pallets": None, "notes": "Looked at again."}
        response = api.patch(path_of(order), same)
        assert response.status_code == 200
        assert (response.json()["notes"], response.json()["version"]) == ("Looked at again.", 2)

    def test_of_an_ended_one_by_put_may_say_the_same_again(self, api, terminal):
        made = api.post("/orders", order_body(terminal)).json()
        api.post(f"/orders/{made['id']}/cancel", {"reason": "No."})
        response = api.put(f"/orders/{made['id']}", order_body(terminal, notes="Again."))
        assert response.status_code == 200
        response = api.put(f"/orders/{made['id']}", order_body(terminal, boxes=1))
        assert problem(response) == (409, "wrong-status")


class TestDelete:
    @pytest.mark.parametrize("state", ["planned", "arrived", "departed", "cancelled"])
    def test_answers_204_and_the_order_is_gone(self, api, terminal, state):
        order = OrderFactory(terminal=terminal, **({} if state == "planned" else {state: True}))
        response = api.delete(path_of(order))
        assert (response.status_code, response.content) == (204, b"")
        assert api.get(path_of(order)).status_code == 404
        assert api.delete(path_of(order)).status_code == 404


class TestArrive:
    def test_moves_a_planned_order(self, api, order):
        response = api.post(path_of(order, "arrive"))
        assert response.status_code == 200
        assert response["ETag"] == '"v2"'
        arrived = response.json()
        assert set(arrived) == IN_LIST | {"documents"}
        assert (arrived["status"], arrived["version"]) == ("arrived", 2)
        assert abs(instant(arrived["arrived_at"]) - datetime.now(UTC)) < timedelta(minutes=1)
        assert (arrived["departed_at"], arrived["cancelled_at"]) == (None, None)

    def test_needs_no_body(self, api, order):
        assert api.generic("POST", path_of(order, "arrive")).status_code == 200

    def test_takes_an_instant_with_its_offset(self, api, order):
        at = hours_ago(5).astimezone(timezone(timedelta(hours=5, minutes=30)))
        response = api.post(path_of(order, "arrive"), {"at": at.isoformat()})
        assert response.status_code == 200
        assert instant(response.json()["arrived_at"]) == at

    @pytest.mark.parametrize(
        "at",
        ["2026-11-22T06:30:00", "2026-11-22", "yesterday", "", 1763792400, None, True],
    )
    def test_refuses_what_is_no_instant(self, api, order, at):
        before = row_of(order)
        response = api.post(path_of(order, "arrive"), {"at": at})
        assert problem(response) == (422, "validation-error")
        assert blamed(response) == {"at"}
        assert row_of(order) == before

    def test_refuses_the_future(self, api, order):
        before = row_of(order)
        ahead = clock.now() + timedelta(minutes=1)
        response = api.post(path_of(order, "arrive"), {"at": ahead.isoformat()})
        assert problem(response) == (422, "validation-error")
        assert blamed(response) == {"at"}
        assert row_of(order) == before

        just_now = clock.now() - timedelta(milliseconds=1)
        response = api.post(path_of(order, "arrive"), {"at": just_now.isoformat()})
        assert response.status_code == 200

    def test_refuses_an_unknown_field(self, api, order):
        response = api.post(path_of(order, "arrive"), {"when": "now"})
        assert problem(response) == (422, "validation-error")
        assert blamed(response) == {"when"}

    @pytest.mark.parametrize("state", ["arrived", "departed", "cancelled"])
    def test_refuses_any_other_status(self, api, terminal, state):
        order = OrderFactory(terminal=terminal, **{state: True})
        before = row_of(order)
        assert problem(api.post(path_of(order, "arrive"))) == (409, "wrong-status")
        assert row_of(order) == before

    def test_refuses_an_order_without_an_arrival(self, api, terminal):
        order = OrderFactory(terminal=terminal, service="into_plukk_storage", eta_date=None)
        assert problem(api.post(path_of(order, "arrive"))) == (409, "wrong-status")


class TestDepart:
    def test_moves_an_arrived_order(self, api, terminal):
        order = OrderFactory(terminal=terminal, arrived=True)
        response = api.post(path_of(order, "depart"))
        assert response.status_code == 200
        departed = response.json()
        assert (departed["status"], departed["version"]) == ("departed", 2)
        assert abs(instant(departed["departed_at"]) - datetime.now(UTC)) < timedelta(minutes=1)
        assert instant(departed["arrived_at"]) == order.arrived_at

    def test_moves_a_planned_order_without_an_arrival(self, api, terminal):
        order = OrderFactory(terminal=terminal, service="into_plukk_storage", eta_date=None)
        response = api.generic("POST", path_of(order, "depart"))
        assert response.status_code == 200
        assert (response.json()["status"], response.json()["arrived_at"]) == ("departed", None)

    def test_refuses_an_order_without_a_departure(self, api, terminal):
        order = OrderFactory(
            terminal=terminal, service="into_plukk_storage", etd_date=None, arrived=True
        )
        assert problem(api.post(path_of(order, "depart"))) == (409, "wrong-status")

    @pytest.mark.parametrize("state", ["planned", "departed", "cancelled"])
    def test_refuses_any_other_status(self, api, terminal, state):
        order = OrderFactory(terminal=terminal, **({} if state == "planned" else {state: True}))
        before = row_of(order)
        assert problem(api.post(path_of(order, "depart"))) == (409, "wrong-status")
        assert row_of(order) == before

    def test_refuses_to_leave_before_it_came(self, api, terminal):
        order = OrderFactory(terminal=terminal, arrived=True)
        before = row_of(order)
        early = order.arrived_at - timedelta(seconds=1)
        response = api.post(path_of(order, "depart"), {"at": early.isoformat()})
        assert problem(response) == (422, "validation-error")
        assert blamed(response) == {"at"}
        assert row_of(order) == before

        response = api.post(path_of(order, "depart"), {"at": order.arrived_at.isoformat()})
        assert response.status_code == 200

    def test_refuses_the_future(self, api, terminal):
        order = OrderFactory(terminal=terminal, arrived=True)
        ahead = clock.now() + timedelta(minutes=1)
        response = api.post(path_of(order, "depart"), {"at": ahead.isoformat()})
        assert problem(response) == (422, "validation-error")
        assert blamed(response) == {"at"}


class TestCancel:
    @pytest.mark.parametrize("state", ["planned", "arrived"])
    def test_ends_an_order_with_a_reason(self, api, terminal, state):
        order = OrderFactory(terminal=terminal, **({} if state == "planned" else {state: True}))
        response = api.post(path_of(order, "cancel"), {"reason": " The ship\nis late. "})
        assert response.status_code == 200
        ended = response.json()
        assert (ended["status"], ended["cancel_reason"]) == ("cancelled", "The ship\nis late.")
        assert abs(instant(ended["cancelled_at"]) - datetime.now(UTC)) < timedelta(minutes=1)
        assert (ended["arrived_at"] is None) is (state == "planned")
        assert ended["version"] == 2

    @pytest.mark.parametrize("body", [{}, {"reason": ""}, {"reason": "  "}, {"reason": None}])
    def test_refuses_without_a_reason(self, api, order, body):
        before = row_of(order)
        response = api.post(path_of(order, "cancel"), body)
        assert problem(response) == (422, "validation-error")
        assert blamed(response) == {"reason"}
        assert row_of(order) == before

    def test_without_a_body_misses_the_reason_only(self, api, order):
        response = api.generic("POST", path_of(order, "cancel"))
        assert problem(response) == (422, "validation-error")
        assert blamed(response) == {"reason"}

    @pytest.mark.parametrize("state", ["departed", "cancelled"])
    def test_refuses_an_ended_order(self, api, terminal, state):
        order = OrderFactory(terminal=terminal, **{state: True})
        before = row_of(order)
        response = api.post(path_of(order, "cancel"), {"reason": "Late."})
        assert problem(response) == (409, "wrong-status")
        assert row_of(order) == before


class TestReopen:
    def test_plans_a_cancelled_order_again(self, api, terminal):
        order = OrderFactory(terminal=terminal, cancelled=True)
        response = api.generic("POST", path_of(order, "reopen"))
        assert response.status_code == 200
        again = response.json()
        assert (again["status"], again["version"]) == ("planned", 2)
        assert again["arrived_at"] is again["departed_at"] is again["cancelled_at"] is None
        assert again["cancel_reason"] == ""

    def test_forgets_an_arrival_before_the_cancellation(self, api, order):
        api.post(path_of(order, "arrive"))
        api.post(path_of(order, "cancel"), {"reason": "Wrong goods."})
        again = api.post(path_of(order, "reopen")).json()
        assert (again["status"], again["arrived_at"]) == ("planned", None)
        assert api.post(path_of(order, "arrive")).status_code == 200

    @pytest.mark.parametrize("state", ["planned", "arrived", "departed"])
    def test_refuses_any_other_status(self, api, terminal, state):
        order = OrderFactory(terminal=terminal, **({} if state == "planned" else {state: True}))
        assert problem(api.post(path_of(order, "reopen"))) == (409, "wrong-status")

    def test_takes_an_empty_object_only(self, api, terminal):
        order = OrderFactory(terminal=terminal, cancelled=True)
        response = api.post(path_of(order, "reopen"), {"at": "2026-11-23T06:30:00Z"})
        assert problem(response) == (422, "validation-error")
        assert blamed(response) == {"at"}
        assert api.post(path_of(order, "reopen"), {}).status_code == 200


class TestOrderOfChecks:
    """A request that is wrong in two ways is told the first one.

    401, 404, the body's form (400, 413, 415), 412, 409 wrong-status, 422, other 409.
    """

    STALE = {"If-Match": '"v9"'}
    BROKEN = {
        "malformed-request": {"data": '{"notes": '},
        "too-large": {"data": '{"notes": "' + "x" * 1_048_576 + '"}'},
        "unsupported-media-type": {"data": "notes", "content_type": "text/plain"},
    }

    @pytest.fixture
    def departed(self, terminal):
        return OrderFactory(terminal=terminal, departed=True)

    def requests(self, order):
        """Every way to write to `order`: the method and the path."""
        yield "put", path_of(order)
        yield "patch", path_of(order)
        for step in STEPS:
            yield "post", path_of(order, step)

    def test_401_before_404(self, anonymous, order):
        for path in (f"/orders/{uuid.uuid4()}", path_of(order)):
            response = anonymous.get(path)
            assert problem(response) == (401, "not-authenticated")
            assert response["WWW-Authenticate"].startswith("Bearer")
            assert problem(anonymous.post(f"{path}/arrive")) == (401, "not-authenticated")

    @pytest.mark.parametrize("code", BROKEN)
    def test_401_before_the_body(self, anonymous, code):
        response = anonymous.post("/orders", **self.BROKEN[code])
        assert problem(response) == (401, "not-authenticated")

    @pytest.mark.parametrize("code", BROKEN)
    def test_404_before_the_body(self, api, foreign, code):
        for method, path in self.requests(foreign):
            response = getattr(api, method)(path, **self.BROKEN[code])
            assert problem(response) == (404, "not-found")

    @pytest.mark.parametrize("code", BROKEN)
    def test_the_body_before_412(self, api, departed, code):
        before = row_of(departed)
        for method, path in self.requests(departed):
            response = getattr(api, method)(path, headers=self.STALE, **self.BROKEN[code])
            assert problem(response)[1] == code
        assert row_of(departed) == before

    def test_412_before_wrong_status(self, api, departed):
        for method, path in self.requests(departed):
            body = order_body(departed.terminal, pallets=3) if method != "post" else {}
            response = getattr(api, method)(path, body, headers=self.STALE)
            assert problem(response) == (412, "precondition-failed")

    def test_412_before_422(self, api, order):
        for method, path in self.requests(order):
            response = getattr(api, method)(path, {"nonsense": 1}, headers=self.STALE)
            assert problem(response) == (412, "precondition-failed")

    @pytest.mark.parametrize(
        "body",
        [
            {"pallets": "x"},
            {"pallets": 3, "nonsense": 1},
            {"pallets": 3, "notes": "x" * 1025},
            {"eta_driver_id": str(uuid.UUID(int=1))},
            {"eta_date": None},
        ],
    )
    def test_wrong_status_before_422(self, api, departed, body):
        response = api.patch(path_of(departed), body)
        assert problem(response) == (409, "wrong-status")
        # The same order refuses the field alone, where its status has nothing against it.
        assert api.patch(path_of(departed), {"notes": "x" * 1025}).status_code == 422
        assert api.patch(path_of(departed), {"nonsense": 1}).status_code == 422

    def test_wrong_status_before_422_when_it_has_arrived(self, api, terminal):
        order = OrderFactory(terminal=terminal, arrived=True)
        for body in (
            {"terminal_id": str(uuid.uuid4())},
            {"terminal_id": "x"},
            {"service": "reload_car_car", "pallets": -1},
            {"service": "teleport"},
        ):
            assert problem(api.patch(path_of(order), body)) == (409, "wrong-status")
        assert problem(api.patch(path_of(order), {"pallets": -1})) == (422, "validation-error")

    def test_wrong_status_before_422_in_a_replacement(self, api, departed):
        same = {
            "reference": departed.reference,
            "eta_date": str(departed.eta_date),
            "etd_date": str(departed.etd_date),
        }
        too_long = order_body(departed.terminal, **same, notes="x" * 1025)
        assert problem(api.put(path_of(departed), too_long)) == (422, "validation-error")
        response = api.put(path_of(departed), too_long | {"eta_date": "2026-01-01"})
        assert problem(response) == (409, "wrong-status")

    @pytest.mark.parametrize("step", STEPS)
    def test_wrong_status_before_422_in_a_step(self, api, departed, step):
        response = api.post(path_of(departed, step), {"nonsense": 1})
        assert problem(response) == (409, "wrong-status")

    def test_422_before_a_conflict(self, api, order, terminal):
        taken = order_body(terminal, reference=order.reference)
        for given in (
            {"pallets": -1},
            {"etd_date": None},
            {"eta_driver_id": str(uuid.uuid4())},
        ):
            assert api.post("/orders", taken | given).status_code == 422
        assert problem(api.post("/orders", taken)) == (409, "conflict")

    def test_fields_before_unknown_references(self, api, terminal):
        nobody = {"eta_driver_id": str(uuid.uuid4())}
        response = api.post("/orders", order_body(terminal, pallets=-1, **nobody))
        assert problem(response) == (422, "validation-error")
        assert Driver.objects.count() == Order.objects.count() == 0

    def test_404_before_an_unknown_parameter(self, api, foreign):
        assert problem(api.get(path_of(foreign) + "?color=blue")) == (404, "not-found")


class TestList:
    def test_shows_only_the_organizations_own(self, api, order, foreign):
        listed = api.get("/orders").json()
        assert [each["id"] for each in listed["data"]] == [str(order.pk)]
        assert listed["total"] == 1

    def test_entries_have_exactly_the_contracts_fields(self, api, order):
        (entry,) = api.get("/orders").json()["data"]
        assert set(entry) == IN_LIST

    def test_finds_nothing_of_others_by_their_ids(self, api, order, foreign):
        driver = DriverFactory(organization=foreign.organization)
        Order.objects.filter(pk=foreign.pk).update(eta_driver=driver)
        for name, key in (
            ("terminal_id", foreign.terminal_id),
            ("driver_id", driver.pk),
            ("truck_id", uuid.uuid4()),
        ):
            response = api.get(f"/orders?{name}={key}")
            assert response.status_code == 200
            assert response.json()["data"] == []

    def test_is_refused_to_strangers(self, anonymous):
        assert problem(anonymous.get("/orders")) == (401, "not-authenticated")

    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("PUT", "/orders"),
            ("DELETE", "/orders"),
            ("POST", "/orders/{}"),
            ("GET", "/orders/{}/arrive"),
            ("PATCH", "/orders/{}/cancel"),
        ],
    )
    def test_knows_only_its_own_methods(self, api, order, method, path):
        response = api.generic(method, path.format(order.pk))
        assert problem(response) == (405, "method-not-allowed")
        assert method not in response["Allow"]
