"""Every status of the contract's table of errors, on every route where it can occur."""

import json
import re
from uuid import UUID, uuid4

import psycopg
import pytest
from django.conf import settings
from django.db import connection
from django.test import Client, RequestFactory
from rest_framework.exceptions import Throttled
from rest_framework.views import APIView

from core.api.errors import answer_to
from core.api.problems import PROBLEMS
from core.postgres.ownership import as_owner
from orders.models import Order
from tests.core.answers import blamed, problem
from tests.core.factories import UserFactory
from tests.core.resources import BY_NAME, ORDERS, RESOURCES, columns, row_counts
from tests.core.routes import METHODS, OPERATIONS, PRIVATE, ROUTES, WITH_BODY
from tests.fleet.factories import DriverFactory
from tests.orders.factories import OrderFactory

SECRET = "the-harbour-master-sleeps"

every_operation = pytest.mark.parametrize(
    ("route", "method"), OPERATIONS, ids=lambda value: str(value)
)
every_private_operation = pytest.mark.parametrize(
    ("route", "method"), PRIVATE, ids=lambda value: str(value)
)
every_route = pytest.mark.parametrize("route", ROUTES, ids=str)
DOCUMENT = "/{document_id}"
PARTS = ["content", "thumbnail", "text", "extract"]
STEPS = ("arrive", "depart", "cancel", "reopen")
# For what is the same for every address, those that are none included.
ADDRESSES = ["/orders", "/orders/5.5e-215", "/health", "/auth/token", "/docs", "/nothing", "/"]


@pytest.fixture
def organization(dispatcher):
    return dispatcher.organization


CHALLENGE = 'Bearer realm="dockside", Api-Key realm="dockside"'
# What every answer has of its own.
DIFFERING = dict.fromkeys(("X-Request-ID", "RateLimit"), "")


def refused(response, method: str, status: int, code: str | None = None) -> None:
    """As `problem`; an answer to HEAD has no body to look at."""
    if method == "HEAD":
        assert response.status_code == status
        assert response["Content-Type"] == "application/problem+json"
    else:
        problem(response, status, code)


def test_the_routes_are_those_of_the_contract():
    details = [f"/{resource.name}/{{id}}" for resource in RESOURCES]
    assert sorted(route.path for route in ROUTES) == sorted(
        [
            *(resource.path for resource in RESOURCES),
            *details,
            *(f"/orders/{{id}}/{step}" for step in STEPS),
            *("/health", "/health/live", "/health/ready", "/health/detailed"),
            *("/auth/token", "/auth/token/refresh", "/auth/logout", "/auth/me"),
            *("/orders/{id}/history", "/schema", "/docs", "/documents"),
            *(f"/orders/{{id}}/documents{rest}" for rest in ("", DOCUMENT)),
            *(f"/orders/{{id}}/documents{DOCUMENT}/{part}" for part in PARTS),
        ]
    )


class TestNotAuthenticated:
    @every_private_operation
    def test_comes_first_with_a_challenge(self, anonymous, organization, route, method):
        address = route.address(organization)
        for headers in ({}, {"HTTP_AUTHORIZATION": "Bearer x.y.z"}, {"HTTP_AUTHORIZATION": "x"}):
            response = anonymous.generic(method, address, b"{", "text/plain", **headers)
            refused(response, method, 401, "not-authenticated")
            assert response["WWW-Authenticate"] == CHALLENGE

    @pytest.mark.parametrize("path", ["/auth/token", "/auth/token/refresh"])
    def test_is_what_wrong_credentials_are(self, anonymous, path):
        body = {"username": "x", "password": "y"} if path == "/auth/token" else {"refresh": "x"}
        response = anonymous.post(path, body)
        problem(response, 401, "not-authenticated")
        assert response["WWW-Authenticate"] == 'Bearer realm="dockside"'

    def test_is_no_matter_where_nobody_has_to_sign_in(self, anonymous):
        for route, method in OPERATIONS:
            if route.is_public and method == "GET":
                bad = anonymous.get(route.path, HTTP_AUTHORIZATION="Bearer x.y.z")
                assert bad.status_code == 200


class TestPermissionDenied:
    @pytest.mark.parametrize(
        ("route", "method"),
        [each for each in PRIVATE if each[1] in {*WITH_BODY, "DELETE"}],
        ids=str,
    )
    def test_is_a_session_without_its_token_against_forgery(self, organization, route, method):
        client = Client(enforce_csrf_checks=True)
        client.force_login(UserFactory(organization=organization))
        address = "/api/v1" + route.address(organization)
        before = row_counts()
        problem(client.generic(method, address, b"{}", "application/json"), 403)
        assert row_counts() == before

    @pytest.mark.parametrize("resource", [each for each in RESOURCES if each != ORDERS], ids=str)
    def test_is_somebody_of_no_organization_who_makes_something(self, db, api_of, resource):
        superuser = UserFactory(superuser=True)
        problem(api_of(superuser).post(resource.path, resource.body(None)), 403)
        assert row_counts()[resource.name] == 0


class TestNotFound:
    @pytest.mark.parametrize(
        "path",
        [
            *("", "/", "/nothing", "/nothing/", "/orders/x/y", "/orders/arrive/x", "/order", "/v2"),
            *("/orders//", "/auth", "/auth/tokens", "/health/x", "/schema.json"),
            *("/admin", "/static/core/page.css", "/%00", "/\u00e6", "/%ff", "/a%0ab"),
        ],
    )
    def test_is_whatever_nobody_promised(self, api, anonymous, path):
        for client in (api, anonymous):
            for method in METHODS:
                refused(client.generic(method, "/api/v1" + path), method, 404, "not-found")

    @pytest.mark.parametrize(
        ("route", "method"), [each for each in PRIVATE if each[0].is_of_one_thing], ids=str
    )
    def test_is_a_thing_that_is_not_there_or_not_ones_own(self, api, route, method):
        own = route.address(DriverFactory().organization)
        nobodys = [str(uuid4()), str(uuid4()).upper(), "00000000-0000-0000-0000-000000000000"]
        no_ids = ["0", "-1", "1" * 4_000, "abc", "a.b", "5.5e-215", "%00", "%20", "None"]
        no_ids += [f"{uuid4()}%0a", f"%7b{uuid4()}%7d", uuid4().hex, f"urn:uuid:{uuid4()}"]
        no_ids += ["..%2f..%2fetc%2fpasswd", "%252e", "\u0660"]
        before = row_counts()
        told = set()
        for address in [own, *(route.path.format(id=each, document_id=each) for each in nobodys)]:
            response = api.generic(method, address, b"{}", "application/json")
            refused(response, method, 404, "not-found")
            body = response.content.replace(response["X-Request-ID"].encode(), b"")
            told.add((body, tuple(sorted({**response.headers, **DIFFERING}.items()))))
        assert len(told) == 1  # nobody learns that something is somebody else's
        for each in no_ids:
            address = route.path.format(id=each, document_id=each)
            response = api.generic(method, address, b"{}", "application/json")
            refused(response, method, 404, "not-found")
        assert row_counts() == before


class TestMethodNotAllowed:
    @every_route
    def test_names_those_that_are(self, api, organization, route):
        address = route.address(organization)
        before = row_counts()
        for method in METHODS:
            if method not in route.methods:
                for query in ("", "?unknown=1"):
                    response = api.generic(method, address + query, b"{", "text/plain")
                    refused(response, method, 405, "method-not-allowed")
                    assert set(response["Allow"].split(", ")) == {*route.methods}
        assert row_counts() == before

    def test_does_not_fall_for_another_method_in_disguise(self, api, organization):
        order = OrderFactory(terminal__organization=organization)
        for headers in (
            {"HTTP_X_HTTP_METHOD_OVERRIDE": "DELETE"},
            {"HTTP_X_METHOD_OVERRIDE": "DELETE"},
            {"HTTP_X_HTTP_METHOD": "DELETE"},
        ):
            problem(api.post(f"/orders/{order.pk}", {"_method": "DELETE"}, **headers), 405)
            assert api.get(f"/orders/{order.pk}", **headers).status_code == 200
        assert blamed(api.get("/orders?_method=DELETE")) == [("_method", "unknown-parameter")]


class TestNotAcceptable:
    @pytest.mark.parametrize(
        ("route", "method"),
        # A file is what it is.
        [each for each in OPERATIONS if not each[0].path.endswith(("/content", "/thumbnail"))],
        ids=str,
    )
    def test_is_whoever_wants_no_json(self, api, organization, route, method):
        address = route.address(organization)
        before = row_counts()
        wanted = "application/json" if route.path == "/docs" else "text/html"
        for accept in (wanted, "application/xml", "image/*", "x", "///;;;"):
            response = api.generic(method, address, b"{}", "application/json", HTTP_ACCEPT=accept)
            refused(response, method, 406, "not-acceptable")
        assert row_counts() == before

    @pytest.mark.parametrize(
        "accept",
        [
            *("application/json", "*/*", "application/*", "text/html, */*;q=0.1"),
            *("application/problem+json", "application/json; indent=4", "APPLICATION/JSON"),
        ],
    )
    def test_is_nobody_who_takes_json(self, api, accept):
        response = api.get("/orders", HTTP_ACCEPT=accept)
        assert (response.status_code, response["Content-Type"]) == (200, "application/json")
        problem(api.get(f"/orders/{uuid4()}", HTTP_ACCEPT=accept), 404)


class TestConflict:
    @pytest.mark.parametrize(
        ("name", "field", "value"),
        [
            ("terminals", "name", "The Quay"),
            ("terminals", "account_code", "TQ"),
            ("drivers", "phone", "+4790123456"),
            ("trucks", "license_plate", "AB12345"),
            ("trailers", "license_plate", "AB1234"),
            ("orders", "reference", "R-1"),
        ],
    )
    @pytest.mark.parametrize("method", WITH_BODY)
    def test_names_the_field_that_is_taken(self, api, organization, method, name, field, value):
        resource = BY_NAME[name]
        body = resource.body(organization)
        assert api.post(resource.path, body | {field: value}).status_code == 201
        path = resource.path
        if method != "POST":
            made = api.post(
                resource.path, resource.body(organization) if name != "orders" else body
            )
            if made.status_code == 409:  # the plain body is taken by now in another field
                rest = {key: f"{text}2" for key, text in body.items() if key != field}
                made = api.post(resource.path, body | rest)
            path += f"/{made.json()['id']}"
        sent = {field: value} if method == "PATCH" else body | {field: value}
        if name == "terminals" and method != "PATCH":
            sent |= {"name": "Another"} if field == "account_code" else {"account_code": "A"}
        before = row_counts()
        response = api.generic(method, path, json.dumps(sent), "application/json")
        assert blamed(response, 409, "conflict") == [(field, "taken")]
        assert row_counts() == before

    def test_is_nothing_between_organizations(self, api, api_of, organization):
        other = UserFactory()
        for resource in RESOURCES:
            for client, home in ((api, organization), (api_of(other), other.organization)):
                assert client.post(resource.path, resource.body(home)).status_code == 201


class TestInUse:
    @pytest.mark.parametrize("name", ["terminals", "drivers", "trucks", "trailers"])
    def test_is_what_an_order_points_to(self, api, organization, name):
        thing = BY_NAME[name].thing(organization)
        if name == "terminals":
            OrderFactory(terminal=thing)
        else:
            OrderFactory(terminal__organization=organization, **{f"eta_{name[:-1]}": thing})
        problem(api.delete(f"/{name}/{thing.pk}"), 409, "in-use")
        assert columns(thing)


class TestWrongStatusAndPrecondition:
    CHANGES = [
        *(("PUT", "", {}), ("PATCH", "", {"reference": "other"})),
        *(("POST", f"/{step}", {"reason": "x"} if step == "cancel" else {}) for step in STEPS),
    ]

    @pytest.mark.parametrize(("method", "path", "body"), CHANGES, ids=str)
    def test_are_told_apart(self, api, organization, method, path, body):
        state = {"departed": True} if path != "/reopen" else {}
        order = OrderFactory(terminal__organization=organization, **state)
        before = columns(order)
        address = f"/orders/{order.pk}{path}"
        body = json.dumps(body)
        wrong = api.generic(method, address, body, "application/json", HTTP_IF_MATCH='"v1"')
        problem(wrong, 409, "wrong-status")
        for tag in ('"v2"', 'W/"v1"', "v1", '"v01"', '""', ""):
            stale = api.generic(method, address, body, "application/json", HTTP_IF_MATCH=tag)
            told = problem(stale, 412, "precondition-failed")
            assert told["current_version"] == 1
        assert columns(order) == before

    def test_stand_against_deleting_by_an_older_version(self, api, organization):
        order = OrderFactory(terminal__organization=organization)
        stale = api.delete(f"/orders/{order.pk}", HTTP_IF_MATCH='"v2"')
        assert problem(stale, 412, "precondition-failed")["current_version"] == 1
        assert api.delete(f"/orders/{order.pk}", HTTP_IF_MATCH='"v1"').status_code == 204


class TestTheBodysForm:
    @pytest.mark.parametrize(
        ("route", "method"), [each for each in OPERATIONS if each[1] in WITH_BODY], ids=str
    )
    def test_is_judged_on_every_route_that_takes_one(self, api, organization, route, method):
        address = route.address(organization)
        before = row_counts()

        def send(body, content_type="application/json"):
            return api.generic(method, address, body, content_type)

        if (route.path, method) == ("/orders/{id}/documents", "POST"):  # no JSON: test_multipart
            problem(send(b"{}"), 415, "unsupported-media-type")
            return
        problem(send(b"{"), 400, "malformed-request")
        problem(send(b" " * (settings.MAX_BODY_BYTES + 1)), 413, "too-large")
        problem(send(b"{}", "text/plain"), 415, "unsupported-media-type")
        if not address.endswith(("/depart", "/reopen")):  # of a planned order: its status is first
            assert blamed(send(b'{"no_such_field": 1}'))
        assert row_counts() == before


class TestTheQuery:
    @pytest.mark.parametrize(
        ("route", "method"),
        # Probes and pages take whatever a balancer or a browser adds.
        [each for each in OPERATIONS if not each[0].is_public or each[1] == "POST"],
        ids=str,
    )
    def test_is_refused_where_it_says_something_unknown(self, api, organization, route, method):
        address = route.address(organization)
        before = row_counts()
        response = api.generic(method, f"{address}?colour=red", b"{}", "application/json")
        refused(response, method, 422, "validation-error")
        if method != "HEAD":
            assert ("colour", "unknown-parameter") in blamed(response)
        assert row_counts() == before

    @every_operation
    def test_is_refused_if_it_is_no_text(self, api, organization, route, method):
        address = route.address(organization)
        before = row_counts()
        for query in ("%ff", "q=%c3%28", "q=%00", "%00=1", "q=%ed%a0%80"):
            response = api.generic(method, f"{address}?{query}", b"{}", "application/json")
            refused(response, method, 422, "validation-error")
        assert row_counts() == before


class TestTheHost:
    @pytest.mark.parametrize(
        "host", ["evil.example", "a@b", "", "localhost,evil.example", "x" * 300]
    )
    @pytest.mark.parametrize("path", ADDRESSES)
    def test_is_refused_if_it_is_not_ours(self, anonymous, path, host):
        for method in ("GET", "POST"):
            response = anonymous.generic(method, f"/api/v1{path}", HTTP_HOST=host)
            problem(response, 400, "malformed-request")

    def test_is_refused_with_a_page_outside_the_api(self, client):
        response = client.get("/admin/", headers={"host": "evil.example"})
        assert response.status_code == 400
        assert response["Content-Type"].startswith("text/html")
        assert b"evil" not in response.content


class Broken:
    """A middleware that fails on every request."""

    def __init__(self, get_response):
        pass

    def __call__(self, request):
        raise RuntimeError(SECRET)


class BreaksAfterwards(Broken):
    """A middleware that fails once the view has answered."""

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        self.get_response(request)
        raise RuntimeError(SECRET)


class TestInternalError:
    @every_operation
    def test_tells_nothing_but_the_request_id(
        self, api, organization, monkeypatch, caplog, route, method
    ):
        address = route.address(organization)
        before = row_counts()

        def fail(*_args, **_kwargs):
            raise RuntimeError(SECRET)

        monkeypatch.setattr(APIView, "initial", fail)
        api.raise_request_exception = False
        response = api.generic(method, address, b"{}", "application/json")
        refused(response, method, 500, "internal-error")
        assert SECRET not in response.content.decode()
        assert row_counts() == before
        (line,) = (each.msg for each in caplog.records if each.name == "core.errors")
        assert line["request_id"] == response["X-Request-ID"]
        assert SECRET in str(line["exc_info"])

    @pytest.mark.parametrize("broken", ["Broken", "BreaksAfterwards"])
    @pytest.mark.parametrize("position", range(1, len(settings.MIDDLEWARE) + 1))
    def test_is_told_in_the_same_form_by_a_failing_middleware(
        self, anonymous, settings, broken, position
    ):
        name = f"{__name__}.{broken}"
        settings.MIDDLEWARE = [
            *settings.MIDDLEWARE[:position],
            name,
            *settings.MIDDLEWARE[position:],
        ]
        anonymous.handler.load_middleware()
        anonymous.raise_request_exception = False
        for path in ADDRESSES:
            response = anonymous.get(f"/api/v1{path}")
            problem(response, 500, "internal-error")
            assert SECRET not in response.content.decode()
        page = anonymous.generic("GET", "/api/../problems/conflict")
        assert page.status_code == 500

    def test_is_a_page_for_people_outside_the_api(self, client, settings):
        settings.MIDDLEWARE = [*settings.MIDDLEWARE, f"{__name__}.Broken"]
        client.handler.load_middleware()
        client.raise_request_exception = False
        response = client.get("/problems/conflict")
        assert response.status_code == 500
        assert response["Content-Type"].startswith("text/html")
        assert SECRET not in response.content.decode()
        assert response["X-Request-ID"]


def failing(error: psycopg.Error):
    """An `execute_wrapper` under which every statement of a view fails with `error`."""

    def execute(execute, sql, params, many, context):
        if sql.startswith(("SAVEPOINT", "RELEASE", "ROLLBACK")):
            return execute(sql, params, many, context)
        with connection.wrap_database_errors:
            raise error

    return connection.execute_wrapper(execute)


class TestUnavailable:
    @every_private_operation
    def test_is_every_route_that_asks_a_database_that_does_not_answer(
        self, api, organization, route, method
    ):
        address = route.address(organization)
        for error in (
            psycopg.OperationalError("connection to host 10.0.0.1 refused"),
            psycopg.errors.QueryCanceled("canceling statement due to statement timeout"),
        ):
            with failing(error):
                response = api.generic(method, address, b"{}", "application/json")
            refused(response, method, 503, "unavailable")
            assert int(response["Retry-After"]) >= 1
            assert "10.0.0.1" not in response.content.decode()

    @pytest.mark.parametrize("path", ["/auth/token", "/auth/token/refresh"])
    def test_is_signing_in_as_well(self, api, dispatcher, path):
        from rest_framework_simplejwt.tokens import RefreshToken

        body = {"username": dispatcher.username, "password": "x"}
        if path.endswith("refresh"):
            body = {"refresh": str(RefreshToken.for_user(dispatcher))}
        with failing(psycopg.OperationalError("gone")):
            response = api.post(path, body)
        problem(response, 503, "unavailable")
        assert int(response["Retry-After"]) >= 1

    def test_is_a_page_for_people_outside_the_api(self, client, dispatcher):
        client.force_login(dispatcher)
        client.raise_request_exception = False
        with failing(psycopg.OperationalError("gone")):
            response = client.get("/admin/")
        assert response.status_code == 503
        assert response["Content-Type"].startswith("text/html")
        assert int(response["Retry-After"]) >= 1


class TestRateLimited:
    @pytest.mark.parametrize(("wait", "seconds"), [(30, "30"), (0.2, "1"), (0, "1"), (None, "1")])
    def test_says_how_long_to_wait(self, wait, seconds):
        request = RequestFactory().get("/api/v1/orders")
        request.request_id = "r"
        response = answer_to(Throttled(wait), request)
        assert json.loads(response.content)["code"] == "rate-limited"
        assert (response.status_code, response["Retry-After"]) == (429, seconds)


class TestAPage:
    @pytest.mark.parametrize("code", PROBLEMS)
    def test_is_behind_the_type_of_each_problem(self, client, code):
        response = client.get(f"/problems/{code}")
        assert response.status_code == 200
        assert response["Content-Type"].startswith("text/html")
        page = response.content.decode()
        assert PROBLEMS[code].title in page.replace("&#x27;", "'")
        assert not re.search(r"(src|href)=\"(https?:)?//", page)

    def test_is_none_for_what_is_no_problem(self, client):
        for code in ("nothing", "x" * 500, "<script>", "%00", "CONFLICT"):
            response = client.get(f"/problems/{code}")
            assert response.status_code == 404
            assert b"<script>" not in response.content

    def test_is_what_people_see_of_an_unknown_address(self, client):
        response = client.get("/nothing?x=<script>")
        assert response.status_code == 404
        assert response["Content-Type"].startswith("text/html")
        assert b"<script>" not in response.content


def shown(response) -> str:
    """The request id of an answer, which is read to its end if it comes in parts."""
    if response.streaming:
        b"".join(response)
    return response["X-Request-ID"]


class TestTheRequestId:
    PLACES = ["/api/v1/health", "/api/v1/orders", "/api/v1/nothing", "/api/v1/docs", "/problems/x"]
    PLACES += ["/admin/", "/", "/static/core/page.css", "/api/v1/orders?%ff"]

    @pytest.mark.parametrize("given", ["a", "A-z.0_9", "x" * 128, "01a20686-17bd", "....", "-"])
    @pytest.mark.parametrize("place", PLACES)
    def test_is_the_callers(self, client, db, place, given):
        assert shown(client.get(place, headers={"X-Request-ID": given})) == given

    @pytest.mark.parametrize(
        "given",
        [
            "",
            " ",
            "x" * 129,
            "a b",
            "a\tb",
            "a;b",
            "a/b",
            "é",
            "١",
            "a\nb",
            "a\x00",
            "a,b",
            '"a"',
            "{}",
        ],
    )
    @pytest.mark.parametrize("place", PLACES)
    def test_is_a_new_one_if_the_callers_is_none(self, client, db, place, given):
        assert UUID(shown(client.get(place, headers={"X-Request-ID": given}))).version == 7

    def test_is_on_refusals_of_the_first_middleware_too(self, client):
        response = client.get(
            "/api/v1/orders", headers={"host": "evil.example", "X-Request-ID": "mine"}
        )
        assert problem(response, 400)["request_id"] == "mine"


@pytest.mark.django_db(transaction=True)
class TestARefusalAtTheVeryEnd:
    """PostgreSQL judges deferred foreign keys at COMMIT, when the view has long answered."""

    @pytest.fixture
    def elsewhere(self):
        """A second connection, which commits each statement at once."""
        info = connection.get_connection_params()
        with psycopg.connect(**{**info, "cursor_factory": None}, autocommit=True) as elsewhere:
            yield elsewhere

    def after(self, beginning: str, act):
        """An `execute_wrapper` that acts once behind the first statement that begins so."""
        acted = []

        def execute(execute, sql, params, many, context):
            result = execute(sql, params, many, context)
            if sql.startswith(beginning) and not acted:
                acted.append(sql)
                act()
            return result

        return connection.execute_wrapper(execute)

    @pytest.mark.parametrize(
        ("field", "name"),
        [
            *(
                (f"{leg}_{part}", f"{part}s")
                for leg in ("eta", "etd")
                for part in ("driver", "truck")
            ),
            *((f"{leg}_trailer", "trailers") for leg in ("eta", "etd")),
            ("terminal", "terminals"),
        ],
    )
    @pytest.mark.parametrize("method", WITH_BODY)
    def test_names_a_reference_that_vanished_meanwhile(
        self, api_of, elsewhere, method, field, name
    ):
        user = UserFactory()
        body = ORDERS.body(user.organization)
        thing = BY_NAME[name].thing(user.organization)
        path = "/orders"
        if method != "POST":
            path += f"/{OrderFactory(terminal__organization=user.organization).pk}"
        before = row_counts()["orders"], list(Order.objects.values())
        table = thing._meta.db_table
        with self.after(
            'INSERT INTO "orders_order"' if method == "POST" else 'UPDATE "orders_order"',
            lambda: elsewhere.execute(f"DELETE FROM {table} WHERE id = %s", [thing.pk]),
        ):
            sent = {f"{field}_id": str(thing.pk)}
            if method != "PATCH":
                sent = body | sent
            response = api_of(user).generic(method, path, json.dumps(sent), "application/json")
        told = [(f"{field}_id", "unknown-reference")]
        assert blamed(response, 422, "unknown-reference") == told
        assert (row_counts()["orders"], list(Order.objects.values())) == before

    def test_is_in_use_for_a_thing_that_was_needed_meanwhile(self, api_of, elsewhere):
        """What points to it was not there when Django looked, and is when PostgreSQL does."""
        user = UserFactory()
        order = OrderFactory(terminal__organization=user.organization)
        driver = DriverFactory(organization=user.organization)
        with self.after(
            'SELECT "orders_order"',
            lambda: connection.connection.execute(
                "UPDATE orders_order SET eta_driver_id = %s WHERE id = %s", [driver.pk, order.pk]
            ),
        ):
            response = api_of(user).delete(f"/drivers/{driver.pk}")
        problem(response, 409, "in-use")
        order.refresh_from_db()
        assert order.eta_driver_id is None
        assert columns(driver)

    @pytest.mark.parametrize("sqlstate", ["40001", "57014", "53100", "08006"])
    def test_is_unavailable_where_the_commit_itself_fails(self, api_of, sqlstate):
        user = UserFactory()
        with as_owner(), connection.cursor() as cursor:
            cursor.execute(
                "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION"
                f" 'host 10.0.0.1' USING ERRCODE = '{sqlstate}'; END$$;"
                "CREATE CONSTRAINT TRIGGER fails AFTER INSERT ON fleet_driver"
                " DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION fail()"
            )
        try:
            response = api_of(user).post("/drivers", {"name": "Kari"})
            problem(response, 503, "unavailable")
            assert int(response["Retry-After"]) >= 1
            assert row_counts()["drivers"] == 0
        finally:
            with as_owner(), connection.cursor() as cursor:
                cursor.execute("DROP FUNCTION fail CASCADE")

    def test_is_an_internal_error_where_nobody_foresaw_it(self, api_of, caplog):
        user = UserFactory()
        client = api_of(user)
        client.raise_request_exception = False
        with as_owner(), connection.cursor() as cursor:
            cursor.execute(
                "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS"
                f" $$BEGIN RAISE EXCEPTION '{SECRET}'; END$$;"
                "CREATE CONSTRAINT TRIGGER fails AFTER INSERT ON fleet_driver"
                " DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION fail()"
            )
        try:
            response = client.post("/drivers", {"name": "Kari"})
            assert SECRET not in response.content.decode()
            problem(response, 500, "internal-error")
            assert row_counts()["drivers"] == 0
        finally:
            with as_owner(), connection.cursor() as cursor:
                cursor.execute("DROP FUNCTION fail CASCADE")
