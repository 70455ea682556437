"""The fast path against the serializers that it is made of."""

import datetime
import string
import uuid
from decimal import Decimal
from typing import Any

import orjson
import pytest
from django.db import connection, models, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rest_framework import serializers

from core.api.renderers import JSONRenderer
from core.api.rows import MAX_FIELDS, NotCompilable, Rows
from core.postgres.ownership import as_owner
from fleet.api.serializers import DriverOut, TrailerOut, TruckOut
from fleet.models import Driver, Trailer, Truck
from orders.api.serializers import OrderDetailOut, OrderOut
from orders.models import Order
from terminals.api.serializers import TerminalOut
from terminals.models import Terminal
from tests.orders.factories import OrderFactory
from tests.terminals.factories import TerminalFactory

TABLES = (Terminal, Driver, Truck, Trailer, Order)
SHOWN = (TerminalOut, DriverOut, TruckOut, TrailerOut, OrderOut, OrderDetailOut)
ODD = "\"\\/\b\t\n\r\x01\x1f\x7f\x85\u2028\u2029\ufeff\u202e'%{}$😀é\u0301" + string.printable

text = st.one_of(
    st.text(st.sampled_from(ODD)),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
    st.sampled_from(["", "null", "{}", "%s", "__ids__", "\\u0000"]),
)
instants = st.datetimes(timezones=st.just(datetime.UTC))
VALUES: dict[type[models.Field], Any] = {
    models.CharField: text,
    models.UUIDField: st.uuids(),
    models.IntegerField: st.integers(-(2**31), 2**31 - 1),
    models.BooleanField: st.booleans(),
    models.DateField: st.dates(),
    models.TimeField: st.one_of(st.times(), st.times().map(lambda at: at.replace(microsecond=0))),
    models.DateTimeField: st.one_of(instants, instants.map(lambda at: at.replace(microsecond=0))),
    models.DecimalField: st.decimals(Decimal("-9999999.99"), Decimal("9999999.99"), places=2),
}


def values_of(field: Any) -> Any:
    values = next(VALUES[kind] for kind in type(field).__mro__ if kind in VALUES)
    if (longest := field.max_length) and isinstance(field, models.CharField):
        values = values.map(lambda value: str(value)[:longest])
    return st.one_of(st.none(), values) if field.null else values


def columns(model: Any) -> list[Any]:
    return [field for field in model._meta.concrete_fields if field.name != "organization"]


def rows_of(model: Any) -> Any:
    """One row of a table; what it refers to is there, or nothing."""
    plain = {f.column: values_of(f) for f in columns(model) if not f.many_to_one}
    related = {f.column: (f.null, f.related_model) for f in columns(model) if f.many_to_one}
    choice = {
        name: st.one_of(st.none(), st.integers(0, 1)) if null else st.integers(0, 1)
        for name, (null, _) in related.items()
    }
    return st.tuples(st.fixed_dictionaries(plain), st.fixed_dictionaries(choice))


def by_id(row: Any) -> Any:
    return row[0]["id"]


# Two of each thing that can be referred to, and some orders, however the database would judge them.
worlds = st.fixed_dictionaries(
    {
        model: st.lists(rows_of(model), min_size=2, max_size=2, unique_by=by_id)
        for model in (Terminal, Driver, Truck, Trailer)
    }
    | {Order: st.lists(rows_of(Order), min_size=1, max_size=4, unique_by=by_id)}
)


@pytest.fixture
def unguarded(db):
    """Empty tables without constraints, triggers and walls in front of the real ones."""
    with as_owner(), transaction.atomic(), connection.cursor() as cursor:
        for model in TABLES:
            table = model._meta.db_table
            cursor.execute(f"CREATE TEMPORARY TABLE {table} (LIKE {table}) ON COMMIT DROP")
        yield


def fill(world: Any) -> None:
    keys: dict[Any, list[Any]] = {}
    with connection.cursor() as cursor:
        for model in TABLES:
            cursor.execute(f"TRUNCATE pg_temp.{model._meta.db_table}")
            for plain, chosen in world[model]:
                given = {"organization_id": "00000000-0000-0000-0000-000000000000", **plain}
                for field in columns(model):
                    if field.many_to_one:
                        number = chosen[field.column]
                        key = None if number is None else keys[field.related_model][number]
                        given[field.column] = key
                names = ", ".join(given)
                marks = ", ".join(["%s"] * len(given))
                cursor.execute(
                    f"INSERT INTO {model._meta.db_table} ({names}) VALUES ({marks})",
                    list(given.values()),
                )
                keys.setdefault(model, []).append(given["id"])


def exact(value: Any) -> Any:
    """Values that are equal only if their types are, and objects only in the same order."""
    if isinstance(value, dict):
        return [(key, exact(each)) for key, each in value.items()]
    if isinstance(value, list):
        return [exact(each) for each in value]
    return type(value), value


def sent(data: Any) -> Any:
    return exact(orjson.loads(JSONRenderer().render(data)))


FAST = {shown: Rows(shown) for shown in SHOWN}


def one(fast: Rows, rows: Any) -> Any:
    return fast.one(*rows.order_by().values("pk").query.sql_with_params())


class TestTheTwoPaths:
    def test_say_the_same_of_every_row(self, unguarded):
        @given(worlds)
        @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
        def holds(world):
            fill(world)
            for shown, fast in FAST.items():
                things = list(shown.Meta.model.objects.all())
                ids = [thing.pk for thing in things]
                slow = sent(shown(things, many=True).data)
                assert sent(fast.page(ids)) == slow
                assert sent(fast.page(ids[::-1])) == slow[::-1]
                found = one(fast, shown.Meta.model.objects.filter(pk=ids[0]))
                assert sent(found[0]) == slow[ids.index(ids[0])]

        holds()

    def test_cover_every_column_that_is_shown(self):
        """A new field is compared as soon as it is there: the random rows follow the models."""
        for model in TABLES:
            for field in columns(model):
                assert field.many_to_one or values_of(field) is not None


class TestPage:
    @pytest.fixture
    def orders(self, db):
        terminal = TerminalFactory()
        return OrderFactory.create_batch(5, terminal=terminal)

    def test_keeps_the_order_of_the_ids(self, orders):
        wanted = [orders[index].pk for index in (3, 0, 4)]
        page = orjson.loads(orjson.dumps(FAST[OrderOut].page(wanted)))
        assert [each["id"] for each in page] == [str(key) for key in wanted]

    def test_leaves_out_what_is_gone(self, orders):
        ids = [order.pk for order in orders]
        orders[1].delete()
        assert len(orjson.loads(orjson.dumps(FAST[OrderOut].page(ids)))) == 4
        assert orjson.dumps(FAST[OrderOut].page([ids[1]])) == b"[]"

    def test_of_nothing_asks_nothing(self, db, django_assert_num_queries):
        with django_assert_num_queries(0):
            assert orjson.dumps(FAST[OrderOut].page([])) == b"[]"

    def test_is_planned_once_for_all_pages(self, orders):
        def prepared():
            with connection.cursor() as cursor:
                cursor.execute("SELECT count(*) FROM pg_prepared_statements")
                return cursor.fetchone()[0]

        fast = Rows(OrderOut, beside=["version"])
        for order in orders:
            fast.page([order.pk])
            assert one(fast, Order.objects.filter(pk=order.pk))[0] == order.version
        before = prepared()
        for order in orders:
            fast.page([order.pk, orders[0].pk])
            one(fast, Order.objects.filter(pk=order.pk))
        assert prepared() == before

    def test_finds_no_row_where_there_is_none(self, orders):
        nothing = Order.objects.filter(pk=uuid.uuid4())
        assert one(FAST[OrderOut], nothing) is None


class _Own(serializers.CharField):
    def to_representation(self, value: Any) -> str:
        return str(value).title()


def serializer(**fields: Any) -> Any:
    meta = type("Meta", (), {"model": Order, "fields": list(fields)})
    return type("Shown", (serializers.ModelSerializer,), {**fields, "Meta": meta})


class TestWhatCannotBeCompiled:
    @pytest.mark.parametrize(
        "field",
        [
            serializers.SerializerMethodField(),
            serializers.CharField(source="terminal.name"),
            serializers.CharField(source="terminal"),
            serializers.CharField(source="kilos"),
            serializers.StringRelatedField(source="terminal"),
            serializers.PrimaryKeyRelatedField(source="terminal", read_only=True),
            serializers.DecimalField(source="kilos", max_digits=9, decimal_places=2),
            serializers.DateTimeField(source="created_at", format="%Y"),
            serializers.UUIDField(source="id", format="int"),
            serializers.IntegerField(source="has_leg"),
            TerminalOut(source="terminal", many=True),
            _Own(source="reference"),
        ],
        ids=lambda field: f"{type(field).__name__}-{getattr(field, 'source', None)}",
    )
    def test_is_refused_by_its_name(self, field):
        with pytest.raises(NotCompilable, match=r"Shown\.odd"):
            Rows(serializer(odd=field))

    def test_an_object_of_too_many_fields_is_refused(self):
        many = {f"f{n}": serializers.CharField(source="notes") for n in range(MAX_FIELDS + 1)}
        with pytest.raises(NotCompilable):
            Rows(serializer(**many))

    def test_stops_the_process_that_imports_the_view(self):
        from core.api.views import ContractViewSet

        odd = serializer(odd=serializers.SerializerMethodField())
        with pytest.raises(NotCompilable):
            type("View", (ContractViewSet,), {"serializer_class": odd})
