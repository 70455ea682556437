"""A rule is declared once: Python's judgement of it is PostgreSQL's."""

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.apps import apps
from django.db import connection, models
from django.db.models import F, Q
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.constraints import Rule, broken_rules, truth
from fleet.models import Driver, Trailer, Truck
from orders.models import Commodity, Order, Service, Status
from terminals.models import Terminal

pytestmark = pytest.mark.django_db

RULED = [
    model
    for model in apps.get_models()
    if any(isinstance(each, Rule) for each in model._meta.constraints)
]
KEYS = st.sampled_from(["01890000-0000-7000-8000-000000000001", None])
DAYS = st.sampled_from([None, date(2026, 11, 23), date(2026, 11, 24)])
TIMES = st.sampled_from([None, time(6), time(6, 30)])
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
INSTANTS = st.sampled_from([None, NOON, NOON + timedelta(microseconds=1)])
NUMBERS = st.sampled_from([None, -1, 0, 1, 99_999, 100_000])
TEXTS = st.sampled_from(["", "AB12345", "ab", "Å1", "А1", "+4790123456", "4790", "NO", "N", " "])
KNOWN = {
    "service": st.sampled_from([*Service.values, "teleport"]),
    "status": st.sampled_from([*Status.values, "lost"]),
    "commodity": st.sampled_from([*Commodity.values, "tuna", None]),
    "role": st.sampled_from(["admin", "dispatcher", "viewer", "king"]),
    "version": st.sampled_from([-1, 0, 1, 2]),
    "kilos": st.sampled_from([None, Decimal("-0.01"), Decimal(0), Decimal("0.01")]),
}
KINDS: dict[type[models.Field], Any] = {
    models.ForeignKey: KEYS,
    models.DateTimeField: INSTANTS,
    models.DateField: DAYS,
    models.TimeField: TIMES,
    models.IntegerField: NUMBERS,
    models.BooleanField: st.booleans(),
    models.CharField: TEXTS,
}


def values_of(field: models.Field) -> Any:
    if field.name in KNOWN:
        return KNOWN[field.name]
    for kind, strategy in KINDS.items():
        if isinstance(field, kind):
            return strategy.filter(lambda value: field.null or value is not None)
    return st.none()


def rows(model: type[models.Model]) -> Any:
    columns = {
        field.attname: values_of(field)
        for field in model._meta.local_fields
        if not field.primary_key
    }
    return st.builds(model, **columns)


def judged_by_postgres(instance: models.Model) -> set[str]:
    """The names of the CHECKs that the row would break, without writing it."""
    fields = instance._meta.local_fields
    # Without the length of a varchar: a cast would cut what is too long.
    columns = ", ".join(
        f'%s::{str(field.db_type(connection)).partition("(")[0]} AS "{field.column}"'
        for field in fields
    )
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT conname, pg_get_expr(conbin, conrelid) FROM pg_constraint"
            " WHERE conrelid = %s::regclass AND contype = 'c'",
            [instance._meta.db_table],
        )
        checks = dict(cursor.fetchall())
        asked = ", ".join(f"({check})" for check in checks.values())
        params = [getattr(instance, field.attname) for field in fields]
        cursor.execute(
            f"SELECT {asked} FROM (SELECT {columns}) AS given".replace("%%", "%"), params
        )
        verdicts = cursor.fetchone()
    return {name for name, kept in zip(checks, verdicts, strict=True) if kept is False}


def judged_by_python(instance: models.Model) -> set[str]:
    return {
        rule.name
        for rule in instance._meta.constraints
        if isinstance(rule, Rule) and truth(rule.condition, instance) is False
    }


class TestEveryRule:
    @pytest.mark.parametrize("model", RULED, ids=lambda model: model.__name__)
    def test_is_judged_in_python_as_by_postgresql(self, model):
        @settings(
            max_examples=400 if model is Order else 60,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        )
        @given(instance=rows(model))
        def agree(instance: models.Model) -> None:
            assert judged_by_python(instance) == judged_by_postgres(instance)

        agree()

    def test_of_the_database_is_declared_on_a_model(self):
        declared = {
            each.name
            for model in apps.get_models()
            for each in model._meta.constraints
            if isinstance(each, Rule)
        }
        tables = [model._meta.db_table for model in apps.get_models() if model.__module__ in HOUSE]
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT conname FROM pg_constraint WHERE contype = 'c'"
                " AND conrelid = ANY (%s::regclass[])",
                [tables],
            )
            assert {name for (name,) in cursor.fetchall()} == declared

    def test_tells_people_what_is_wrong_and_where(self):
        for model in RULED:
            for rule in model._meta.constraints:
                if isinstance(rule, Rule):
                    told = rule.told()
                    assert told.code, rule.name
                    assert told.message, rule.name

    def test_is_named_for_its_table(self):
        for model in RULED:
            for rule in model._meta.constraints:
                assert rule.name.startswith(model._meta.db_table), rule.name


HOUSE = {model.__module__ for model in (Driver, Truck, Trailer, Order, Terminal)} | {"core.models"}


class TestTruth:
    @pytest.mark.parametrize(
        ("condition", "expected"),
        [
            (Q(eta_date__gt=F("etd_date")), None),
            (~Q(eta_date__gt=F("etd_date")), None),
            (Q(eta_date__gt=F("etd_date")) | Q(priority=True), True),
            (Q(eta_date__gt=F("etd_date")) & Q(priority=False), False),
            (Q(eta_date__gt=F("etd_date")) & Q(priority=True), None),
            (Q(eta_date__isnull=True), True),
            (~Q(eta_date__isnull=True), False),
        ],
    )
    def test_knows_the_third_value_of_sql(self, condition, expected):
        order = Order(etd_date=date(2026, 11, 23), priority=True)
        assert truth(condition, order) is expected

    def test_refuses_to_guess_a_look_up_that_only_the_database_knows(self):
        with pytest.raises(KeyError):
            truth(Q(reference__trigram_similar="x"), Order(reference="y"))


def test_a_broken_rule_is_told_once():
    order = Order(service=Service.CROSS_DOCK, reference="R", eta_date=date(2026, 11, 23))
    told = [error.field for error in broken_rules(order)]
    assert told == ["etd_date"]
