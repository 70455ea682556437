"""Lists page by page and by cursor, on the list of orders, which has everything a list can have."""

import itertools
import json
from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.core import signing
from django.db import connection, connections
from django.db.models import Value
from django.db.models.functions import Concat
from rest_framework.request import Request
from rest_framework.test import APIRequestFactory

from core.api import pagination
from core.api.found import Found
from core.api.ordering import Key, StrictOrdering
from core.api.pagination import ContractPagination, rows_after
from core.models import User
from core.postgres.ownership import as_owner
from orders.api.views import OrderViewSet
from orders.models import Order
from tests.core.factories import OrganizationFactory, UserFactory
from tests.orders.factories import OrderFactory
from tests.terminals.factories import TerminalFactory

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
ONE_DAY = timedelta(days=1)
FIELDS = OrderViewSet.ordering_fields
SINGLE = [sign + name for name in FIELDS for sign in ("", "-")]
PAIRS = [
    f"{one},{other}"
    for one, other in itertools.product(SINGLE, SINGLE)
    if one.strip("-") != other.strip("-")
]


def copies(order: Order, count: int, **columns: str) -> None:
    """Insert copies of `order`, numbered n; `columns` are SQL by column."""
    columns = {"id": "gen_random_uuid()", **columns}
    names = [field.column for field in Order._meta.concrete_fields]
    values = [columns.get(name, f"t.{name}") for name in names]
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO orders_order ({', '.join(names)}) SELECT {', '.join(values)}"
            f" FROM orders_order t, generate_series(1, {count}) n WHERE t.id = %s",
            [order.pk],
        )


def refused(response: Any, field: str) -> bool:
    problem = response.json()
    assert (response.status_code, problem["code"]) == (422, "validation-error")
    return [error["field"] for error in problem["errors"]] == [field]


def ids(response: Any) -> list[str]:
    return [each["id"] for each in response.json()["data"]]


def walk(api: Any, address: str | None) -> list[str]:
    """Follow `next` to the end; the ids as they came."""
    seen = []
    while address:
        response = api.get(address)
        assert response.status_code == 200
        seen += ids(response)
        address = response.json()["next"]
    return seen


@pytest.fixture(scope="module")
def crowd(django_db_setup, django_db_blocker):
    """24,001 orders: terminal `even` has 10,000 of them, `odd` 10,001 and `small` 4,000.

    Created three at a time; every tenth is stored, without one of its days; every twentieth urgent.
    """
    day = "date '2026-01-01' + (n * 7919) %% 300"
    instant = "timestamptz '2026-01-01 00:00Z' + interval '1 minute' * "
    with django_db_blocker.unblock():
        user = UserFactory()
        even, odd, small = TerminalFactory.create_batch(3, organization=user.organization)
        for terminal, count in ((even, 10_000), (odd, 10_001), (small, 4_000)):
            first = OrderFactory(terminal=terminal)
            copies(
                first,
                count,
                reference="'R-' || (n * 7919) %% 100003",
                service="CASE WHEN n %% 10 < 2 THEN 'into_plukk_storage' ELSE 'cross_dock' END",
                eta_date=f"CASE WHEN n %% 10 <> 0 THEN {day} END",
                etd_date=f"CASE WHEN n %% 10 <> 1 THEN {day} + 1 END",
                eta_driver_name="CASE WHEN n %% 10 <> 0 THEN 'Driver ' || n ELSE '' END",
                eta_truck_plate="CASE WHEN n %% 10 <> 0 THEN 'TK' || 10000 + n ELSE '' END",
                priority="n %% 20 = 0",
                status="CASE WHEN n %% 50 = 3 THEN 'arrived' ELSE 'planned' END",
                arrived_at=f"CASE WHEN n %% 50 = 3 THEN {instant} n END",
                created_at=f"{instant} (n / 3)",
                updated_at=f"{instant} (n * 31 %% 30011)",
            )
            first.delete()
        with as_owner(), connections["default"].cursor() as cursor:
            cursor.execute("VACUUM ANALYZE orders_order")
        yield SimpleNamespace(user=user, even=even, odd=odd, small=small)
        with connection.cursor() as cursor:
            organization = user.organization_id
            for table in ("orders_order", "terminals_terminal", "core_user"):
                cursor.execute(f"DELETE FROM {table} WHERE organization_id = %s", [organization])
            cursor.execute("DELETE FROM core_organization WHERE id = %s", [organization])


@pytest.fixture
def crowd_api(crowd, db, api_of):
    return api_of(crowd.user)


@pytest.fixture
def terminal(dispatcher):
    return TerminalFactory(organization=dispatcher.organization)


@pytest.fixture
def forty(terminal):
    """Forty-two orders with few values to sort by: each column has ties, the days have gaps."""
    beside = TerminalFactory(organization=terminal.organization)
    days: list[date | None] = [None, date(2026, 11, 23), date(2026, 11, 25)]
    orders = []
    for number in range(42):
        eta, etd = days[number % 3], days[(number // 3) % 3]
        if eta is etd is None:
            eta = days[1]
        if eta and etd and eta > etd:
            eta, etd = etd, eta
        orders.append(
            OrderFactory.build(
                terminal=(terminal, beside)[number % 2],
                organization=terminal.organization,
                reference=f"R-{number // 2 % 20}{'x' * (number // 40)}",
                service="cross_dock" if eta and etd else "into_plukk_storage",
                eta_date=eta,
                etd_date=etd,
                priority=number % 5 == 0,
                created_at=NOON + timedelta(seconds=number * 17 % 7),
                updated_at=NOON + timedelta(seconds=number * 13 % 5, microseconds=number % 2),
            )
        )
    Order.objects.bulk_create(orders)
    return list(Order.objects.filter(organization=terminal.organization))


def in_order(orders: list[Order], ordering: str) -> list[str]:
    """What the contract says: nulls last both ways, ties by id in the last field's direction."""
    names = ordering.split(",")
    names.append("-id" if names[-1].startswith("-") else "id")
    rows = list(orders)
    for name in reversed(names):
        plain = name.removeprefix("-")
        there = [row for row in rows if getattr(row, plain) is not None]
        there.sort(key=lambda row: getattr(row, plain), reverse=name.startswith("-"))
        rows = there + [row for row in rows if getattr(row, plain) is None]
    return [str(row.pk) for row in rows]


class TestPages:
    def test_have_the_contracts_envelope(self, api, terminal):
        OrderFactory.create_batch(5, terminal=terminal)
        envelope = api.get("/orders?per_page=2&page=2").json()
        assert len(envelope.pop("data")) == 2
        assert envelope == {
            "page": 2,
            "per_page": 2,
            "total": 5,
            "total_exact": True,
            "pages": 3,
            "next": "/api/v1/orders?per_page=2&page=3",
            "previous": "/api/v1/orders?per_page=2&page=1",
        }

    def test_begin_with_twenty(self, api, terminal):
        OrderFactory.create_batch(21, terminal=terminal)
        first = api.get("/orders").json()
        assert len(first["data"]) == first["per_page"] == 20
        assert (first["page"], first["pages"], first["total"]) == (1, 2, 21)
        assert (first["next"], first["previous"]) == ("/api/v1/orders?page=2&per_page=20", None)
        last = api.get(first["next"]).json()
        assert len(last["data"]) == 1
        assert last["next"] is None
        assert ids(api.get(last["previous"])) == [each["id"] for each in first["data"]]

    @pytest.mark.parametrize("count", [0, 1, 2, 3, 4])
    def test_count_right_around_their_edge(self, api, terminal, count):
        OrderFactory.create_batch(count, terminal=terminal)
        page = api.get("/orders?per_page=2").json()
        assert (page["total"], page["total_exact"]) == (count, True)
        assert page["pages"] == -(-count // 2)
        assert (page["next"] is not None) is (count > 2)
        assert len(walk(api, "/api/v1/orders?per_page=2")) == count

    def test_past_the_end_are_empty(self, api, terminal):
        OrderFactory.create_batch(3, terminal=terminal)
        for page in (3, 5_000):
            past = api.get(f"/orders?per_page=2&page={page}").json()
            assert past["data"] == []
            assert (past["total"], past["pages"], past["next"]) == (3, 2, None)
            assert past["page"] == page
        assert api.get(api.get("/orders?per_page=2&page=3").json()["previous"]).json()["data"]

    def test_keep_filters_and_ordering_in_their_addresses(self, api, terminal):
        OrderFactory.create_batch(3, terminal=terminal)
        given = "status=planned&status=arrived&q=ref%20%26&ordering=-reference&per_page=1"
        OrderFactory.create_batch(3, terminal=terminal, notes="Ref & more")
        address = api.get(f"/orders?{given}").json()["next"]
        split = urlsplit(address)
        assert (split.scheme, split.netloc, split.path) == ("", "", "/api/v1/orders")
        assert parse_qs(split.query) == {**parse_qs(given), "page": ["2"]}
        assert len(set(walk(api, f"/orders?{given}"))) == 3

    @pytest.mark.parametrize("name", ["page", "per_page"])
    @pytest.mark.parametrize(
        "value",
        ["0", "-1", "abc", "1.5", "", " 1", "+1", "1e1", "٢", "9" * 3_000, "%001", "1,2"],
    )
    def test_refuse_what_is_no_number(self, api, terminal, name, value):
        response = api.get(f"/orders?{name}={value}")
        assert response.status_code == 422
        assert refused(response, name) or value == "%001"

    def test_refuse_more_than_a_hundred_rows(self, api, terminal):
        assert api.get("/orders?per_page=100").status_code == 200
        assert refused(api.get("/orders?per_page=101"), "per_page")

    @pytest.mark.parametrize(
        ("page", "per_page"), [(100, 100), (500, 20), (10_000, 1), (333, 30), (3_333, 3)]
    )
    def test_are_served_up_to_the_ten_thousandth_row(self, api, terminal, page, per_page):
        assert api.get(f"/orders?page={page}&per_page={per_page}").status_code == 200
        response = api.get(f"/orders?page={page + 1}&per_page={per_page}")
        assert refused(response, "page")
        assert "cursor" in response.json()["errors"][0]["message"]

    def test_refuse_a_cursor_beside(self, api, terminal):
        assert refused(api.get("/orders?page=1&cursor="), "page")

    @pytest.mark.parametrize("name", ["page", "per_page", "cursor", "ordering"])
    def test_refuse_a_parameter_given_twice(self, api, terminal, name):
        value = {"ordering": "reference", "cursor": ""}.get(name, "1")
        assert refused(api.get(f"/orders?{name}={value}&{name}={value}"), name)

    def test_stop_counting_at_ten_thousand(self, crowd_api, crowd):
        exactly = crowd_api.get(f"/orders?terminal_id={crowd.even.pk}&per_page=1").json()
        assert (exactly["total"], exactly["total_exact"]) == (10_000, True)
        assert exactly["pages"] == 10_000

        beyond = crowd_api.get(f"/orders?terminal_id={crowd.odd.pk}&per_page=1").json()
        assert (beyond["total"], beyond["total_exact"]) == (10_000, False)
        assert beyond["pages"] is None
        assert beyond["next"] is not None

    def test_end_where_they_are_no_longer_served(self, crowd_api, crowd):
        for terminal, exact in ((crowd.even, True), (crowd.odd, False)):
            path = f"/orders?terminal_id={terminal.pk}&per_page=100"
            last = crowd_api.get(f"{path}&page=100").json()
            assert (len(last["data"]), last["next"]) == (100, None)
            assert (last["total"], last["total_exact"]) == (10_000, exact)


class TestOrdering:
    @pytest.mark.parametrize("ordering", [*SINGLE, *PAIRS[::7]])
    def test_puts_nulls_last_and_ties_by_id(self, api, forty, ordering):
        assert ids(api.get(f"/orders?ordering={ordering}&per_page=100")) == in_order(
            forty, ordering
        )

    def test_is_newest_first_unless_told(self, api, forty):
        assert ids(api.get("/orders?per_page=100")) == in_order(forty, "-created_at")

    @pytest.mark.parametrize(
        "ordering",
        [
            "color",
            "id",
            "-",
            "",
            "--eta_date",
            "eta_date,",
            ",eta_date",
            "eta_date, etd_date",
            "terminal__name",
            "organization",
            "?",
            "eta_date;drop table orders_order",
            "ETA_DATE",
            "eta_date,eta_date",
            "eta_date,-eta_date",
            ",".join(["eta_date"] * 50),
            "documents_count",
        ],
    )
    def test_refuses_what_is_not_offered(self, api, forty, ordering):
        assert refused(api.get("/orders", {"ordering": ordering}), "ordering")


class TestCursor:
    def test_has_the_contracts_envelope(self, api, forty):
        response = api.get("/orders?cursor=&per_page=40")
        assert set(response.json()) == {"data", "next", "previous"}
        split = urlsplit(response.json()["next"])
        assert (split.scheme, split.netloc, split.path) == ("", "", "/api/v1/orders")
        assert set(parse_qs(split.query)) == {"cursor", "per_page"}
        assert response.json()["previous"] is None
        last = api.get(response.json()["next"]).json()
        assert (len(last["data"]), last["next"]) == (2, None)
        assert last["previous"] is not None

    def test_of_nothing_leads_nowhere(self, api):
        assert api.get("/orders?cursor=").json() == {"data": [], "next": None, "previous": None}

    @pytest.mark.parametrize("per_page", [20, 21, 22, 41, 42, 43])
    def test_ends_with_the_last_row(self, api, forty, per_page):
        assert len(walk(api, f"/orders?cursor=&per_page={per_page}")) == 42

    def test_may_change_the_size_of_its_pages(self, api, forty):
        first = api.get("/orders?cursor=&per_page=5").json()
        address = first["next"].replace("per_page=5", "per_page=100")
        rest = api.get(address).json()
        assert len(rest["data"]) == 37
        assert rest["next"] is None

    @pytest.mark.parametrize("ordering", [*SINGLE, "eta_date,-etd_date", "priority,-reference"])
    def test_walks_there_and_back(self, api, forty, ordering):
        expected = in_order(forty, ordering)
        page = api.get(f"/orders?ordering={ordering}&cursor=&per_page=9").json()
        seen = [each["id"] for each in page["data"]]
        while page["next"]:
            page = api.get(page["next"]).json()
            seen += [each["id"] for each in page["data"]]
        assert seen == expected
        back = [each["id"] for each in page["data"]]
        while page["previous"]:
            page = api.get(page["previous"]).json()
            back = [each["id"] for each in page["data"]] + back
        assert back == expected

    @pytest.mark.parametrize("one", SINGLE)
    def test_walks_any_two_fields_there_and_back(self, dispatcher, forty, one):
        for ordering in [pair for pair in PAIRS if pair.split(",")[0] == one]:
            expected = in_order(forty, ordering)
            page = Page(dispatcher, f"?ordering={ordering}&cursor=&per_page=8")
            pages = [page]
            while page.next:
                page = Page(dispatcher, page.next)
                pages.append(page)
            assert [key for each in pages for key in each.ids] == expected, ordering
            # Backwards the same rows come again, cut from the other end.
            seen = page.ids
            while page.previous:
                page = Page(dispatcher, page.previous)
                seen = page.ids + seen
            assert seen == expected, ordering
            assert pages[1].previous
            assert Page(dispatcher, pages[1].previous).ids == pages[0].ids

    def test_survives_the_row_it_names(self, api, forty):
        first = api.get("/orders?cursor=&per_page=5").json()
        expected = in_order(forty, "-created_at")
        Order.objects.filter(pk__in=expected[4:6]).delete()
        assert ids(api.get(first["next"])) == expected[6:11]

    @pytest.mark.parametrize(
        "cursor",
        [
            "x",
            "Y3Vyc29y",
            "%F0%9F%9A%9A",
            "p=abc",
            "..",
            ":::",
            "a:b:c",
            "null",
            "9" * 3_000,
            ".eJw:1:2",
        ],
    )
    def test_refuses_what_it_never_gave(self, api, forty, cursor):
        assert refused(api.get(f"/orders?cursor={cursor}"), "cursor")

    def test_refuses_one_that_was_touched(self, api, forty):
        cursor = cursor_in(api.get("/orders?cursor=&per_page=5").json()["next"])
        for touched in (cursor[:-1], cursor + "A", cursor[1:], cursor.swapcase(), cursor[::-1]):
            assert refused(api.get("/orders", {"cursor": touched, "per_page": 5}), "cursor")
        assert api.get("/orders", {"cursor": cursor, "per_page": 5}).status_code == 200

    @pytest.mark.parametrize(
        "position",
        [
            [0, "", 0, []],
            [pagination.CURSOR_FORM, "", 0, ["x", "y"]],
            {"cursor": 1},
            "text",
            None,
            [],
        ],
    )
    def test_refuses_another_form_even_if_it_is_signed(self, api, forty, position):
        cursor = signing.dumps(position, salt="cursor", compress=True)
        assert refused(api.get("/orders", {"cursor": cursor}), "cursor")

    def test_refuses_one_that_was_signed_for_something_else(self, api, forty):
        cursor = cursor_in(api.get("/orders?cursor=&per_page=5").json()["next"])
        other = signing.dumps(signing.loads(cursor, salt="cursor"), salt="password-reset")
        assert refused(api.get("/orders", {"cursor": other}), "cursor")

    @pytest.mark.parametrize(
        "changed",
        [
            {"ordering": "created_at"},
            {"ordering": "-created_at"},
            {"status": "planned"},
            {"q": "R"},
            {"priority": "true"},
        ],
    )
    def test_belongs_to_one_walk(self, api, forty, changed):
        cursor = cursor_in(api.get("/orders?cursor=&per_page=5").json()["next"])
        assert refused(api.get("/orders", {"cursor": cursor, **changed}), "cursor")

    def test_belongs_to_one_list(self, api, forty):
        TerminalFactory.create_batch(3, organization=forty[0].organization)
        given = {"ordering": "created_at", "per_page": 2}
        cursor = cursor_in(api.get("/orders", {**given, "cursor": ""}).json()["next"])
        assert refused(api.get("/terminals", {**given, "cursor": cursor}), "cursor")

    def test_belongs_to_one_organization(self, api, api_of, forty):
        cursor = cursor_in(api.get("/orders?cursor=&per_page=5").json()["next"])
        stranger, colleague = UserFactory(), UserFactory(organization=forty[0].organization)
        OrderFactory(terminal__organization=stranger.organization)
        given = {"cursor": cursor, "per_page": 5}
        assert refused(api_of(stranger).get("/orders", given), "cursor")
        assert api_of(colleague).get("/orders", given).status_code == 200

    def test_sees_each_row_once_while_others_come_and_change(self, crowd_api, crowd):
        """R14: 10,000 rows, 1,000 that come and 500 that change during the walk."""
        terminal = crowd.even
        there = {
            str(key) for key in Order.objects.filter(terminal=terminal).values_list("pk", flat=True)
        }
        model = Order.objects.filter(terminal=terminal).first()
        seen: list[str] = []
        address = f"/orders?terminal_id={terminal.pk}&cursor=&per_page=100"
        for step in itertools.count():
            response = crowd_api.get(address)
            seen += ids(response)
            address = response.json()["next"]
            if address is None:
                break
            # New ones at the front, as it is, and some where the walk is just now or still comes.
            for kind, moment in enumerate(("now()", "t.created_at", "timestamptz '2026-01-01Z'")):
                copies(model, 4, reference=f"'N{step}-{kind}-' || n", created_at=moment)
            Order.objects.filter(pk__in=[*seen[-2:], *list(there)[step * 3 : step * 3 + 3]]).update(
                notes=f"Changed in step {step}.",
                reference=Concat("reference", Value("'")),
                priority=True,
            )
        assert step >= 99
        assert len(seen) == len(set(seen))
        assert there <= set(seen)


def cursor_in(address: str) -> str:
    return parse_qs(urlsplit(address).query)["cursor"][0]


class Page:
    """A page of the user's orders, straight from the paginator."""

    def __init__(self, user: Any, address: str) -> None:
        query = urlsplit(address).query
        request = Request(APIRequestFactory().get(f"/api/v1/orders?{query}"))
        request.user = user
        view = SimpleNamespace(ordering_fields=FIELDS, ordering=OrderViewSet.ordering)
        orders = StrictOrdering().filter_queryset(request, Order.objects.visible_to(user), view)
        pager = ContractPagination()
        found = Found(orders, view.sorting, is_chosen=True)
        self.ids = [str(each) for each in pager.ids(request, lambda: found)]
        self.next: str | None = pager.envelope["next"]
        self.previous: str | None = pager.envelope["previous"]
        self.pager, self.keys = pager, view.sorting

    def cursor_at(self, order: Order, *, backwards: bool) -> str:
        """The address of the page behind (before) `order`, however deep it lies."""
        return self.pager._position(order, self.keys, backwards)


def nodes(plan: dict[str, Any]) -> Any:
    yield plan
    for each in plan.get("Plans", ()):
        yield from nodes(each)


def plans_of(statements: list[str]) -> list[list[dict[str, Any]]]:
    """What PostgreSQL did for each statement that looks for orders: the nodes of its plan."""
    found = []
    for sql in statements:
        if 'FROM "orders_order"' in sql and "concat(" not in sql:
            with connection.cursor() as cursor:
                cursor.execute("EXPLAIN (ANALYZE, FORMAT JSON) " + sql.replace("%", "%%"), [])
                ((plan,),) = cursor.fetchall()
            plan = json.loads(plan) if isinstance(plan, str) else plan
            found.append(list(nodes(plan[0]["Plan"])))
    assert found
    return found


def read_rows(node: dict[str, Any]) -> float:
    rows = node["Actual Rows"] + node.get("Rows Removed by Filter", 0)
    return float(rows * node["Actual Loops"])


class TestRowsAfter:
    @pytest.mark.parametrize("signs", list(itertools.product(("", "-"), repeat=2)))
    def test_finds_all_behind_each_row_where_two_columns_have_gaps(self, db, signs):
        homes = [None, *OrganizationFactory.create_batch(2)]
        for home, seen, _ in itertools.product(homes, (None, NOON, NOON + ONE_DAY), "ab"):
            UserFactory(organization=home, is_superuser=home is None, last_login=seen)
        names = ("last_login", "organization")
        keys = [
            Key(name, sign == "-", nullable=True) for name, sign in zip(names, signs, strict=True)
        ]
        keys.append(Key("id", keys[-1].descending))
        for walked in (keys, [key.backwards() for key in keys]):
            order = [key.expression() for key in walked]
            rows = list(User.objects.order_by(*order))
            for number, row in enumerate(rows):
                position = [row.last_login, row.organization_id, row.pk]
                found = [
                    each
                    for condition in rows_after(walked, position, User)
                    for each in User.objects.filter(condition).order_by(*order)
                ]
                assert found == rows[number + 1 :]


class TestPlans:
    """A page costs what it shows, at any depth; a filter reads by its index."""

    @pytest.mark.parametrize(
        ("ordering", "of_terminal"),
        [
            *((ordering, False) for ordering in SINGLE),
            *((ordering, True) for ordering in ("eta_date", "etd_date", "created_at")),
            ("-created_at", True),
        ],
    )
    @pytest.mark.parametrize("backwards", [False, True], ids=["forwards", "backwards"])
    def test_of_a_deep_page(self, crowd_api, crowd, statements, ordering, of_terminal, backwards):
        given, shown, depth = (
            f"ordering={ordering}",
            Order.objects.filter(terminal=crowd.odd),
            6_000,
        )
        if of_terminal:
            given += f"&terminal_id={crowd.small.pk}"
            shown, depth = Order.objects.filter(terminal=crowd.small), 2_000
        name = ordering.strip("-")
        deep = [shown.exclude(**{name: None}).order_by(ordering, "id")[depth]]
        deep += shown.filter(**{name: None}).order_by("id")[depth // 12 : depth // 12 + 1]
        for order in deep:
            first = Page(crowd.user, f"?{given}&cursor=")
            address = first.cursor_at(order, backwards=backwards)
            with statements() as done:
                assert len(crowd_api.get(address).json()["data"]) == 20
            for plan in plans_of(done.sql):
                kinds = {node["Node Type"] for node in plan}
                assert not {kind for kind in kinds if "Sort" in kind}, plan
                reads = [node for node in plan if node.get("Relation Name") == "orders_order"]
                kinds = {node["Node Type"] for node in reads}
                assert kinds <= {"Index Scan", "Index Only Scan"}, plan
                assert sum(map(read_rows, reads)) <= 21

    @pytest.mark.parametrize(
        ("given", "index"),
        [
            ("", "orders_by_created"),
            ("?terminal_id={small}", "orders_of_terminal_created"),
            ("?terminal_id={small}&eta_date=2026-03-01", "orders_of_terminal_eta"),
            ("?terminal_id={small}&etd_date=2026-03-01", "orders_of_terminal_etd"),
            (
                "?terminal_id={small}&eta_date_from=2026-02-15&ordering=eta_date",
                "orders_of_terminal_eta",
            ),
            ("?eta_date=2026-03-01", "orders_by_eta"),
            ("?on=2026-03-01", "orders_by_et"),
            ("?reference=r-7919", "orders_reference_any_case"),
            ("?status=arrived", "orders_status"),
            ("?in_terminal=true", "orders_status"),
            ("?priority=true&ordering=priority", "orders_by_priority"),
            ("?updated_since=2026-01-21T00:00:00Z&ordering=updated_at", "orders_by_updated"),
            ("?created_at_until=2026-01-01T00:10:00Z", "orders_by_created"),
            ("?q=TK19997", "orders_parts"),
            ("?q=driver 8888", "orders_parts"),
        ],
    )
    def test_of_a_filter(self, crowd_api, crowd, statements, given, index):
        with statements() as done:
            response = crowd_api.get("/orders" + given.format(small=crowd.small.pk))
            assert response.json()["data"]
        every = [node for plan in plans_of(done.sql) for node in plan]
        used = {node["Index Name"] for node in every if "Index Name" in node}
        assert any(name.startswith(index) for name in used), used
        looked = [
            node["Node Type"] for node in every if node.get("Relation Name") == "orders_order"
        ]
        all_are_counted = not given
        assert looked.count("Seq Scan") == all_are_counted, looked
