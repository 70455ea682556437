"""Terminals over REST."""

import uuid
from datetime import UTC, datetime, timedelta

import pytest

from terminals.models import Terminal
from tests.core.factories import UserFactory
from tests.orders.factories import OrderFactory
from tests.terminals.factories import TerminalFactory

SHOWN = {
    "id",
    "name",
    "account_code",
    "address",
    "timezone",
    "is_active",
    "created_at",
    "updated_at",
}
PLAIN = {"name": "Quay", "account_code": "Q1"}


@pytest.fixture
def terminal(dispatcher):
    return TerminalFactory(organization=dispatcher.organization, **PLAIN)


def problem(response):
    body = response.json()
    assert response["Content-Type"] == "application/problem+json"
    assert (body["status"], body["type"]) == (response.status_code, f"/problems/{body['code']}")
    return response.status_code, body["code"]


def blamed(response):
    return {error["field"] for error in response.json().get("errors", [])}


def row_of(terminal):
    return Terminal.objects.filter(pk=terminal.pk).values().first()


class TestCreate:
    def test_answers_201_with_location_and_every_default(self, api, dispatcher):
        response = api.post("/terminals", PLAIN)
        assert response.status_code == 201
        made = response.json()
        assert response["Location"] == f"/api/v1/terminals/{made['id']}"
        assert made == {
            **PLAIN,
            "id": made["id"],
            "address": "",
            "timezone": "Europe/Oslo",
            "is_active": True,
            "created_at": made["created_at"],
            "updated_at": made["created_at"],
        }
        assert uuid.UUID(made["id"]).version == 7
        at = datetime.fromisoformat(made["created_at"])
        assert abs(at - datetime.now(UTC)) < timedelta(minutes=1)
        assert api.get(response["Location"]).json() == made
        assert Terminal.objects.get().organization_id == dispatcher.organization_id

    def test_takes_every_field_and_trims_texts(self, api):
        given = {
            "name": f"  {'x' * 120} ",
            "account_code": " A-9 ",
            "address": " Kaia 1\n5003 Bergen ",
            "timezone": " Europe/London ",
            "is_active": False,
        }
        made = api.post("/terminals", given).json()
        assert {name: made[name] for name in given} == {
            name: value.strip() if isinstance(value, str) else value
            for name, value in given.items()
        }

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("name", ""),
            ("name", "  "),
            ("name", None),
            ("name", 5),
            ("name", "x" * 121),
            ("name", "a\u200bb"),
            ("name", "a\x00"),
            ("account_code", ""),
            ("account_code", "x" * 33),
            ("account_code", []),
            ("address", "x" * 256),
            ("timezone", "Europe/Atlantis"),
            ("timezone", "europe/oslo"),
            ("timezone", "../../etc/UTC"),
            ("timezone", "Europe/../Europe/Oslo"),
            ("timezone", "+01:00"),
            ("timezone", ""),
            ("timezone", "localtime"),
            ("is_active", "true"),
            ("is_active", 1),
            ("is_active", None),
            ("id", "01890000-0000-7000-8000-000000000001"),
            ("organization_id", "01890000-0000-7000-8000-000000000002"),
            ("created_at", "2026-11-23T00:00:00Z"),
            ("staff", []),
            ("color", "blue"),
        ],
    )
    def test_refuses_what_is_wrong_and_names_the_field(self, api, field, value):
        response = api.post("/terminals", PLAIN | {field: value})
        assert problem(response) == (422, "validation-error")
        assert blamed(response) == {field}
        assert not Terminal.objects.exists()

    @pytest.mark.parametrize("zone", ["UTC", "America/Argentina/Buenos_Aires", "Asia/Kathmandu"])
    def test_knows_the_zones_of_the_world(self, api, zone):
        assert api.post("/terminals", PLAIN | {"timezone": zone}).json()["timezone"] == zone

    def test_wants_name_and_account_code(self, api):
        assert blamed(api.post("/terminals", {})) == {"name", "account_code"}

    def test_refuses_a_name_or_code_that_is_taken(self, api, terminal):
        response = api.post("/terminals", PLAIN | {"account_code": "Q2"})
        assert problem(response) == (409, "conflict")
        assert blamed(response) == {"name"}
        response = api.post("/terminals", PLAIN | {"name": "Pier"})
        assert problem(response) == (409, "conflict")
        assert blamed(response) == {"account_code"}
        assert Terminal.objects.count() == 1

        assert api.post("/terminals", {"name": "Pier", "account_code": "Q2"}).status_code == 201

    def test_does_not_know_what_others_have_taken(self, api, db):
        TerminalFactory(**PLAIN)
        assert api.post("/terminals", PLAIN).status_code == 201

    def test_is_not_for_who_belongs_nowhere(self, api_of, db):
        root = api_of(UserFactory(superuser=True))
        for body in (PLAIN, {"color": "blue"}, '{"name": '):
            assert problem(root.post("/terminals", body)) == (403, "permission-denied")
        assert not Terminal.objects.exists()


class TestRetrieve:
    def test_shows_exactly_the_contracts_fields(self, api, terminal):
        assert set(api.get(f"/terminals/{terminal.pk}").json()) == SHOWN
        (entry,) = api.get("/terminals").json()["data"]
        assert entry == api.get(f"/terminals/{terminal.pk}/").json()

    def test_does_not_tell_anothers_from_none(self, api, db):
        answers = [
            api.get(f"/terminals/{key}", headers={"X-Request-ID": "same"})
            for key in (TerminalFactory().pk, uuid.uuid4(), "Q1")
        ]
        assert len({answer.content for answer in answers}) == 1
        assert problem(answers[0]) == (404, "not-found")

    def test_is_refused_to_strangers(self, anonymous, terminal):
        for path in ("/terminals", f"/terminals/{terminal.pk}"):
            assert problem(anonymous.get(path)) == (401, "not-authenticated")


class TestReplace:
    def test_gives_what_is_left_out_its_default(self, api, terminal):
        path = f"/terminals/{terminal.pk}"
        api.patch(path, {"address": "Kaia 1", "timezone": "Europe/London", "is_active": False})
        response = api.put(path, {"name": "Pier", "account_code": "Q1"})
        assert response.status_code == 200
        replaced = response.json()
        assert (replaced["name"], replaced["address"]) == ("Pier", "")
        assert (replaced["timezone"], replaced["is_active"]) == ("Europe/Oslo", True)
        assert replaced == api.get(path).json()

    def test_demands_what_is_required(self, api, terminal):
        before = row_of(terminal)
        response = api.put(f"/terminals/{terminal.pk}", {"name": "Pier"})
        assert problem(response) == (422, "validation-error")
        assert blamed(response) == {"account_code"}
        assert row_of(terminal) == before


class TestChange:
    def test_changes_only_what_is_named(self, api, terminal):
        path = f"/terminals/{terminal.pk}"
        before = api.get(path).json()
        after = api.patch(path, {"address": "Kaia 1"}).json()
        assert {name for name in SHOWN if after[name] != before[name]} == {"address", "updated_at"}
        assert after["updated_at"] > before["updated_at"]

    def test_of_nothing_touches_nothing(self, api, terminal):
        before = row_of(terminal)
        for nothing in ({}, {"name": " Quay "}, {"address": None}, {"is_active": True}):
            assert api.patch(f"/terminals/{terminal.pk}", nothing).status_code == 200
        assert row_of(terminal) == before

    def test_refuses_what_is_taken(self, api, terminal):
        other = TerminalFactory(organization=terminal.organization)
        before = row_of(other)
        for name, value in PLAIN.items():
            response = api.patch(f"/terminals/{other.pk}", {name: value})
            assert problem(response) == (409, "conflict")
            assert blamed(response) == {name}
        assert row_of(other) == before

    def test_does_not_reach_another_organizations(self, api, db):
        foreign = TerminalFactory()
        before, path = row_of(foreign), f"/terminals/{foreign.pk}"
        for response in (api.patch(path, {"name": "Mine"}), api.put(path, PLAIN), api.delete(path)):
            assert problem(response) == (404, "not-found")
        assert row_of(foreign) == before

    def test_tells_of_404_then_the_body_then_422_then_a_conflict(self, api, terminal):
        other = TerminalFactory(organization=terminal.organization)
        broken = '{"name": '
        assert problem(api.patch(f"/terminals/{uuid.uuid4()}", broken)) == (404, "not-found")
        path = f"/terminals/{other.pk}"
        assert problem(api.patch(path, broken)) == (400, "malformed-request")
        response = api.patch(path, PLAIN | {"timezone": "nowhere"})
        assert problem(response) == (422, "validation-error")
        assert problem(api.patch(path, PLAIN)) == (409, "conflict")


class TestDelete:
    def test_answers_204_and_it_is_gone(self, api, terminal):
        response = api.delete(f"/terminals/{terminal.pk}")
        assert (response.status_code, response.content) == (204, b"")
        assert problem(api.get(f"/terminals/{terminal.pk}")) == (404, "not-found")

    def test_refuses_while_orders_point_to_it(self, api, terminal):
        order = OrderFactory(terminal=terminal)
        response = api.delete(f"/terminals/{terminal.pk}")
        assert problem(response) == (409, "in-use")
        assert row_of(terminal)
        order.delete()
        assert api.delete(f"/terminals/{terminal.pk}").status_code == 204

    def test_is_refused_while_somebody_is_bound_to_it(self, api, terminal, dispatcher):
        """Who loses the last of its terminals would otherwise see all of them."""
        bound = UserFactory(organization=dispatcher.organization)
        terminal.staff.add(bound, through_defaults={"organization_id": terminal.organization_id})
        answer = api.delete(f"/terminals/{terminal.pk}")
        assert (answer.status_code, answer.json()["code"]) == (409, "in-use")
        terminal.staff.clear()
        assert api.delete(f"/terminals/{terminal.pk}").status_code == 204


class TestList:
    @pytest.fixture
    def found(self, api, dispatcher):
        here = {"organization": dispatcher.organization}
        TerminalFactory(**here, name="Bergen", account_code="B-1", address="Kaia 1")
        TerminalFactory(**here, name="bergen north", account_code="N", is_active=False)
        TerminalFactory(**here, name="Ålesund 100%", account_code="b-1")
        TerminalFactory(name="Bergen", account_code="B-1")  # another organization's

        def found(query):
            response = api.get(f"/terminals?{query}")
            assert response.status_code == 200
            return [each["name"] for each in response.json()["data"]]

        return found

    @pytest.mark.parametrize(
        ("query", "names"),
        [
            ("", ["Bergen", "bergen north", "Ålesund 100%"]),
            ("name=BERG", ["Bergen", "bergen north"]),
            ("name=%C3%A5LE", ["Ålesund 100%"]),
            ("name=%25", ["Ålesund 100%"]),
            ("name=_", []),
            ("name=", ["Bergen", "bergen north", "Ålesund 100%"]),
            ("account_code=B-1", ["Bergen"]),
            ("account_code=%20b-1%20", ["Ålesund 100%"]),
            ("account_code=B", []),
            ("is_active=true", ["Bergen", "Ålesund 100%"]),
            ("is_active=false", ["bergen north"]),
            ("q=kaia", ["Bergen"]),
            ("q=b-1", ["Bergen", "Ålesund 100%"]),
            ("q=NORTH&is_active=true", []),
            ("ordering=-name", ["Ålesund 100%", "bergen north", "Bergen"]),
            ("ordering=account_code", ["Bergen", "bergen north", "Ålesund 100%"]),
            ("ordering=-created_at", ["Ålesund 100%", "bergen north", "Bergen"]),
        ],
    )
    def test_finds(self, found, query, names):
        assert found(query) == names

    @pytest.mark.parametrize(
        ("query", "name"),
        [
            ("is_active=yes", "is_active"),
            ("account_code=", "account_code"),
            ("name=a&name=b", "name"),
            ("color=blue", "color"),
            ("timezone=UTC", "timezone"),
            ("ordering=timezone", "ordering"),
            ("ordering=id", "ordering"),
            (f"q={'x' * 201}", "q"),
        ],
    )
    def test_refuses_what_it_does_not_know(self, api, db, query, name):
        response = api.get(f"/terminals?{query}")
        assert problem(response) == (422, "validation-error")
        assert blamed(response) == {name}

    def test_shows_a_superuser_everyones(self, api_of, terminal):
        TerminalFactory()
        assert api_of(UserFactory(superuser=True)).get("/terminals").json()["total"] == 2
