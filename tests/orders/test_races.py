"""Two callers at once. Each race is forced: the test holds what both need, sees them wait, lets go.

Every request here has a connection and a transaction of its own, and really commits.
"""

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from threading import Barrier, BrokenBarrierError
from typing import Any

import pytest
from django.db import connection, connections, transaction

from fleet.models import Driver
from orders import services
from orders.models import Order, Status
from tests.core.factories import UserFactory
from tests.fleet.factories import DriverFactory
from tests.orders.bodies import order_body
from tests.orders.factories import OrderFactory
from tests.terminals.factories import TerminalFactory

pytestmark = pytest.mark.django_db(transaction=True)

PATIENCE_S = 20


class Callers:
    """Threads that send requests, each over its own connection."""

    def __init__(self, count: int) -> None:
        self._pool = ThreadPoolExecutor(count)

    def send(self, request: Any, *args: Any, **kwargs: Any) -> Future[Any]:
        return self._pool.submit(request, *args, **kwargs)

    def leave(self) -> None:
        idle = Barrier(self._pool._max_workers)

        def hang_up() -> None:
            idle.wait(PATIENCE_S)  # so that every thread takes exactly one of these
            connections.close_all()

        for each in [self._pool.submit(hang_up) for _ in range(self._pool._max_workers)]:
            each.result()
        self._pool.shutdown()


@pytest.fixture
def callers() -> Iterator[Any]:
    made = []

    def gather(count: int) -> Callers:
        made.append(Callers(count))
        return made[-1]

    yield gather
    for each in made:
        each.leave()


@pytest.fixture
def user():
    return UserFactory()


@pytest.fixture
def api(user, api_of):
    client = api_of(user)
    client.raise_request_exception = False  # a 500 is an answer, and counted
    return client


@pytest.fixture
def terminal(user):
    return TerminalFactory(organization=user.organization)


def wait_until_blocked(count: int) -> None:
    """Return once `count` sessions wait for locks that somebody else holds."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_stat_clear_snapshot()")  # else it is the transaction's first
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity"
                " WHERE datname = current_database() AND cardinality(pg_blocking_pids(pid)) > 0"
            )
            if cursor.fetchone()[0] >= count:
                return
        time.sleep(0.002)
    raise AssertionError(f"{count} sessions should wait by now")


@contextmanager
def held(order: Order) -> Iterator[None]:
    """Hold the order's row as another request would."""
    with transaction.atomic():
        Order.objects.locked().get(pk=order.pk)
        yield


def statuses(*answers: Future[Any]) -> list[int]:
    return sorted(answer.result(PATIENCE_S).status_code for answer in answers)


class TestTwentyCreatesOfOneReference:
    ROUNDS, CALLERS = 10, 20

    def test_give_one_201_and_nineteen_409(self, api, terminal, callers):
        crowd = callers(self.CALLERS)
        for number in range(self.ROUNDS):
            body = order_body(terminal, reference=f"R6-{number}")
            with transaction.atomic():  # the first of all, which then thinks better of it
                OrderFactory(terminal=terminal, reference=f"r6-{number}")
                answers = [crowd.send(api.post, "/orders", body) for _ in range(self.CALLERS)]
                wait_until_blocked(self.CALLERS)
                transaction.set_rollback(True)
            assert statuses(*answers) == [201] + [409] * (self.CALLERS - 1)
            refused = [answer.result().json() for answer in answers]
            refused = [problem for problem in refused if "code" in problem]
            assert {problem["code"] for problem in refused} == {"conflict"}
            assert {problem["errors"][0]["field"] for problem in refused} == {"reference"}
            # The look beforehand, if there is one, and the lost race say the same.
            late = api.post("/orders", body).json()
            assert {**late, "request_id": ""} == {**refused[0], "request_id": ""}
        assert Order.objects.count() == self.ROUNDS

    def test_are_told_409_when_the_first_is_kept(self, api, terminal, callers):
        crowd = callers(2)
        with transaction.atomic():
            OrderFactory(terminal=terminal, reference="R6")
            body = order_body(terminal, reference="R6")
            answers = [crowd.send(api.post, "/orders", body) for _ in range(2)]
            wait_until_blocked(2)
        assert statuses(*answers) == [409, 409]
        assert Order.objects.count() == 1


class TestTwoChangesToOneReference:
    def test_give_one_200_and_one_409(self, api, terminal, callers):
        pair = callers(2)
        orders = [OrderFactory(terminal=terminal) for _ in range(2)]
        with transaction.atomic():
            OrderFactory(terminal=terminal, reference="WANTED")
            answers = [
                pair.send(api.patch, f"/orders/{order.pk}", {"reference": "wanted"})
                for order in orders
            ]
            wait_until_blocked(2)
            transaction.set_rollback(True)
        assert statuses(*answers) == [200, 409]


class TestTwoStepsAtOnce:
    ROUNDS = 20
    REASON = {"reason": "No ship."}

    def race(self, api, pair, order, *steps, headers=None):
        """Send `steps` one behind the other while the order is held; their answers in turn."""
        answers = []
        with held(order):
            for step, body in steps:
                path = f"/orders/{order.pk}/{step}"
                answers.append(pair.send(api.post, path, body, headers=headers))
                wait_until_blocked(len(answers))
        return answers

    def test_of_one_kind_give_one_200_and_one_409(self, api, terminal, callers):
        pair = callers(2)
        for _ in range(self.ROUNDS // 2):
            for step, body in (("arrive", {}), ("cancel", self.REASON)):
                order = OrderFactory(terminal=terminal)
                answers = self.race(api, pair, order, (step, body), (step, body))
                assert statuses(*answers) == [200, 409]
                (lost,) = (each.result() for each in answers if each.result().status_code == 409)
                assert lost.json()["code"] == "wrong-status"
                order.refresh_from_db()
                assert order.version == 2

    def test_refuse_an_arrival_behind_a_cancellation(self, api, terminal, callers):
        pair = callers(2)
        for _ in range(self.ROUNDS):
            order = OrderFactory(terminal=terminal)
            cancelled, arrived = self.race(
                api, pair, order, ("cancel", self.REASON), ("arrive", {})
            )
            assert (cancelled.result().status_code, arrived.result().status_code) == (200, 409)
            assert arrived.result().json()["code"] == "wrong-status"
            order.refresh_from_db()
            assert (order.status, order.arrived_at) == (Status.CANCELLED, None)
            assert order.version == 2

    def test_let_a_cancellation_follow_an_arrival(self, api, terminal, callers):
        pair = callers(2)
        order = OrderFactory(terminal=terminal)
        answers = self.race(api, pair, order, ("arrive", {}), ("cancel", self.REASON))
        assert statuses(*answers) == [200, 200]  # `cancel` is from planned or arrived
        order.refresh_from_db()
        assert (order.status, order.version) == (Status.CANCELLED, 3)
        assert order.arrived_at <= order.cancelled_at

    def test_let_only_one_through_that_names_the_version(self, api, terminal, callers):
        pair = callers(2)
        headers = {"If-Match": '"v1"'}
        for _ in range(self.ROUNDS // 2):
            for steps in (
                (("arrive", {}), ("cancel", self.REASON)),
                (("cancel", self.REASON), ("arrive", {})),
            ):
                order = OrderFactory(terminal=terminal)
                answers = self.race(api, pair, order, *steps, headers=headers)
                assert statuses(*answers) == [200, 412]
                order.refresh_from_db()
                assert order.version == 2

    def test_that_follow_each_other_keep_time(self, api, terminal, callers):
        """Who waited for the arrival leaves after it, though the request came before."""
        pair = callers(2)
        order = OrderFactory(terminal=terminal)
        with held(order):
            left = pair.send(api.post, f"/orders/{order.pk}/depart")
            wait_until_blocked(1)
            services.arrive_order(order, now=self.database_clock())
        assert left.result(PATIENCE_S).status_code == 200
        order.refresh_from_db()
        assert order.arrived_at <= order.departed_at

    def database_clock(self):
        with connection.cursor() as cursor:
            cursor.execute("SELECT clock_timestamp()")
            return cursor.fetchone()[0]


class TestTwoEditors:
    def test_with_one_version_give_one_200_and_one_412(self, api, terminal, callers):
        pair = callers(2)
        order = OrderFactory(terminal=terminal)
        with held(order):
            answers = [
                pair.send(
                    api.patch,
                    f"/orders/{order.pk}",
                    {"notes": notes},
                    headers={"If-Match": '"v1"'},
                )
                for notes in ("Mine.", "Yours.")
            ]
            wait_until_blocked(2)
        assert statuses(*answers) == [200, 412]
        kept, lost = sorted(
            (answer.result() for answer in answers), key=lambda answer: answer.status_code
        )
        assert lost.json()["current_version"] == 2
        order.refresh_from_db()
        assert (order.notes, order.version) == (kept.json()["notes"], 2)

    def test_lose_no_update(self, api, terminal, callers):
        """Eight add one, ten times each, by what they read: the sum is what was acknowledged."""
        clients, cycles = 8, 10
        order = OrderFactory(terminal=terminal, pallets=0)
        path = f"/orders/{order.pk}"

        def add_one_repeatedly() -> list[int]:
            told = []
            for _ in range(cycles):
                while True:
                    seen = api.get(path)
                    answer = api.patch(
                        path,
                        {"pallets": seen.json()["pallets"] + 1},
                        headers={"If-Match": seen["ETag"]},
                    )
                    told.append(answer.status_code)
                    if answer.status_code == 200:
                        break
                    assert answer.json()["current_version"] > seen.json()["version"]
            return told

        crowd = callers(clients)
        answers = [crowd.send(add_one_repeatedly) for _ in range(clients)]
        told = [status for answer in answers for status in answer.result(60)]
        assert set(told) <= {200, 412}
        assert told.count(200) == clients * cycles
        order.refresh_from_db()
        assert (order.pallets, order.version) == (80, 81)


class TestOppositeLocks:
    """Requests that take two orders in opposite order: one is repeated, nobody sees it."""

    PAIRS = 4

    @pytest.fixture
    def also_locking(self, monkeypatch):
        """`update_order` goes on to lock another order, once both of a pair hold their first."""
        meetings: dict[Any, tuple[Any, Barrier]] = {}
        tries: list[Any] = []
        update = services.update_order

        def update_two(order: Order, *args: Any, **kwargs: Any) -> Order:
            tries.append(order.pk)
            if order.pk in meetings:
                other, meeting = meetings[order.pk]
                with suppress(BrokenBarrierError):  # the one that is repeated comes alone
                    meeting.wait(PATIENCE_S if tries.count(order.pk) == 1 else 0)
                Order.objects.locked().get(pk=other)
            return update(order, *args, **kwargs)

        monkeypatch.setattr(services, "update_order", update_two)
        return meetings, tries

    def test_are_repeated_until_both_are_done(self, api, terminal, callers, also_locking):
        meetings, tries = also_locking
        crowd = callers(2 * self.PAIRS)
        pairs = [[OrderFactory(terminal=terminal) for _ in range(2)] for _ in range(self.PAIRS)]
        for one, other in pairs:
            meeting = Barrier(2)
            meetings[one.pk] = other.pk, meeting
            meetings[other.pk] = one.pk, meeting
        started = time.monotonic()
        answers = [
            crowd.send(api.patch, f"/orders/{order.pk}", {"notes": "Both."})
            for pair in pairs
            for order in pair
        ]
        assert statuses(*answers) == [200] * 2 * self.PAIRS
        assert time.monotonic() - started < PATIENCE_S
        assert len(tries) > 2 * self.PAIRS  # there were deadlocks indeed
        assert max(tries.count(key) for key in tries) <= 4
        for order in Order.objects.all():
            assert (order.notes, order.version) == ("Both.", 2)

    def test_are_told_to_come_back_when_it_never_ends(self, api, terminal, monkeypatch):
        order = OrderFactory(terminal=terminal)
        tries = []

        def fail(*_: Any, **__: Any) -> None:
            tries.append(1)
            with connection.cursor() as cursor:
                cursor.execute(
                    "UPDATE orders_order SET notes = 'Half.';"
                    " DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '40P01'; END $$"
                )

        monkeypatch.setattr(services, "update_order", fail)
        response = api.patch(f"/orders/{order.pk}", {"notes": "Mine."})
        assert (response.status_code, response.json()["code"]) == (503, "unavailable")
        assert int(response["Retry-After"]) >= 1
        assert len(tries) == 4
        order.refresh_from_db()
        assert (order.notes, order.version) == ("", 1)


class TestADriverWhoVanishes:
    """Foreign keys are judged at COMMIT: what was there at the look-up may be gone by then."""

    ROUNDS = 5

    @pytest.mark.parametrize("leg", ["eta", "etd"])
    def test_refuses_the_order_that_names_it(self, api, terminal, callers, leg):
        one = callers(1)
        name = f"{leg}_driver_id"
        for number in range(self.ROUNDS):
            driver = DriverFactory(organization=terminal.organization)
            body = order_body(terminal, reference=f"V-{number}") | {name: str(driver.pk)}
            with transaction.atomic():
                driver.delete()
                answer = one.send(api.post, "/orders", body)
                wait_until_blocked(1)
            self.is_unknown(answer, name)
        assert not Order.objects.exists()

    def test_refuses_the_change_that_names_it(self, api, terminal, callers):
        one = callers(1)
        order = OrderFactory(terminal=terminal)
        for method, given in (
            (api.patch, {}),
            (api.put, order_body(terminal, reference=order.reference)),
        ):
            driver = DriverFactory(organization=terminal.organization)
            given = given | {"etd_driver_id": str(driver.pk)}
            with transaction.atomic():
                driver.delete()
                answer = one.send(method, f"/orders/{order.pk}", given)
                wait_until_blocked(1)
            self.is_unknown(answer, "etd_driver_id")
        order.refresh_from_db()
        assert (order.etd_driver_id, order.version) == (None, 1)

    def test_is_kept_for_the_order_that_came_first(self, api, terminal, callers):
        one = callers(1)
        for number in range(self.ROUNDS):
            driver = DriverFactory(organization=terminal.organization)
            with transaction.atomic():
                OrderFactory(terminal=terminal, reference=f"K-{number}", eta_driver=driver)
                with connection.cursor() as cursor:  # as COMMIT does: the driver is held
                    cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
                answer = one.send(api.delete, f"/drivers/{driver.pk}")
                wait_until_blocked(1)
            self.is_in_use(answer)
            assert Driver.objects.filter(pk=driver.pk).exists()

    def test_is_kept_when_only_the_database_sees_the_order(self, api, terminal, monkeypatch):
        """The order comes between the look for others and the DELETE."""
        from core import services as plain

        driver = DriverFactory(organization=terminal.organization)
        delete = plain.delete

        def delete_late(instance: Any) -> None:
            key = instance.pk
            delete(instance)
            with connection.cursor() as cursor:
                cursor.execute("UPDATE orders_order SET eta_driver_id = %s", [key])

        OrderFactory(terminal=terminal)
        monkeypatch.setattr(plain, "delete", delete_late)
        response = api.delete(f"/drivers/{driver.pk}")
        assert (response.status_code, response.json()["code"]) == (409, "in-use")
        assert Driver.objects.filter(pk=driver.pk).exists()

    def test_and_its_order_by_two_requests_never_make_a_500(self, api, terminal, callers):
        """Neither waits for the test: whoever commits first wins, the other is told so."""
        pair = callers(2)
        for number in range(self.ROUNDS * 2):
            driver = DriverFactory(organization=terminal.organization)
            body = order_body(terminal, reference=f"N-{number}", eta_driver_id=str(driver.pk))
            together = Barrier(2)

            def send(request: Any, together: Barrier = together) -> Any:
                together.wait(PATIENCE_S)
                return request()

            made = pair.send(send, partial(api.post, "/orders", body)).result
            gone = pair.send(send, partial(api.delete, f"/drivers/{driver.pk}"))
            outcome = gone.result(PATIENCE_S).status_code, made(PATIENCE_S).status_code
            assert outcome in {(204, 422), (409, 201)}
            kept = Order.objects.filter(eta_driver_id=driver.pk).count()
            assert kept == (outcome[1] == 201)

    def is_unknown(self, answer, name):
        problem = answer.result(PATIENCE_S).json()
        assert (problem["status"], problem["code"]) == (422, "unknown-reference")
        assert [error["field"] for error in problem["errors"]] == [name]

    def is_in_use(self, answer):
        problem = answer.result(PATIENCE_S).json()
        assert (problem["status"], problem["code"]) == (409, "in-use")
