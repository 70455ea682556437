"""Which rows a list is asked for: worked out once, looked up each time."""

from typing import Any

import pytest
from django.urls import get_resolver
from django.utils import timezone
from rest_framework.request import Request
from rest_framework.test import APIRequestFactory

from core.api import filters, found
from core.api.found import Found
from core.api.ordering import Key
from core.api.views import ContractViewSet
from orders.models import Order
from terminals.models import TerminalStaff
from tests.conftest import ApiClient
from tests.core.factories import UserFactory
from tests.orders.factories import OrderFactory
from tests.terminals.factories import TerminalFactory

BY_AGE = (Key("created_at", True), Key("id", True))


@pytest.fixture(autouse=True)
def remembered(monkeypatch) -> dict[Any, Found]:
    """What is remembered; at first nothing."""
    known: dict[Any, Found] = {}
    monkeypatch.setattr(found, "_remembered", known)
    return known


@pytest.fixture
def composed(monkeypatch) -> list[str]:
    """The queries that were composed, one after the other."""
    queries = []
    inner = filters.StrictFilterBackend.filter_queryset

    def noted(self, request, queryset, view):
        queries.append(request.META["QUERY_STRING"])
        return inner(self, request, queryset, view)

    monkeypatch.setattr(filters.StrictFilterBackend, "filter_queryset", noted)
    return queries


@pytest.fixture
def terminal(dispatcher):
    return TerminalFactory(organization=dispatcher.organization)


def references(api: Any, query: str) -> list[str]:
    answer = api.get(f"/orders?{query}")
    assert answer.status_code == 200, answer.content
    return [order["reference"] for order in answer.json()["data"]]


class TestAQuestion:
    def test_is_worked_out_once_and_its_rows_are_looked_up_each_time(self, api, terminal, composed):
        query = f"terminal_id={terminal.pk}&ordering=reference"
        assert references(api, query) == []
        for reference in ("A", "B"):
            OrderFactory(terminal=terminal, reference=reference)
        assert references(api, query) == ["A", "B"]
        assert references(api, f"ordering=reference&terminal_id={terminal.pk}") == ["A", "B"]
        assert len(composed) == 1

    def test_is_the_same_on_each_of_its_pages(self, api, terminal, composed):
        for reference in "ABCDE":
            OrderFactory(terminal=terminal, reference=reference)
        query = f"terminal_id={terminal.pk}&ordering=reference"
        assert references(api, f"{query}&per_page=2&page=2") == ["C", "D"]
        assert references(api, f"{query}&per_page=3&page=2") == ["D", "E"]
        first = api.get(f"/orders?{query}&per_page=2&cursor=").json()
        second = api.get(first["next"]).json()
        assert [each["reference"] for each in second["data"]] == ["C", "D"]
        assert len(composed) == 3  # a walk goes on from the QuerySet, which is not kept

    def test_is_another_with_another_value_or_order(self, api, terminal, composed):
        for reference, priority in (("A", True), ("B", False)):
            OrderFactory(terminal=terminal, reference=reference, priority=priority)
        assert references(api, "ordering=reference") == ["A", "B"]
        assert references(api, "ordering=-reference") == ["B", "A"]
        assert references(api, "priority=true") == ["A"]
        assert references(api, "priority=false") == ["B"]
        assert references(api, "reference=a") == ["A"]
        assert references(api, "q=a") == ["A"]
        assert len(composed) == 6

    def test_is_answered_to_each_caller_by_what_they_see(self, api, dispatcher, terminal):
        here = OrderFactory(terminal=terminal, reference="here")
        there = OrderFactory(terminal__organization=dispatcher.organization, reference="there")
        elsewhere = OrderFactory(reference="elsewhere")
        bound = UserFactory(organization=dispatcher.organization)
        link = TerminalStaff.objects.create(
            organization=dispatcher.organization, terminal=there.terminal, user=bound
        )
        callers = {
            api: {"here", "there"},
            ApiClient(bound): {"there"},
            ApiClient(UserFactory(organization=elsewhere.organization)): {"elsewhere"},
            ApiClient(UserFactory(is_superuser=True)): {"here", "there", "elsewhere"},
        }
        for _ in range(2):
            for caller, seen in callers.items():
                assert set(references(caller, "")) == seen
        TerminalStaff.objects.filter(pk=link.pk).update(terminal=here.terminal)
        assert references(ApiClient(bound), "") == ["here"]

    def test_that_is_wrong_is_refused_each_time(self, api, remembered):
        for _ in range(2):
            assert api.get("/orders?eta_date=tomorrow").status_code == 422
            assert api.get("/orders?ordering=colour").status_code == 422
        assert not remembered

    def test_is_refused_for_its_page_though_it_is_known(self, api):
        assert references(api, "priority=true") == []
        for page in ("page=0", "per_page=101", "page=1&page=2", "page=1&cursor=", "cursor=x"):
            assert api.get(f"/orders?priority=true&{page}").status_code == 422

    @pytest.mark.parametrize("query", ["period=today", "q_documents=cmr", f"q={'x' * 200}" * 6])
    def test_that_depends_on_more_or_is_too_long_is_not_remembered(self, api, query, remembered):
        api.get(f"/orders?{query}")
        assert not remembered

    def test_is_forgotten_when_there_are_too_many(self, api, monkeypatch, remembered):
        monkeypatch.setattr(found, "REMEMBERED", 3)
        for number in range(8):
            api.get(f"/orders?reference={number}")
            assert 1 <= len(remembered) <= 3


def views() -> list[Any]:
    """All that have filters; the resolver imports them."""
    assert get_resolver().url_patterns

    def below(kind: Any) -> Any:
        for each in kind.__subclasses__():
            yield each
            yield from below(each)

    return [
        view
        for view in below(ContractViewSet)
        if getattr(view, "filterset_class", None) and view.queryset is not None
    ]


VALUES = {
    filters.IdFilter: "01a1d86d-7b00-7eb0-8d40-ec5d4f77cd4c",
    filters.ManyIdsFilter: "01a1d86d-7b00-7eb0-8d40-ec5d4f77cd4c",
    filters.DayFilter: "2026-11-23",
    filters.InstantFilter: "2026-11-23T12:00:00Z",
    filters.FlagFilter: "true",
    filters.PartFilter: "ab 12",
    filters.WholeFilter: "ab 12",
}
TIMELESS = [(view, name) for view in views() for name in sorted(view.filterset_class.timeless())]


class TestAFilter:
    @pytest.mark.parametrize(
        ("view", "name"), TIMELESS, ids=[f"{view.__name__}-{name}" for view, name in TIMELESS]
    )
    def test_that_is_timeless_asks_neither_the_database_nor_the_clock(
        self, view, name, dispatcher, statements, monkeypatch
    ):
        each = view.filterset_class.base_filters[name]
        value = VALUES.get(type(each)) or each.extra["choices"][0][0]
        request = Request(APIRequestFactory().get("/", {name: value}))
        request.user = dispatcher
        everything = view.queryset.visible_to(dispatcher)

        def read() -> Any:
            raise AssertionError("read the clock")

        monkeypatch.setattr(timezone, "now", read)
        with statements() as done:
            rows = filters.StrictFilterBackend().filter_queryset(request, everything, view())
            assert str(rows.query) != str(everything.query)
        assert done.sql == []

    def test_is_timeless_unless_it_looks_beyond_its_value(self):
        beyond = {
            (view.__name__, name)
            for view in views()
            for name in set(view.filterset_class.base_filters) - view.filterset_class.timeless()
        }
        assert beyond == {
            ("OrderViewSet", "period"),
            ("OrderViewSet", "q_documents"),
            ("DocumentViewSet", "q"),
            ("OrderDocumentViewSet", "q"),
        }


class TestFound:
    @pytest.fixture
    def orders(self, terminal):
        OrderFactory.create_batch(5, terminal=terminal)
        return [
            str(key)
            for key in Order.objects.order_by("-created_at", "-pk").values_list("pk", flat=True)
        ]

    @pytest.mark.parametrize("few", [0, 4, 5, 500])
    @pytest.mark.parametrize("is_chosen", [True, False])
    def test_is_the_same_whichever_way_it_is_looked_for(
        self, orders, monkeypatch, few, is_chosen, statements
    ):
        monkeypatch.setattr(found, "FEW", few)
        these = Found(Order.objects.all(), BY_AGE, is_chosen=is_chosen)
        for start in range(7):
            for count in (1, 2, 10):
                with statements() as done:
                    assert these.page(start, count) == (5, orders[start : start + count])
                assert len(done.sql) == 1 + (is_chosen and few < 5 and start < 5)

    @pytest.mark.parametrize("is_chosen", [True, False])
    def test_counts_no_further_than_it_says(self, orders, monkeypatch, is_chosen):
        monkeypatch.setattr(found, "MAX_COUNTED", 3)
        these = Found(Order.objects.all(), BY_AGE, is_chosen=is_chosen)
        assert these.count() == 4
        monkeypatch.setattr(found, "FEW", 2)
        assert these.page(0, 2) == (4, orders[:2])

    def test_of_what_there_cannot_be_asks_nothing(self, db, statements):
        nothing = Found(Order.objects.none(), BY_AGE, is_chosen=True)
        with statements() as done:
            assert nothing.page(0, 20) == (0, [])
            assert nothing.count() == 0
        assert done.sql == []
