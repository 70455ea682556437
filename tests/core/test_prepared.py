"""Statements that are compiled once see what the QuerySets they stand for see."""

from datetime import date

import pytest
from django.db import connection
from django.db.models import UUIDField

from core.prepared import Given, PreparedFor, PreparedOne
from orders.models import Order
from terminals.services import bind_staff
from tests.core.factories import UserFactory
from tests.orders.factories import OrderFactory
from tests.terminals.factories import TerminalFactory

pytestmark = pytest.mark.django_db

HELD = PreparedFor(
    lambda who: (
        Order.objects.visible_to(who).with_details().locked().filter(pk=Given("id", UUIDField()))
    )
)


class TestPreparedFor:
    @pytest.fixture
    def orders(self, dispatcher):
        here = TerminalFactory.create_batch(2, organization=dispatcher.organization)
        return [OrderFactory(terminal=terminal) for terminal in (*here, TerminalFactory())]

    def test_sees_what_the_queryset_sees(self, dispatcher, orders):
        bound = UserFactory(organization=dispatcher.organization)
        bind_staff(bound, [orders[0].terminal])
        for who, count in ((UserFactory(superuser=True), 3), (dispatcher, 2), (bound, 1)):
            seen = {order.pk for order in orders if HELD.one(who, id=order.pk)}
            assert seen == set(Order.objects.visible_to(who).values_list("pk", flat=True))
            assert len(seen) == count

    def test_makes_the_instances_that_the_queryset_makes(self, dispatcher, orders, statements):
        wanted = Order.objects.with_details().get(pk=orders[0].pk)
        HELD.one(dispatcher, id=wanted.pk)
        with statements() as done:
            made = HELD.one(dispatcher, id=wanted.pk)
            assert made.terminal.name == wanted.terminal.name
            assert made.eta_driver == wanted.eta_driver
        assert len(done.sql) == 1
        for field in Order._meta.concrete_fields:
            assert getattr(made, field.attname) == getattr(wanted, field.attname), field.name


class TestPreparedOne:
    def test_makes_all_the_instances_that_the_queryset_makes(self, dispatcher, statements):
        terminal = TerminalFactory(organization=dispatcher.organization)
        OrderFactory.create_batch(3, terminal=terminal)

        def of(key):
            found = Order.objects.filter(terminal=key).select_related("terminal").order_by("-pk")
            return found.defer("notes")[:2]

        prepared = PreparedOne(lambda: of(Given("terminal", UUIDField())))
        with statements() as done:
            made = prepared.each(terminal=terminal.pk)
            assert [order.terminal.name for order in made] == [terminal.name] * 2
        assert len(done.sql) == 1
        assert made == list(of(terminal.pk))
        assert made[0].get_deferred_fields() == {"notes"}
        assert prepared.each(terminal=made[0].pk) == []


class TestAWrite:
    def test_is_one_statement_whatever_the_values(self, dispatcher):
        def prepared():
            with connection.cursor() as cursor:
                cursor.execute("SELECT count(*) FROM pg_prepared_statements")
                return cursor.fetchone()[0]

        order = OrderFactory(terminal__organization=dispatcher.organization)
        order.save_changes(["notes", "pallets", "commodity", "kilos", "eta_date"])
        before = prepared()
        for pallets, day in ((1, date(2026, 11, 23)), (99_999, order.eta_date), (None, date.min)):
            order.pallets, order.eta_date = pallets, min(day, order.etd_date or day)
            order.commodity = None if pallets else Order.Commodity.SALMON
            order.save_changes(["notes", "pallets", "commodity", "kilos", "eta_date"])
        assert prepared() == before
        order.refresh_from_db()
        assert (order.pallets, order.commodity, order.eta_date) == (None, "salmon", date.min)
