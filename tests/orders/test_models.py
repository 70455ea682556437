"""What the database keeps of an order, whoever writes: shown by writing around the services."""

from datetime import date, datetime, time, timedelta
from decimal import Decimal

import pytest
from django.core.exceptions import ValidationError
from django.db import DatabaseError, IntegrityError, connection, transaction
from django.db.models import CheckConstraint, F

from core.constraints import Rule, broken_rules
from orders.legs import ARRIVAL, DEPARTURE, instant_of, is_skipped
from orders.models import Order
from tests.fleet.factories import DriverFactory, TrailerFactory, TruckFactory
from tests.orders.factories import OSLO, OrderFactory, hours_ago
from tests.terminals.factories import TerminalFactory

ONE_DAY = timedelta(days=1)
TODAY, TOMORROW = date(2026, 11, 23), date(2026, 11, 24)
STORED = {"service": "into_plukk_storage"}
COMES = {**STORED, "etd_date": None}
GOES = {**STORED, "eta_date": None}
PARTS = {"driver": DriverFactory, "truck": TruckFactory, "trailer": TrailerFactory}

# By constraint: an order that keeps it, and what its columns may not become. A factory stands for
# the key of what it makes.
BREACHES = {
    "reference_not_empty": ({}, {"reference": ""}),
    "service_known": ({}, {"service": "teleport"}),
    "commodity_known": ({}, {"commodity": "gold"}),
    "status_known": ({}, {"status": "lost"}),
    "pallets_not_negative": ({"pallets": 0}, {"pallets": -1}),
    "pallets_within_bounds": ({"pallets": 99_999}, {"pallets": 100_000}),
    "boxes_not_negative": ({"boxes": 0}, {"boxes": -1}),
    "boxes_within_bounds": ({"boxes": 99_999}, {"boxes": 100_000}),
    "kilos_not_negative": ({"kilos": 0}, {"kilos": Decimal("-0.01")}),
    **{
        f"{leg}_{name}_registered_or_typed": (
            {f"{leg}_{name}": factory},
            {f"{leg}_{name}_{'name' if name == 'driver' else 'plate'}": "AB1"},
        )
        for leg in ("eta", "etd")
        for name, factory in PARTS.items()
    },
    **{
        f"{leg}_{name}_plate_is_normal": ({}, {f"{leg}_{name}_plate": "AB/1"})
        for leg in ("eta", "etd")
        for name in ("truck", "trailer")
    },
    "eta_time_has_date": (GOES, {"eta_time": time(6, 30)}),
    "etd_time_has_date": (COMES, {"etd_time": time(6, 30)}),
    "eta_details_have_date": (GOES, {"eta_driver_phone": "22"}),
    "etd_details_have_date": (COMES, {"etd_truck_plate": "AB1"}),
    "service_has_its_eta": ({}, {"eta_date": None}),
    "service_has_its_etd": ({}, {"etd_date": None}),
    "storage_has_a_leg": (COMES, {"eta_date": None}),
    "storage_has_one_leg": (COMES, {"etd_date": TOMORROW}),
    "arrival_day_not_after_departure": (
        {"eta_date": TODAY, "etd_date": TODAY},
        {"eta_date": TOMORROW},
    ),
    "arrival_time_not_after_departure": (
        {
            "eta_date": TODAY,
            "etd_date": TODAY,
            "eta_time": time(6, 30),
            "etd_time": time(6, 30),
        },
        {"etd_time": time(6, 29)},
    ),
    "status_agrees_with_instants": ({}, {"status": "arrived"}),
    "arrived_has_arrival": ({**COMES, "arrived": True}, {"eta_date": None, "etd_date": TODAY}),
    "departed_has_departure": (
        {**GOES, "status": "departed", "departed_at": hours_ago(1)},
        {"etd_date": None, "eta_date": TODAY},
    ),
    "cancelled_has_reason": ({"cancelled": True}, {"cancel_reason": ""}),
    "arrived_before_departed": (
        {"departed": True},
        {"departed_at": F("arrived_at") - timedelta(microseconds=1)},
    ),
    "version_positive": ({}, {"version": 0}),
}


def checks():
    return [each for each in Order._meta.constraints if isinstance(each, CheckConstraint)]


def constraint_of(error):
    return error.value.__cause__.diag.constraint_name


@pytest.fixture
def make(db):
    """An order; a factory among what is given makes something of the order's organization."""

    def make(**given):
        terminal = TerminalFactory()
        return OrderFactory(
            terminal=terminal,
            **{
                name: value(organization=terminal.organization)
                if isinstance(value, type)
                else value
                for name, value in given.items()
            },
        )

    return make


class TestConstraints:
    def test_are_each_tried_below(self):
        assert {check.name for check in checks()} == {f"orders_order_{name}" for name in BREACHES}
        assert all(isinstance(check, Rule) and check.message and check.code for check in checks())

    @pytest.mark.parametrize("name", [name for name in BREACHES if name != "version_positive"])
    def test_stop_a_write_around_the_service(self, make, name):
        kept, broken = BREACHES[name]
        order = make(**kept)
        before = Order.objects.filter(pk=order.pk).values().get()
        with pytest.raises(IntegrityError) as error, transaction.atomic():
            Order.objects.filter(pk=order.pk).update(**broken)
        assert constraint_of(error) in {
            f"orders_order_{name}",
            # Two rules break at once where one cannot break alone.
            *(
                f"orders_order_{other}"
                for other in ("status_agrees_with_instants", "cancelled_has_reason")
                if name == "status_known"
            ),
        }
        assert Order.objects.filter(pk=order.pk).values().get() == before

    @pytest.mark.parametrize("name", [name for name in BREACHES if name != "version_positive"])
    def test_are_judged_the_same_in_python(self, make, name):
        kept, broken = BREACHES[name]
        order = make(**kept)
        order.refresh_from_db()
        assert list(broken_rules(order)) == []
        for column, value in broken.items():
            if isinstance(value, F) or hasattr(value, "resolve_expression"):
                value = order.arrived_at - timedelta(microseconds=1)
            setattr(order, column, value)
        (rule,) = [check for check in checks() if check.name == f"orders_order_{name}"]
        assert rule.told() in list(broken_rules(order))
        with pytest.raises(ValidationError):
            rule.validate(Order, order)

    def test_stop_a_version_that_was_never_there(self, make):
        with pytest.raises(IntegrityError) as error, transaction.atomic():
            make(version=0)
        assert constraint_of(error) == "orders_order_version_positive"

    @pytest.mark.parametrize("value", [Decimal("10000000"), Decimal("-10000000")])
    def test_keep_kilos_within_their_column(self, make, value):
        order = make(kilos=Decimal("9999999.99"))
        with pytest.raises((DatabaseError, ArithmeticError)), transaction.atomic():
            Order.objects.filter(pk=order.pk).update(kilos=value)

    def test_keep_one_reference_to_a_terminal_in_any_case(self, make):
        order, other = make(reference="Ab-1"), make(reference="AB-1")
        with pytest.raises(IntegrityError) as error, transaction.atomic():
            Order.objects.filter(pk=other.pk).update(terminal=order.terminal)
        assert constraint_of(error) == "orders_order_reference_unique_per_terminal"

    def test_hold_what_an_order_points_to(self, make):
        order = make(eta_driver=DriverFactory)
        for table, key in (
            ("fleet_driver", order.eta_driver_id),
            ("terminals_terminal", order.terminal_id),
        ):
            delete = f"SET CONSTRAINTS ALL IMMEDIATE; DELETE FROM {table} WHERE id = '{key}'"
            with pytest.raises(IntegrityError), transaction.atomic():
                connection.cursor().execute(delete)


class TestVersion:
    def now(self, order):
        return Order.objects.values_list("version", "updated_at").get(pk=order.pk)

    def test_grows_by_one_with_each_change_through_any_door(self, make):
        order = make()
        rows = Order.objects.filter(pk=order.pk)

        def by_save():
            order.notes = "Saved."
            order.save()

        def by_sql():
            with connection.cursor() as cursor:
                cursor.execute("UPDATE orders_order SET notes = 'By hand.', pallets = 3")

        for number, change in enumerate(
            (
                lambda: rows.update(notes="Updated."),
                by_save,
                by_sql,
                lambda: rows.update(pallets=F("pallets") + 1),
                lambda: Order.objects.bulk_update([Order(pk=order.pk, boxes=3)], ["boxes"]),
                lambda: rows.update(version=50),
                lambda: rows.update(priority=True, version=F("version") + 7),
                lambda: rows.update(terminal=TerminalFactory(organization=order.organization)),
            ),
            2,
        ):
            _, before = self.now(order)
            change()
            version, after = self.now(order)
            assert version == number
            assert after > before

    def test_stays_when_nothing_changes(self, make):
        order = make(notes="Same.")
        before = self.now(order)
        rows = Order.objects.filter(pk=order.pk)
        rows.update(notes="Same.")
        rows.update(version=F("version"), updated_at=F("updated_at"), pallets=None)
        with connection.cursor() as cursor:
            cursor.execute("UPDATE orders_order SET notes = notes, eta_date = eta_date")
        order.save()
        assert self.now(order) == before

    def test_belongs_to_each_row(self, make):
        one, other = make(), make()
        Order.objects.filter(pk=one.pk).update(notes="New.")
        assert (self.now(one)[0], self.now(other)[0]) == (2, 1)

    def test_comes_with_a_moment_later_than_any_before(self, make):
        """Also where the clock was set back: who asks for changes since then misses none."""
        ahead = hours_ago(-24)
        order = make(updated_at=ahead)
        Order.objects.update(notes="New.")
        assert self.now(order) == (2, ahead + timedelta(microseconds=1))

    def test_is_read_back_after_a_change(self, make):
        order = make()
        order.notes = "New."
        order.save_changes(["notes"])
        assert (order.version, order.updated_at) == self.now(order)

    def test_is_one_for_a_new_order(self, make):
        order = make()
        assert self.now(order) == (1, order.updated_at)
        assert order.created_at == order.updated_at


class TestPlannedAt:
    def test_is_the_terminals_own_time(self, make):
        order = make(eta_date=TODAY, eta_time=time(6, 30), etd_date=TODAY)
        assert order.planned_at(ARRIVAL).isoformat() == "2026-11-23T05:30:00+00:00"

    def test_is_the_end_of_the_day_where_no_time_is_known(self, make):
        order = make(eta_date=TODAY, etd_date=TODAY)
        end = datetime.combine(TODAY, time.max, tzinfo=OSLO)
        assert order.planned_at(DEPARTURE) == end

    def test_is_nothing_without_a_leg(self, make):
        order = make(**COMES)
        assert order.planned_at(DEPARTURE) is None
        assert order.has_leg(ARRIVAL)
        assert not order.has_leg(DEPARTURE)

    def test_of_an_hour_that_comes_twice_is_the_first(self):
        first = instant_of(date(2026, 10, 25), time(2, 30), OSLO)
        assert first.isoformat() == "2026-10-25T00:30:00+00:00"

    @pytest.mark.parametrize(
        ("at", "skipped"),
        [
            (time(1, 59, 59), False),
            (time(2, 0), True),
            (time(2, 30), True),
            (time(2, 59, 59), True),
            (time(3, 0), False),
        ],
    )
    def test_knows_the_hour_that_the_clock_skips(self, at, skipped):
        assert is_skipped(date(2026, 3, 29), at, OSLO) is skipped
        assert not is_skipped(date(2026, 3, 28), at, OSLO)
        assert not is_skipped(date(2026, 10, 25), at, OSLO)

    @pytest.mark.parametrize("day", [date.min, date.max])
    def test_reaches_to_the_ends_of_the_calendar(self, make, day):
        for at in (time.min, time.max):
            assert instant_of(day, at, OSLO).tzinfo
            assert not is_skipped(day, at, OSLO)
