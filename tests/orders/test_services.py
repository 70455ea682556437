"""Every change of an order, and every rule that it is judged by."""

import uuid
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

import pytest
from django.db import IntegrityError, transaction

from core.errors import FieldError, RuleBroken, StaleVersion, UnknownReference
from orders import services
from orders.errors import WrongStatus
from orders.models import Order, Service, Status
from terminals.services import bind_staff
from tests.core.factories import UserFactory
from tests.fleet.factories import DriverFactory, TrailerFactory, TruckFactory
from tests.orders.factories import OrderFactory
from tests.terminals.factories import TerminalFactory

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
ONE_MICROSECOND = timedelta(microseconds=1)
DAY, NEXT_DAY = date(2026, 11, 23), date(2026, 11, 24)
TWO_LEGGED = [service for service in Service if service != Service.INTO_PLUKK_STORAGE]
STORED = {"service": Service.INTO_PLUKK_STORAGE}
BAD_FIELD = FieldError("pallets", "invalid", "Not a number.")


@pytest.fixture
def terminal(dispatcher):
    return TerminalFactory(organization=dispatcher.organization)


@pytest.fixture
def values(terminal):
    """What the plainest order is made of, with what is given beside it."""

    def values(**given):
        return {
            "terminal_id": terminal.pk,
            "reference": "A-1",
            "service": Service.CROSS_DOCK,
            "eta_date": DAY,
            "etd_date": NEXT_DAY,
            **given,
        }

    return values


@pytest.fixture
def create(dispatcher, values):
    return lambda **given: services.create_order(values(**given), by=dispatcher)


@pytest.fixture
def update(dispatcher):
    return lambda order, values, **how: services.update_order(order, values, by=dispatcher, **how)


@pytest.fixture
def order(terminal):
    return OrderFactory(terminal=terminal, eta_date=DAY, etd_date=NEXT_DAY)


@pytest.fixture
def in_state(terminal):
    def in_state(state, **given):
        trait = {} if state == "planned" else {state: True}
        return OrderFactory(terminal=terminal, eta_date=DAY, etd_date=NEXT_DAY, **trait, **given)

    return in_state


def stored(order):
    return Order.objects.filter(pk=order.pk).values().first()


def blamed(error):
    """What a refusal blames: each field with its code."""
    return {(each.field, each.code) for each in error.value.errors}


class TestCreateOrder:
    def test_stores_what_was_said_and_returns_it_as_stored(self, create, dispatcher, terminal):
        here = {"organization": terminal.organization}
        truck, trailer = TruckFactory(**here), TrailerFactory(**here)
        order = create(
            kilos=Decimal("2.5"),
            eta_time=time(6, 30),
            eta_truck_id=truck.pk,
            etd_trailer_id=trailer.pk,
            etd_driver_name="Ola",
            notes="Cold.",
        )
        assert (order.terminal, order.eta_truck, order.etd_trailer) == (terminal, truck, trailer)
        assert order.organization_id == dispatcher.organization_id
        assert (order.status, order.version) == (Status.PLANNED, 1)
        assert order.created_at == order.updated_at
        again = Order.objects.get(pk=order.pk)
        for field in Order._meta.concrete_fields:
            assert getattr(order, field.attname) == getattr(again, field.attname), field.name

    @pytest.mark.parametrize("service", TWO_LEGGED)
    def test_wants_both_days_of_every_service_but_storage(self, create, service):
        with pytest.raises(RuleBroken) as error:
            create(service=service, etd_date=None)
        assert blamed(error) == {("etd_date", "required")}
        with pytest.raises(RuleBroken) as error:
            create(service=service, eta_date=None)
        assert blamed(error) == {("eta_date", "required")}
        with pytest.raises(RuleBroken) as error:
            create(service=service, eta_date=None, etd_date=None)
        assert blamed(error) == {("eta_date", "required"), ("etd_date", "required")}
        assert not Order.objects.exists()

        assert create(service=service).service == service

    def test_wants_exactly_one_day_of_storage(self, create):
        with pytest.raises(RuleBroken) as error:
            create(**STORED)
        assert blamed(error) == {("etd_date", "one-leg-only")}
        with pytest.raises(RuleBroken) as error:
            create(**STORED, eta_date=None, etd_date=None)
        assert blamed(error) == {("eta_date", "required")}
        assert not Order.objects.exists()

        assert create(**STORED, etd_date=None).etd_date is None
        assert create(**STORED, eta_date=None, reference="A-2").eta_date is None

    def test_refuses_a_departure_before_the_arrival(self, create):
        with pytest.raises(RuleBroken) as error:
            create(eta_date=NEXT_DAY, etd_date=DAY)
        assert blamed(error) == {("etd_date", "departure-before-arrival")}
        same_day = {"eta_date": DAY, "etd_date": DAY, "eta_time": time(6, 30)}
        with pytest.raises(RuleBroken) as error:
            create(**same_day, etd_time=time(6, 29, 59))
        assert blamed(error) == {("etd_time", "departure-before-arrival")}
        assert not Order.objects.exists()

        create(**same_day, etd_time=time(6, 30))
        create(**same_day, reference="A-2")  # one time alone says nothing
        create(eta_time=time(6, 30), etd_time=time(6, 29), reference="A-3")  # the next day

    @pytest.mark.parametrize("leg", ["eta", "etd"])
    @pytest.mark.parametrize(
        ("name", "typed", "factory"),
        [
            ("driver", "driver_name", DriverFactory),
            ("driver", "driver_phone", DriverFactory),
            ("truck", "truck_plate", TruckFactory),
            ("trailer", "trailer_plate", TrailerFactory),
        ],
    )
    def test_takes_a_part_from_the_registry_or_typed(
        self, create, terminal, leg, name, typed, factory
    ):
        registered = {f"{leg}_{name}_id": factory(organization=terminal.organization).pk}
        by_hand = {f"{leg}_{typed}": "AB1"}
        with pytest.raises(RuleBroken) as error:
            create(**registered, **by_hand)
        first_typed = f"{leg}_driver_name" if name == "driver" else f"{leg}_{typed}"
        assert blamed(error) == {(first_typed, "registered-or-typed")}
        assert not Order.objects.exists()

        create(**registered)
        create(**by_hand, reference="A-2")

    def test_mixes_registered_and_typed_parts(self, create, terminal):
        driver = DriverFactory(organization=terminal.organization)
        order = create(eta_driver_id=driver.pk, eta_truck_plate="AB1", etd_driver_name="Ola")
        assert (order.eta_driver, order.eta_truck_plate) == (driver, "AB1")

    @pytest.mark.parametrize(("leg", "other"), [("eta", "etd"), ("etd", "eta")])
    def test_wants_the_day_of_a_leg_with_details(self, create, terminal, leg, other):
        here = {"organization": terminal.organization}
        details = {
            f"{leg}_driver_name": "Ola",
            f"{leg}_driver_phone": "22",
            f"{leg}_truck_plate": "AB1",
            f"{leg}_trailer_plate": "AB1",
            f"{leg}_driver_id": DriverFactory(**here).pk,
            f"{leg}_truck_id": TruckFactory(**here).pk,
            f"{leg}_trailer_id": TrailerFactory(**here).pk,
            f"{leg}_time": time(6, 30),
        }
        for number, (name, value) in enumerate(details.items()):
            with pytest.raises(RuleBroken) as error:
                create(**STORED, **{f"{leg}_date": None, name: value})
            assert blamed(error) == {(f"{leg}_date", "required")}, name
            create(**STORED, **{f"{other}_date": None, name: value}, reference=f"B-{number}")
        assert Order.objects.count() == len(details)

    @pytest.mark.parametrize("leg", ["eta", "etd"])
    def test_refuses_a_time_that_the_clock_skips(self, create, terminal, leg):
        night = {"eta_date": date(2026, 3, 29), "etd_date": date(2026, 3, 29)}
        with pytest.raises(RuleBroken) as error:
            create(**night, **{f"{leg}_time": time(2, 30)})
        assert blamed(error) == {(f"{leg}_time", "skipped-time")}
        assert not Order.objects.exists()

        for number, at in enumerate((time(1, 59, 59), time(3, 0))):
            create(**night, **{f"{leg}_time": at}, reference=f"B-{number}")
        terminal.timezone = "Atlantic/Reykjavik"  # which changes no clocks
        terminal.save()
        create(**night, **{f"{leg}_time": time(2, 30)})

    def test_takes_a_time_that_comes_twice_for_the_first(self, create):
        order = create(
            eta_date=date(2026, 10, 25), eta_time=time(2, 30), etd_date=date(2026, 10, 25)
        )
        (eta, _) = services.LEGS
        assert order.planned_at(eta) == datetime(2026, 10, 25, 0, 30, tzinfo=UTC)

    @pytest.mark.parametrize(
        ("name", "most", "code"),
        [("pallets", 99_999, "max_value"), ("boxes", 99_999, "max_value")],
    )
    def test_keeps_amounts_within_bounds(self, create, name, most, code):
        for number, (value, refused) in enumerate(
            ((-1, "min_value"), (0, None), (most, None), (most + 1, code))
        ):
            given = {name: value, "reference": f"B-{number}"}
            if refused:
                with pytest.raises(RuleBroken) as error:
                    create(**given)
                assert blamed(error) == {(name, refused)}
            else:
                assert getattr(create(**given), name) == value

    def test_keeps_kilos_above_nothing(self, create):
        with pytest.raises(RuleBroken) as error:
            create(kilos=Decimal("-0.01"))
        assert blamed(error) == {("kilos", "min_value")}
        assert create(kilos=Decimal("9999999.99")).kilos == Decimal("9999999.99")
        assert create(kilos=Decimal(0), reference="A-2").kilos == 0

    def test_tells_of_every_broken_rule_at_once(self, create):
        with pytest.raises(RuleBroken) as error:
            create(pallets=-1, boxes=-1, eta_date=None)
        assert {field for field, _ in blamed(error)} == {"pallets", "boxes", "eta_date"}

    def test_leaves_a_taken_reference_to_the_database(self, create, terminal):
        create(reference="Ab-1")
        with pytest.raises(IntegrityError), transaction.atomic():
            create(reference="aB-1")
        assert Order.objects.count() == 1
        create(reference="aB-1", terminal_id=TerminalFactory(organization=terminal.organization).pk)

    def test_knows_only_what_the_user_can_see(self, create, dispatcher, values):
        foreign = DriverFactory()
        for given, names in (
            ({"terminal_id": TerminalFactory().pk}, {"terminal_id"}),
            ({"eta_driver_id": foreign.pk}, {"eta_driver_id"}),
            ({"eta_driver_id": uuid.uuid4()}, {"eta_driver_id"}),
            (
                {"etd_driver_id": foreign.pk, "etd_truck_id": uuid.uuid4()},
                {"etd_driver_id", "etd_truck_id"},
            ),
        ):
            with pytest.raises(UnknownReference) as error:
                create(**given)
            assert {field for field, _ in blamed(error)} == names
        assert not Order.objects.exists()

        foreign.organization = dispatcher.organization
        foreign.save()
        assert create(eta_driver_id=foreign.pk).eta_driver == foreign

    def test_by_somebody_bound_is_for_their_terminals(self, values, terminal):
        bound = UserFactory(organization=terminal.organization)
        elsewhere = TerminalFactory(organization=terminal.organization)
        bind_staff(bound, [terminal])
        driver = DriverFactory(organization=terminal.organization)
        with pytest.raises(UnknownReference) as error:
            services.create_order(values(terminal_id=elsewhere.pk), by=bound)
        assert {field for field, _ in blamed(error)} == {"terminal_id"}
        order = services.create_order(values(eta_driver_id=driver.pk), by=bound)
        assert (order.terminal, order.eta_driver) == (terminal, driver)

    def test_by_a_superuser_stays_within_the_terminals_organization(self, values, terminal):
        root = UserFactory(superuser=True)
        own, foreign = DriverFactory(organization=terminal.organization), DriverFactory()
        with pytest.raises(UnknownReference) as error:
            services.create_order(values(eta_driver_id=foreign.pk), by=root)
        assert {field for field, _ in blamed(error)} == {"eta_driver_id"}
        order = services.create_order(values(eta_driver_id=own.pk), by=root)
        assert order.organization_id == terminal.organization_id


class TestUpdateOrder:
    def test_writes_what_differs_and_counts_it_once(self, update, order):
        changed = update(order, {"notes": "New.", "pallets": 3, "priority": False})
        assert (changed.notes, changed.pallets, changed.version) == ("New.", 3, 2)
        assert stored(order)["version"] == 2
        assert stored(order)["updated_at"] == changed.updated_at

    def test_of_nothing_writes_nothing(self, update, order):
        before = stored(order)
        same = {name: before[name] for name in ("reference", "service", "terminal_id", "kilos")}
        assert update(order, same).version == 1
        assert update(order, {}).version == 1
        assert stored(order) == before

    def test_judges_the_whole_order(self, update, order):
        before = stored(order)
        for values, fields in (
            ({"etd_date": DAY - timedelta(1)}, {("etd_date", "departure-before-arrival")}),
            ({"service": Service.INTO_PLUKK_STORAGE}, {("etd_date", "one-leg-only")}),
            ({"eta_date": None}, {("eta_date", "required")}),
            ({"pallets": -1}, {("pallets", "min_value")}),
        ):
            with pytest.raises(RuleBroken) as error:
                update(Order.objects.get(pk=order.pk), values)
            assert blamed(error) == fields
        assert stored(order) == before

    def test_looks_at_the_clock_of_a_new_terminal(self, update, in_state):
        night = {"eta_date": date(2026, 3, 29), "etd_date": date(2026, 3, 29)}
        order = in_state("planned")
        update(order, {**night, "eta_time": time(1, 30)})
        london = TerminalFactory(organization=order.organization, timezone="Europe/London")
        with pytest.raises(RuleBroken) as error:
            update(order, {"terminal_id": london.pk})
        assert blamed(error) == {("eta_time", "skipped-time")}

    def test_exchanges_a_registered_part_for_a_typed_one(self, update, order):
        driver = DriverFactory(organization=order.organization)
        update(order, {"eta_driver_id": driver.pk})
        with pytest.raises(RuleBroken) as error:
            update(Order.objects.get(pk=order.pk), {"eta_driver_name": "Ola"})
        assert blamed(error) == {("eta_driver_name", "registered-or-typed")}
        changed = update(
            Order.objects.get(pk=order.pk), {"eta_driver_id": None, "eta_driver_name": "Ola"}
        )
        assert (changed.eta_driver, changed.eta_driver_name, changed.version) == (None, "Ola", 3)

    def test_looks_up_only_what_changes(self, update, order, statements):
        """What the order has already is not asked for again."""
        driver = DriverFactory(organization=order.organization)
        with statements() as first:
            update(order, {"eta_driver_id": driver.pk})
        with statements() as again:
            changed = update(order, {"eta_driver_id": driver.pk, "notes": "New."})
        assert changed.notes == "New."
        looked_up = 'FROM "fleet_driver"'
        assert any(looked_up in sql for sql in first.sql)
        assert not any(looked_up in sql for sql in again.sql)

    @pytest.mark.parametrize(
        ("expected", "passes"),
        [(None, True), ({1}, True), ({3, 1}, True), ({2}, False), (set(), False)],
    )
    def test_wants_one_of_the_expected_versions(self, update, order, expected, passes):
        if passes:
            assert update(order, {"notes": "New."}, expected=expected).version == 2
        else:
            with pytest.raises(StaleVersion) as error:
                update(order, {"notes": "New."}, expected=expected)
            assert error.value.extra == {"current_version": 1}
            assert stored(order)["notes"] == ""

    @pytest.mark.parametrize("state", ["departed", "cancelled"])
    def test_of_an_ended_order_takes_only_notes(self, update, in_state, terminal, state):
        order = in_state(state)
        before = stored(order)
        beside = TerminalFactory(organization=terminal.organization)
        for values in (
            {"pallets": 3},
            {"notes": "New.", "priority": True},
            {"terminal_id": beside.pk},
            {"reference": "OTHER"},
            {"eta_date": DAY - timedelta(1)},
            {"eta_driver_name": "Ola"},
        ):
            with pytest.raises(WrongStatus):
                update(order, values)
        assert stored(order) == before

        assert update(order, {"notes": "New.", "pallets": None}).version == 2

    def test_of_an_arrived_order_keeps_terminal_and_service(self, update, in_state, terminal):
        order = in_state("arrived")
        beside = TerminalFactory(organization=terminal.organization)
        for values in ({"terminal_id": beside.pk}, {"service": Service.RELOAD_CAR_CAR}):
            with pytest.raises(WrongStatus):
                update(order, {**values, "notes": "New."})
        assert stored(order)["version"] == 1

        values = {"terminal_id": terminal.pk, "service": order.service, "reference": "OTHER"}
        assert update(order, values).reference == "OTHER"

    def test_of_an_arrived_order_keeps_its_arrival(self, update, terminal):
        order = OrderFactory(terminal=terminal, etd_date=None, **STORED, arrived=True)
        with pytest.raises(RuleBroken) as error:
            update(order, {"eta_date": None, "etd_date": NEXT_DAY})
        assert blamed(error) == {("eta_date", "required")}

    def test_tells_of_version_then_status_then_fields(self, update, in_state):
        order = in_state("departed")
        bad = {"values": {"pallets": 3}, "refused": [BAD_FIELD]}
        with pytest.raises(StaleVersion):
            update(order, **bad, expected={9})
        with pytest.raises(WrongStatus):
            update(order, **bad)
        with pytest.raises(RuleBroken) as error:
            update(in_state("planned"), **bad)
        assert blamed(error) == {("pallets", "invalid")}

    def test_leaves_what_is_no_field_of_people_to_the_rules(self, update, in_state):
        """An unknown name, or one that only the server sets, is no change that a status forbids."""
        for name in ("nonsense", "version", "status", "save", "pk", None):
            refused = [FieldError(name, "unknown-field", "There is no such field.")]
            with pytest.raises(RuleBroken) as error:
                update(in_state("departed"), {}, refused=refused)
            assert blamed(error) == {(name, "unknown-field")}


class TestArriveOrder:
    def test_records_the_moment(self, order):
        arrived = services.arrive_order(order, now=NOW)
        assert (arrived.status, arrived.arrived_at, arrived.version) == (Status.ARRIVED, NOW, 2)
        assert stored(order)["arrived_at"] == NOW

    def test_takes_a_moment_that_is_not_ahead(self, order):
        with pytest.raises(RuleBroken) as error:
            services.arrive_order(order, now=NOW, at=NOW + ONE_MICROSECOND)
        assert blamed(error) == {("at", "in-future")}
        assert (stored(order)["status"], stored(order)["arrived_at"]) == ("planned", None)

        assert services.arrive_order(order, now=NOW, at=NOW).arrived_at == NOW

    def test_leaves_the_plan_as_it_was(self, order):
        plan = {name: value for name, value in stored(order).items() if name[:3] in ("eta", "etd")}
        services.arrive_order(order, now=NOW, at=NOW - timedelta(days=30))
        assert {name: stored(order)[name] for name in plan} == plan

    @pytest.mark.parametrize("state", ["arrived", "departed", "cancelled"])
    def test_refuses_any_other_status(self, in_state, state):
        order = in_state(state)
        before = stored(order)
        with pytest.raises(WrongStatus):
            services.arrive_order(order, now=NOW)
        assert stored(order) == before

    def test_refuses_what_has_no_arrival(self, terminal):
        order = OrderFactory(terminal=terminal, eta_date=None, **STORED)
        with pytest.raises(WrongStatus):
            services.arrive_order(order, now=NOW)
        order = OrderFactory(terminal=terminal, etd_date=None, **STORED)
        assert services.arrive_order(order, now=NOW).status == Status.ARRIVED

    def test_tells_of_version_then_status_then_fields(self, in_state):
        with pytest.raises(StaleVersion):
            services.arrive_order(in_state("arrived"), now=NOW, expected={2}, refused=[BAD_FIELD])
        with pytest.raises(WrongStatus):
            services.arrive_order(in_state("arrived"), now=NOW, expected={1}, refused=[BAD_FIELD])
        with pytest.raises(RuleBroken):
            services.arrive_order(in_state("planned"), now=NOW, expected={1}, refused=[BAD_FIELD])


class TestDepartOrder:
    @pytest.fixture
    def arrived(self, terminal):
        return OrderFactory(terminal=terminal, status=Status.ARRIVED, arrived_at=NOW)

    def test_records_the_moment(self, arrived):
        later = NOW + timedelta(hours=2)
        departed = services.depart_order(arrived, now=later)
        assert (departed.status, departed.departed_at) == (Status.DEPARTED, later)
        assert (departed.arrived_at, departed.version) == (NOW, 2)

    def test_refuses_to_leave_before_it_came(self, arrived):
        later = NOW + timedelta(hours=2)
        with pytest.raises(RuleBroken) as error:
            services.depart_order(arrived, now=later, at=NOW - ONE_MICROSECOND)
        assert blamed(error) == {("at", "departure-before-arrival")}
        arrived.refresh_from_db()
        assert (arrived.status, arrived.departed_at) == (Status.ARRIVED, None)

        assert services.depart_order(arrived, now=later, at=NOW).departed_at == NOW

    def test_takes_a_moment_that_is_not_ahead(self, arrived):
        with pytest.raises(RuleBroken) as error:
            services.depart_order(arrived, now=NOW, at=NOW + ONE_MICROSECOND)
        assert blamed(error) == {("at", "in-future")}

    def test_takes_a_planned_order_only_without_an_arrival(self, terminal, order):
        with pytest.raises(WrongStatus):
            services.depart_order(order, now=NOW)
        assert stored(order)["version"] == 1

        from_stock = OrderFactory(terminal=terminal, eta_date=None, **STORED)
        departed = services.depart_order(from_stock, now=NOW)
        assert (departed.status, departed.arrived_at) == (Status.DEPARTED, None)

    def test_refuses_what_has_no_departure(self, terminal):
        order = OrderFactory(terminal=terminal, etd_date=None, arrived=True, **STORED)
        with pytest.raises(WrongStatus):
            services.depart_order(order, now=NOW)

    @pytest.mark.parametrize("state", ["departed", "cancelled"])
    def test_refuses_an_ended_order(self, in_state, state):
        order = in_state(state)
        before = stored(order)
        with pytest.raises(WrongStatus):
            services.depart_order(order, now=NOW)
        assert stored(order) == before

    def test_refuses_a_cancelled_order_from_stock(self, terminal):
        order = OrderFactory(terminal=terminal, eta_date=None, cancelled=True, **STORED)
        with pytest.raises(WrongStatus):
            services.depart_order(order, now=NOW)


class TestCancelOrder:
    @pytest.mark.parametrize("state", ["planned", "arrived"])
    def test_ends_what_has_not_ended(self, in_state, state):
        order = in_state(state)
        arrived_at = stored(order)["arrived_at"]
        cancelled = services.cancel_order(order, now=NOW, reason="No ship.")
        assert (cancelled.status, cancelled.cancelled_at) == (Status.CANCELLED, NOW)
        assert (cancelled.cancel_reason, cancelled.version) == ("No ship.", 2)
        assert stored(order)["arrived_at"] == arrived_at

    def test_wants_a_reason(self, order):
        with pytest.raises(RuleBroken) as error:
            services.cancel_order(order, now=NOW)
        assert blamed(error) == {("reason", "required")}
        assert stored(order)["status"] == "planned"

    @pytest.mark.parametrize("state", ["departed", "cancelled"])
    def test_refuses_an_ended_order(self, in_state, state):
        order = in_state(state)
        before = stored(order)
        with pytest.raises(WrongStatus):
            services.cancel_order(order, now=NOW, reason="No ship.")
        with pytest.raises(WrongStatus):  # before the reason is missed
            services.cancel_order(order, now=NOW)
        assert stored(order) == before


class TestReopenOrder:
    def test_plans_it_again_as_if_nothing_had_happened(self, in_state):
        order = in_state("cancelled", arrived_at=NOW)
        again = services.reopen_order(order)
        assert (again.status, again.cancel_reason, again.version) == (Status.PLANNED, "", 2)
        row = stored(order)
        assert row["arrived_at"] is row["departed_at"] is row["cancelled_at"] is None

    @pytest.mark.parametrize("state", ["planned", "arrived", "departed"])
    def test_refuses_what_was_not_cancelled(self, in_state, state):
        order = in_state(state)
        before = stored(order)
        with pytest.raises(WrongStatus):
            services.reopen_order(order)
        assert stored(order) == before

    def test_tells_of_version_then_status_then_fields(self, in_state):
        with pytest.raises(StaleVersion):
            services.reopen_order(in_state("planned"), expected={2}, refused=[BAD_FIELD])
        with pytest.raises(WrongStatus):
            services.reopen_order(in_state("planned"), refused=[BAD_FIELD])
        with pytest.raises(RuleBroken):
            services.reopen_order(in_state("cancelled"), refused=[BAD_FIELD])


class TestDeleteOrder:
    @pytest.mark.parametrize("state", ["planned", "arrived", "departed", "cancelled"])
    def test_takes_it_away_in_any_status(self, in_state, state):
        order, other = in_state(state), in_state(state)
        services.delete_order(order)
        assert list(Order.objects.all()) == [other]

    def test_wants_one_of_the_expected_versions(self, order):
        with pytest.raises(StaleVersion):
            services.delete_order(order, expected={2})
        assert stored(order)
        services.delete_order(order, expected={1})
        assert not stored(order)
