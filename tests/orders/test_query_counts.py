"""How many statements a request costs, besides the transaction's own."""

from datetime import date

import pytest

from core.querysets import Among
from orders.models import Order
from tests.fleet.factories import DriverFactory, TrailerFactory, TruckFactory
from tests.orders.bodies import order_body
from tests.orders.factories import OrderFactory
from tests.terminals.factories import TerminalFactory

USER, PAGE, ROWS = 1, 1, 1  # a page is how many there are and the ids, then the rows of these ids
DOCUMENTS = 1  # which the answer to a write shows


@pytest.fixture
def terminal(dispatcher):
    return TerminalFactory(organization=dispatcher.organization)


@pytest.fixture
def full(terminal):
    """Orders with all seven related objects, each order with its own."""

    def full(count):
        here = {"organization": terminal.organization}
        for _ in range(count):
            OrderFactory(
                terminal=TerminalFactory(**here),
                notes="Keep cold.",
                **{
                    f"{leg}_{name}": factory(**here)
                    for leg in ("eta", "etd")
                    for name, factory in (
                        ("driver", DriverFactory),
                        ("truck", TruckFactory),
                        ("trailer", TrailerFactory),
                    )
                },
            )

    return full


@pytest.fixture
def cost(statements):
    """The number of statements of a request that succeeds."""

    def cost(send, *args, **kwargs):
        with statements() as done:
            response = send(*args, **kwargs)
        assert response.status_code < 400, response.content
        return len(done.sql)

    return cost


class TestListOfOrders:
    QUERIES = {
        "plain": "",
        "period": "&period=this_week",
        "search": "&q=keep",
        "period and search": "&period=this_week&q=keep",
        "choices": "&status=planned&status=arrived&service=cross_dock&active=true",
        "other order": "&ordering=eta_date,-reference",
        "cursor": "&cursor=",
        "cursor by day": "&cursor=&ordering=eta_date",
        "cursor by priority": "&cursor=&ordering=-priority",
    }

    def test_costs_the_same_for_one_and_for_a_hundred(self, api, full, cost):
        full(1)
        for_one = {
            name: cost(api.get, f"/orders?per_page=100{query}")
            for name, query in self.QUERIES.items()
        }
        full(99)
        for name, query in self.QUERIES.items():
            path = f"/orders?per_page=100{query}"
            assert len(api.get(path).json()["data"]) == 100
            assert cost(api.get, path) == for_one[name], name
        assert max(for_one.values()) <= 4
        assert for_one["plain"] == for_one["search"] == USER + PAGE + ROWS
        assert for_one["period"] == for_one["period and search"] == USER + 1 + PAGE + ROWS
        assert for_one["cursor"] == USER + PAGE + ROWS

    def test_costs_the_same_when_there_are_more(self, api, full, cost):
        full(7)
        for query in self.QUERIES.values():
            assert cost(api.get, f"/orders?per_page=3{query}") <= 4

    def test_that_is_empty_reads_no_rows(self, api, terminal, cost):
        assert cost(api.get, "/orders") == USER + PAGE

    def test_that_ends_among_those_without_a_day_looks_twice(self, api, terminal, cost):
        """A value and none are two ranges of the index; only a page on the border reads both."""
        for day in (date(2026, 11, 23), None):
            given = {"eta_date": day, "etd_date": None if day else date(2026, 11, 24)}
            OrderFactory.create_batch(3, terminal=terminal, service="into_plukk_storage", **given)
        address, told = "/orders?cursor=&ordering=eta_date&per_page=2", []
        while address:
            told.append(cost(api.get, address))
            address = api.get(address).json()["next"]
        once = USER + PAGE + ROWS
        assert told == [once, once + 1, once]


class TestOneOrder:
    @pytest.fixture
    def order(self, full):
        full(1)
        return Order.objects.get()

    def test_is_read_at_once(self, api, order, cost):
        assert cost(api.get, f"/orders/{order.pk}") == USER + 1

    def test_is_known_at_the_same_price(self, api, order, statements):
        with statements() as done:
            response = api.get(f"/orders/{order.pk}", headers={"If-None-Match": '"v1"'})
        assert response.status_code == 304
        assert len(done.sql) == USER + 1

    def test_is_made_by_one_look_and_one_insert(self, api, terminal, cost):
        assert cost(api.post, "/orders", order_body(terminal)) == USER + 1 + 1
        here = {"organization": terminal.organization}
        given = {
            f"{leg}_{name}_id": str(factory(**here).pk)
            for leg in ("eta", "etd")
            for name, factory in (
                ("driver", DriverFactory),
                ("truck", TruckFactory),
                ("trailer", TrailerFactory),
            )
        }
        body = order_body(terminal, reference="A-2", **given)
        assert cost(api.post, "/orders", body) == USER + 1 + 1

    def test_is_changed_by_a_lock_and_one_update(self, api, order, cost):
        path = f"/orders/{order.pk}"
        assert cost(api.patch, path, {"notes": "New.", "pallets": 3}) == USER + 1 + 1 + DOCUMENTS
        assert cost(api.patch, path, {"notes": "New."}) == USER + 1 + DOCUMENTS
        driver = DriverFactory(organization=order.organization)
        assert cost(api.patch, path, {"eta_driver_id": str(driver.pk)}) == USER + 3 + DOCUMENTS

    def test_moves_by_a_lock_and_one_update(self, api, order, cost):
        for step, body in (
            ("arrive", {}),
            ("cancel", {"reason": "No."}),
            ("reopen", {}),
            ("arrive", {}),
            ("depart", {}),
        ):
            assert cost(api.post, f"/orders/{order.pk}/{step}", body) == USER + 2 + DOCUMENTS

    def test_goes_by_a_lock_and_one_delete(self, api, order, cost):
        assert cost(api.delete, f"/orders/{order.pk}") == USER + 1 + 1

    def test_that_is_not_there_costs_no_more(self, api, order, statements):
        with statements() as done:
            assert api.patch(f"/orders/{order.terminal_id}", {"notes": "New."}).status_code == 404
        assert len(done.sql) == USER + 1


class TestRegistry:
    @pytest.mark.parametrize(
        ("path", "factory", "query"),
        [
            ("/terminals", TerminalFactory, "&q=quay&is_active=true"),
            ("/drivers", DriverFactory, "&q=driver&is_active=true"),
            ("/trucks", TruckFactory, "&license_plate=tk&ordering=name"),
            ("/trailers", TrailerFactory, "&license_plate=tl&name="),
        ],
    )
    def test_lists_cost_the_same_for_one_and_for_a_hundred(
        self, api, dispatcher, cost, path, factory, query
    ):
        for count in (1, 99):
            factory.create_batch(count, organization=dispatcher.organization)
            assert cost(api.get, f"{path}?per_page=100") <= USER + PAGE + ROWS
            assert cost(api.get, f"{path}?per_page=100{query}") <= USER + PAGE + ROWS
            assert cost(api.get, f"{path}?per_page=100&cursor=") <= USER + PAGE + ROWS

    @pytest.mark.parametrize(
        ("path", "body"),
        [
            ("/terminals", {"name": "Quay", "account_code": "Q"}),
            ("/drivers", {"name": "Kari"}),
            ("/trucks", {"license_plate": "AB12345"}),
            ("/trailers", {"license_plate": "AB12345"}),
        ],
    )
    def test_writes_cost_a_lock_and_a_statement(self, api, cost, path, body):
        assert cost(api.post, path, body) == USER + 1
        address = f"{path}/{api.get(path).json()['data'][0]['id']}"
        assert cost(api.patch, address, {"is_active": False}) == USER + 1 + 1
        assert cost(api.put, address, {**body, "is_active": False}) == USER + 1


class TestAmong:
    def test_takes_rows_by_their_key(self, terminal):
        one, other = OrderFactory(terminal=terminal), OrderFactory()
        wanted = Order.objects.filter(terminal=terminal).order_by("-reference")
        assert list(Order.objects.filter(Among("pk", wanted))) == [one]
        assert list(Order.objects.exclude(Among("pk", wanted))) == [other]
        assert not Order.objects.filter(Among("pk", wanted.none())).exists()
