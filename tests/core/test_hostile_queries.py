"""Queries and paths that nobody should send: section 2b of docs/reliability.md, row by row.

What only a real server can be sent, tests/server/test_raw_http.py sends.
"""

import base64
import json
import time
from urllib.parse import quote
from uuid import uuid4

import pytest
from django.core import signing
from django.utils.http import urlencode
from django_filters.rest_framework import ChoiceFilter

from core.api.filters import (
    REPEATABLE,
    DayFilter,
    FlagFilter,
    IdFilter,
    InstantFilter,
    PartFilter,
    WholeFilter,
)
from fleet.api.views import DriverViewSet, TrailerViewSet, TruckViewSet
from orders.api.views import OrderViewSet
from orders.models import Order
from terminals.api.views import TerminalViewSet
from tests.core.answers import blamed, problem
from tests.core.factories import UserFactory
from tests.core.nasty import LONG, NASTY, PATTERNS, SQL
from tests.core.resources import BY_NAME, ORDERS, RESOURCES, row_counts
from tests.fleet.factories import DriverFactory, TruckFactory
from tests.orders.factories import OrderFactory
from tests.terminals.factories import TerminalFactory

VIEWS = {
    "terminals": TerminalViewSet,
    "drivers": DriverViewSet,
    "trucks": TruckViewSet,
    "trailers": TrailerViewSet,
    "orders": OrderViewSet,
}
every_list = pytest.mark.parametrize("resource", RESOURCES, ids=str)
SEARCHES = [
    *(("terminals", name) for name in ("q", "name", "account_code")),
    *(("drivers", name) for name in ("q", "name", "phone")),
    *((kind, name) for kind in ("trucks", "trailers") for name in ("q", "name", "license_plate")),
    *(("orders", name) for name in ("q", "reference")),
]


@pytest.fixture
def organization(dispatcher):
    return dispatcher.organization


@pytest.fixture
def ask(api):
    """Asks a list with these parameters; what is refused leaves the rows as they were."""

    def ask(resource, **parameters):
        return api.get(f"{resource.path}?{urlencode(parameters, doseq=True)}")

    return ask


@pytest.fixture
def refuses(ask):
    """Each value is refused for this parameter, and for nothing else."""

    def refuses(resource, parameter, *values, code=None):
        for value in values:
            told = blamed(ask(resource, **{parameter: value}), 422, "validation-error")
            assert [name for name, _ in told] == [parameter], (value, told)
            assert code in {None, told[0][1]}, (value, told)

    return refuses


class TestPages:
    @every_list
    def test_are_counted_in_plain_numbers_from_one_on(self, refuses, resource):
        wrong = [
            "-1",
            "0",
            "abc",
            "1.5",
            "",
            " 1",
            "1 ",
            "+1",
            "1_0",
            "٣",
            "１",
            "1e1",
            "0x1",
            "1,2",
        ]
        refuses(resource, "page", *wrong, "9" * 3_000, str(10**30), code="invalid")
        refuses(resource, "page", str(10**12), "501", code="too-deep")

    @every_list
    def test_have_one_to_a_hundred_rows(self, ask, refuses, resource):
        refuses(resource, "per_page", "0", "-1", "abc", "", "1.0", "٣", code="invalid")
        refuses(resource, "per_page", "101", str(10**9), str(10**19), code="max_value")
        for size in ("1", "100", "007"):
            assert ask(resource, per_page=size).json()["per_page"] == int(size)

    @every_list
    def test_behind_the_last_are_empty(self, ask, organization, resource):
        resource.thing(organization)
        answer = ask(resource, page=2, per_page=100).json()
        assert (answer["data"], answer["next"]) == ([], None)


class TestACursor:
    def test_is_refused_unless_it_was_given_out(self, refuses, organization):
        OrderFactory.create_batch(3, terminal__organization=organization)
        noise = base64.urlsafe_b64encode(bytes(range(256))).decode()
        offsets = [b"p=abc", b"p=\0", b"o=1000000000", b"r=1&p=2026-01-01"]
        forged = [base64.b64encode(raw).decode() for raw in offsets]
        refuses(
            ORDERS,
            "cursor",
            *("abc", ":", "::", "a:b", "a:b:c", "....", "%", "0", "null", "[]", "x" * 3_000, noise),
            *forged,
            *SQL,
            "👍:👍:👍",
            code="invalid",
        )

    @pytest.mark.parametrize(
        "position",
        [
            None,
            [],
            {},
            "x",
            [1, 2, 3],
            [1, 2, 3, 4],
            [1, "walk", 0, []],
            [1, "walk", 0, [None]],
            [[[[]]]],
        ],
        ids=str,
    )
    def test_is_refused_even_if_it_is_signed_by_us_for_something_else(self, refuses, position):
        for salt in ("cursor", "other"):
            refuses(ORDERS, "cursor", signing.dumps(position, salt=salt), code="invalid")

    def test_is_refused_cut_or_touched(self, api, refuses, organization):
        OrderFactory.create_batch(2, terminal__organization=organization)
        following = api.get("/orders?cursor=&per_page=1").json()["next"]
        cursor = following.split("cursor=")[1].split("&")[0]
        for touched in (cursor[:-1], cursor[1:], cursor.swapcase(), cursor + "A", cursor * 2):
            told = blamed(api.get(f"/orders?per_page=1&cursor={touched}"))
            assert told == [("cursor", "invalid")]

    def test_leads_nobody_into_another_list_or_organization(self, api, api_of, organization):
        OrderFactory.create_batch(2, terminal__organization=organization)
        stranger = UserFactory()
        OrderFactory.create_batch(2, terminal__organization=stranger.organization)
        following = api.get("/orders?cursor=&per_page=1").json()["next"]
        assert blamed(api_of(stranger).get(following)) == [("cursor", "invalid")]
        for other in ("/drivers", "/terminals"):
            assert blamed(api.get(following.replace("/orders", other))) == [("cursor", "invalid")]
        for change in ("&status=planned", "&ordering=reference", "&q=x"):
            assert blamed(api.get(following + change)) == [("cursor", "invalid")]


class TestAnUnknownParameter:
    NAMES = [
        *("colour", "Status", "status ", " status", "status__in", "status[]", "status[$ne]", "id"),
        *("pk", "organization", "organization_id", "terminal__organization__name", "user"),
        *("created_by__password__startswith", "_connector", "_negated", "format", "limit"),
        *("offset", "page_size", "fields", "include", "_method", "callback", "token", "per-page"),
        *("terminal", "eta_date__gte", "eta_date_form", "'", "1=1", "a;b", "q;page", "\u200b", "é"),
    ]

    @every_list
    def test_is_refused_by_its_name(self, api, organization, resource):
        resource.thing(organization)
        for name in self.NAMES:
            told = blamed(api.get(f"{resource.path}?{quote(name, safe='')}=x"))
            assert told == [(name, "unknown-parameter")]

    def test_is_refused_beside_good_ones(self, api):
        told = blamed(api.get("/orders?status=planned&b=1&a=1&page=1"))
        assert told == [("a", "unknown-parameter"), ("b", "unknown-parameter")]

    def test_is_refused_without_a_name(self, api):
        assert blamed(api.get("/orders?=x")) == [(None, "unknown-parameter")]

    def test_is_not_made_by_a_semicolon(self, api):
        assert blamed(api.get("/orders?status=planned;page=2")) == [("status", "invalid_choice")]


class TestOrdering:
    @every_list
    def test_knows_only_what_is_offered(self, refuses, resource):
        wrong = [
            "colour",
            "?",
            "",
            "-",
            ",",
            "--created_at",
            "created_at,",
            ",created_at",
            "pk",
            "id",
        ]
        wrong += [
            "created_at desc",
            "created_at;drop table",
            "CREATED_AT",
            " created_at",
            "+created_at",
        ]
        wrong += ["organization", "organization__name", "terminal__name", "organization_id", "-id"]
        wrong += ["created_at__year", "random()", "1", "created_at,password", *SQL]
        refuses(resource, "ordering", *wrong, code="invalid_choice")

    @every_list
    def test_names_each_field_once(self, ask, refuses, resource):
        refuses(
            resource,
            "ordering",
            "created_at,created_at",
            "created_at,-created_at",
            ",".join(["created_at"] * 50),
            code="repeated",
        )
        for field in VIEWS[resource.name].ordering_fields:
            for name in (field, f"-{field}"):
                assert ask(resource, ordering=name).status_code == 200

    @every_list
    def test_is_given_once(self, ask, resource):
        told = blamed(ask(resource, ordering=["created_at", "-created_at"]))
        assert [name for name, _ in told] == ["ordering"]


class TestAParameterGivenTwice:
    SAMPLES = {
        DayFilter: "2026-01-01",
        InstantFilter: "2026-01-01T00:00:00Z",
        FlagFilter: "true",
        IdFilter: str(uuid4()),
        PartFilter: "x",
        WholeFilter: "x",
        ChoiceFilter: "today",
    }

    @every_list
    def test_is_refused_unless_it_may_be_repeated(self, api, resource):
        for name, each in VIEWS[resource.name].filterset_class.base_filters.items():
            if not isinstance(each, REPEATABLE):
                once = f"{resource.path}?{name}={self.SAMPLES[type(each)]}"
                assert api.get(once).status_code == 200, name
                told = blamed(api.get(f"{once}&{name}={self.SAMPLES[type(each)]}"))
                assert told == [(name, "repeated")]
        for name in ("page", "per_page", "cursor"):
            told = blamed(api.get(f"{resource.path}?{name}=1&{name}=1"))
            assert (name, "repeated") in told

    def test_means_any_of_them_where_it_may(self, ask, organization):
        OrderFactory(terminal__organization=organization)
        OrderFactory(terminal__organization=organization, arrived=True)
        OrderFactory(terminal__organization=organization, departed=True)
        assert ask(ORDERS, status=["planned", "arrived"]).json()["total"] == 2
        assert ask(ORDERS, status=["planned", "planned"]).json()["total"] == 1
        assert blamed(ask(ORDERS, status=["planned", "x"])) == [("status", "invalid_choice")]


class TestAFilter:
    def test_takes_ids_in_their_canonical_form(self, ask, refuses):
        canonical = str(uuid4())
        wrong = ["", "1", str(2**70), "abc", canonical.replace("-", ""), f"{{{canonical}}}", "None"]
        wrong += [f"urn:uuid:{canonical}", f" {canonical}", f"{canonical}\n", canonical + "0", *SQL]
        for name in ("driver_id", "truck_id", "trailer_id", "terminal_id"):
            refuses(ORDERS, name, *wrong, code="invalid-id")
            for nobody in (canonical, canonical.upper(), "0" * 8 + "-0000-0000-0000-" + "0" * 12):
                assert ask(ORDERS, **{name: nobody}).json()["data"] == []

    def test_takes_days_of_the_calendar(self, ask, refuses):
        wrong = [
            "",
            "x",
            "2026-02-30",
            "2026-1-1",
            "20260101",
            "0000-01-01",
            "10000-01-01",
            "today",
        ]
        wrong += ["2026-01-01T00:00:00Z", " 2026-01-01", "２０２６-01-01", "1770000000", *SQL]
        for leg in ("eta", "etd"):
            for name in (f"{leg}_date", f"{leg}_date_from", f"{leg}_date_until"):
                refuses(ORDERS, name, *wrong, code="invalid-date")
                for day in ("0001-01-01", "9999-12-31", "2028-02-29"):
                    assert ask(ORDERS, **{name: day}).status_code == 200
        refuses(ORDERS, "on", *wrong, code="invalid-date")

    def test_takes_instants_with_their_offset(self, ask, refuses):
        wrong = ["", "x", "2026-01-01", "2026-01-01T00:00:00", "2026-01-01T00:00Z", "1770000000"]
        wrong += ["9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00", "2026-01-01T24:00:00Z"]
        wrong += ["NaN", "1e99999", str(10**30), *SQL]
        for name in ("created_at_from", "created_at_until", "updated_since"):
            refuses(ORDERS, name, *wrong, code="invalid-instant")
            for instant in ("0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z"):
                assert ask(ORDERS, **{name: instant}).status_code == 200

    def test_takes_true_or_false(self, refuses):
        wrong = ["", "1", "0", "True", "FALSE", "yes", "null", " true", "true\n", *SQL]
        for name in ("priority", "in_terminal", "active"):
            refuses(ORDERS, name, *wrong, code="invalid")
        for name in ("terminals", "drivers", "trucks", "trailers"):
            refuses(BY_NAME[name], "is_active", *wrong, code="invalid")

    def test_takes_the_choices_there_are(self, refuses):
        wrong = ["", "x", "PLANNED", " planned", "planned,arrived", "None", "null", *SQL]
        for name in ("service", "status", "commodity", "period"):
            refuses(ORDERS, name, *wrong, code="invalid_choice")

    def test_refuses_a_range_that_ends_before_it_begins(self, ask):
        for leg in ("eta", "etd"):
            backwards = {f"{leg}_date_from": "2026-02-02", f"{leg}_date_until": "2026-02-01"}
            assert blamed(ask(ORDERS, **backwards)) == [(f"{leg}_date_until", "reversed")]
            backwards[f"{leg}_date_until"] = "2026-02-02"
            assert ask(ORDERS, **backwards).status_code == 200
        instants = {
            "created_at_from": "2026-02-02T00:00:01Z",
            "created_at_until": "2026-02-02T01:00:00+01:00",
        }
        assert blamed(ask(ORDERS, **instants)) == [("created_at_until", "reversed")]

    def test_is_told_beside_the_others(self, ask):
        told = blamed(ask(ORDERS, eta_date="x", priority="x", service="x", driver_id="x"))
        assert [name for name, _ in told] == ["driver_id", "eta_date", "priority", "service"]

    def test_finds_nothing_of_others_by_their_ids(self, ask, organization):
        stranger = UserFactory().organization
        driver = DriverFactory(organization=stranger)
        theirs = OrderFactory(terminal__organization=stranger, eta_driver=driver)
        OrderFactory(terminal__organization=organization)
        assert ask(ORDERS, driver_id=driver.pk).json()["data"] == []
        assert ask(ORDERS, terminal_id=theirs.terminal_id).json()["data"] == []
        assert ask(ORDERS, reference=theirs.reference).json()["data"] == []
        assert ask(ORDERS, q=theirs.reference).json()["data"] == []


class TestASearch:
    @pytest.mark.parametrize(("name", "parameter"), SEARCHES)
    def test_takes_nasty_texts_for_what_they_are(self, ask, organization, name, parameter):
        """It finds what a plain text without a match finds: nothing; and changes nothing."""
        resource = BY_NAME[name]
        for _ in range(2):
            resource.thing(organization)
        resource.thing(UserFactory().organization)
        before = row_counts()
        for nasty in NASTY:
            began = time.perf_counter()
            response = ask(resource, **{parameter: nasty})
            assert time.perf_counter() - began < 5
            if response.status_code != 200:
                assert [field for field, _ in blamed(response)] == [parameter]
                continue
            for thing in response.json()["data"]:  # a digit or a letter may well be found
                shown = json.dumps(thing, ensure_ascii=False).lower()
                plain = "".join(char for char in nasty.lower() if char.isalnum())
                assert plain, nasty
                assert plain in "".join(char for char in shown if char.isalnum())
        assert row_counts() == before

    @pytest.mark.parametrize(
        "wildcard", ["%", "_", "\\", "%%", "__", "a%c", "a_c", "\\%", ".*", "[a-z]"]
    )
    def test_knows_no_wildcards(self, ask, organization, wildcard):
        for reference in ("abc", "abcd", f"x{wildcard}y"):
            OrderFactory(terminal__organization=organization, reference=reference)
        found = [each["reference"] for each in ask(ORDERS, q=wildcard).json()["data"]]
        assert found == [f"x{wildcard}y"]
        TerminalFactory(organization=organization, name=f"Quay {wildcard}")
        found = [each["name"] for each in ask(BY_NAME["terminals"], q=wildcard).json()["data"]]
        assert found == [f"Quay {wildcard}"]

    @pytest.mark.parametrize(("name", "parameter"), SEARCHES)
    def test_is_at_most_200_characters(self, ask, refuses, name, parameter):
        resource = BY_NAME[name]
        for text in LONG:
            assert ask(resource, **{parameter: text}).status_code == 200
            assert ask(resource, **{parameter: f" {text}\t"}).status_code == 200
            refuses(resource, parameter, text + "x", code="max_length")
        refuses(resource, parameter, "x" * 4_000, " ".join(["ab"] * 1_900), code="max_length")

    @pytest.mark.parametrize("emptiness", ["", " ", "\t\n", "\u00a0\u2003"])
    def test_for_nothing_filters_nothing(self, ask, refuses, organization, emptiness):
        for resource in RESOURCES:
            resource.thing(organization)
            total = resource.model._default_manager.count()
            assert ask(resource, q=emptiness).json()["total"] == total
        refuses(ORDERS, "reference", emptiness, code="required")
        refuses(BY_NAME["terminals"], "account_code", emptiness, code="required")

    def test_of_a_plate_made_of_gaps_finds_none_by_their_plate(self, ask, organization):
        TruckFactory(organization=organization)
        for gaps in ("-", " - - ", "\u2013"):
            assert ask(BY_NAME["trucks"], license_plate=gaps).json()["total"] in {0, 1}
            assert ask(BY_NAME["trucks"], q=gaps).json()["total"] == 0

    def test_takes_no_longer_for_many_words(self, ask, organization):
        OrderFactory.create_batch(20, terminal__organization=organization)
        began = time.perf_counter()
        assert ask(ORDERS, q=" ".join(["ab"] * 66)).json()["total"] == 0
        assert time.perf_counter() - began < 5


class TestThePath:
    @pytest.mark.parametrize("nasty", [*SQL[:12], *PATTERNS[:6], "../../etc/passwd", "{{7*7}}"])
    def test_with_a_nasty_id_finds_nothing(self, api, organization, nasty):
        OrderFactory(terminal__organization=organization)
        before = list(Order.objects.values())
        for resource in RESOURCES:
            for method in ("GET", "PUT", "PATCH", "DELETE"):
                path = f"{resource.path}/{quote(nasty, safe='')}"
                response = api.generic(method, path, b"{}", content_type="application/json")
                problem(response, 404, "not-found")
        assert list(Order.objects.values()) == before

    @pytest.mark.parametrize("resource", RESOURCES, ids=str)
    def test_is_the_same_with_a_last_slash(self, api, organization, resource):
        thing = resource.thing(organization)
        body = resource.body(organization)
        shown = api.get(f"{resource.path}/{thing.pk}").json()
        assert api.get(f"{resource.path}/{thing.pk}/").json() == shown
        listed = api.get(f"{resource.path}/")
        assert (listed.status_code, listed.json()) == (200, api.get(resource.path).json())
        made = api.post(f"{resource.path}/", body)
        assert made.status_code == 201
        assert made["Location"] == f"/api/v1{resource.path}/{made.json()['id']}"
        assert api.patch(f"{resource.path}/{thing.pk}/", {}).json() == shown
        assert api.delete(f"{resource.path}/{thing.pk}/").status_code == 204

    def test_is_the_same_with_a_last_slash_for_tokens_steps_and_health(self, api, organization):
        order = OrderFactory(terminal__organization=organization)
        assert api.post(f"/orders/{order.pk}/arrive/").status_code == 200
        assert blamed(api.post("/auth/token/", {}))
        for path in ("/health/", "/health/live/", "/health/ready/", "/schema/"):
            assert api.get(path).status_code == 200

    def test_may_be_written_in_capitals_where_it_is_an_id(self, api, organization):
        order = OrderFactory(terminal__organization=organization)
        assert api.get(f"/orders/{str(order.pk).upper()}").json()["id"] == str(order.pk)
        problem(api.get(f"/ORDERS/{order.pk}"), 404)


class TestMethodsInDisguise:
    @pytest.mark.parametrize("path", ["/orders", "/drivers"])
    def test_head_is_get_without_a_body(self, api, organization, path):
        BY_NAME[path[1:]].thing(organization)
        head, get = api.generic("HEAD", path), api.get(path)
        assert (head.status_code, head.content) == (200, b"")
        assert head["Content-Type"] == get["Content-Type"]

    @pytest.mark.parametrize("path", ["/auth/token", "/auth/token/refresh"])
    def test_head_is_refused_where_there_is_only_post(self, anonymous, path):
        response = anonymous.generic("HEAD", path)
        assert (response.status_code, response["Allow"]) == (405, "POST")


class TestOtherOrigins:
    ORIGINS = ["https://evil.example", "null", "http://localhost.evil.example", "http://testserver"]

    @pytest.mark.parametrize("origin", ORIGINS)
    def test_are_told_nothing(self, api, organization, origin):
        order = OrderFactory(terminal__organization=organization)
        for method, path in (
            ("GET", "/orders"),
            ("GET", "/schema"),
            ("POST", "/orders"),
            ("PATCH", f"/orders/{order.pk}"),
            ("OPTIONS", "/orders"),
            ("OPTIONS", "/auth/token"),
            ("GET", "/nothing"),
        ):
            response = api.generic(
                method,
                path,
                b"{}",
                content_type="application/json",
                HTTP_ORIGIN=origin,
                HTTP_ACCESS_CONTROL_REQUEST_METHOD="DELETE",
                HTTP_ACCESS_CONTROL_REQUEST_HEADERS="authorization",
            )
            assert not [name for name in response.headers if name.startswith("Access-Control")]
            assert (response.status_code == 405) == (method == "OPTIONS")


class TestLanguages:
    @pytest.mark.parametrize(
        "languages",
        ["xx-yy," * 1_300, "a" * 500, "de-" + "x" * 8_000, "*;q=NaN", "\x00", "../../x"],
    )
    def test_cost_no_time_and_change_no_word(self, api, languages):
        plain = api.get("/orders?page=x").json()
        began = time.perf_counter()
        answer = api.get("/orders?page=x", HTTP_ACCEPT_LANGUAGE=languages).json()
        assert time.perf_counter() - began < 5
        assert answer["errors"] == plain["errors"]
