"""A rule is judged alike by PostgreSQL and in Python, and nobody writes around it."""

import json
from datetime import UTC, date, datetime, time
from decimal import Decimal
from functools import cache
from uuid import UUID

import pytest
from django.core.exceptions import ValidationError
from django.core.serializers.json import DjangoJSONEncoder
from django.db import IntegrityError, connection, models, transaction
from django.db.models import F, Q
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.constraints import Rule, Unique, broken_rules, judge, keep_rules
from core.database_errors import refusal_of
from core.errors import RuleBroken
from core.models import Organization, Role, User
from core.row_security import SameOrganization
from fleet.models import Driver, Trailer, Truck
from orders.models import Commodity, Order, Service, Status
from terminals.models import Terminal
from tests.core.factories import OrganizationFactory, UserFactory
from tests.fleet.factories import DriverFactory, TrailerFactory, TruckFactory
from tests.orders.factories import OrderFactory
from tests.terminals.factories import TerminalFactory

SOMETHING = UUID("01a20686-17bd-77a5-adad-7f27f88c19be")
DAYS = [None, date(2026, 3, 28), date(2026, 3, 29), date(2026, 3, 30)]
TIMES = [None, time(0), time(6, 30), time(6, 30, 1), time(23, 59, 59)]
INSTANTS = [None, *(datetime(2026, 3, 29, hour, tzinfo=UTC) for hour in (0, 1, 2))]
COUNTS = [None, -(2**31), -1, 0, 1, 99_999, 100_000, 2**31 - 1]
KILOS = [None, *map(Decimal, ("-9999999.99", "-0.01", "0", "0.01", "9999999.99"))]
PLATES = ["", "AB12345", "ÅS1", "ŽÞ", "ab1", "A B", "A-B", "АВ1", "AB1\n", "\nAB1", "×", "÷", "A_"]
WORDS = ["", "x", " ", "\n"]
PHONES = [
    "",
    "+1",
    "+12",
    "+4790123456",
    "+123456789012345",
    "+12345678901234x",
    "+0123",
    "x",
    "+",
]
PHONES += ["4790123456", "+47\n", " +47", "+٤٧"]

# For each model values on both sides of what its rules draw lines between.
VALUES = {
    Order: {
        "reference": WORDS,
        "service": [*Service.values, "", "x"],
        "commodity": [None, *Commodity.values, "", "x"],
        "status": [*Status.values, "", "x"],
        "pallets": COUNTS,
        "boxes": COUNTS,
        "kilos": KILOS,
        "arrived_at": INSTANTS,
        "departed_at": INSTANTS,
        "cancelled_at": INSTANTS,
        "cancel_reason": WORDS,
        "version": [-1, 0, 1, 2],
        **{f"{leg}_date": DAYS for leg in ("eta", "etd")},
        **{f"{leg}_time": TIMES for leg in ("eta", "etd")},
        **{
            f"{leg}_{part}_id": [None, SOMETHING]
            for leg in ("eta", "etd")
            for part in ("driver", "truck", "trailer")
        },
        **{
            f"{leg}_driver_{typed}": ["", "x"]
            for leg in ("eta", "etd")
            for typed in ("name", "phone")
        },
        **{
            f"{leg}_{part}_plate": PLATES for leg in ("eta", "etd") for part in ("truck", "trailer")
        },
    },
    Terminal: {"name": WORDS, "account_code": WORDS, "timezone": ["", "Europe/Oslo", "x"]},
    Driver: {"name": WORDS, "phone": PHONES},
    **{
        model: {
            "license_plate": PLATES,
            "plate_country": ["", "NO", "no", "N0", "N", "ÆØ", "N\n"],
        }
        for model in (Truck, Trailer)
    },
    Organization: {
        "name": WORDS,
        **{
            f"limit_{kind}": [
                "",
                "60/minute",
                "1/second",
                "0/minute",
                "-1/minute",
                "60",
                "60/minute\n",
            ]
            for kind in ("read", "write", "upload")
        },
    },
    User: {
        "is_superuser": [True, False],
        "organization_id": [None, SOMETHING],
        "role": [*Role.values, "", "x", "ADMIN"],
    },
}


def rules(model: type[models.Model]) -> list[Rule]:
    return [each for each in model._meta.constraints if isinstance(each, Rule)]


ALL_RULES = {rule.name: (model, rule) for model in VALUES for rule in rules(model)}


@cache
def checks(table: str) -> dict[str, str]:
    """What PostgreSQL keeps of a table's CHECKs, as SQL, by name."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT conname, pg_get_expr(conbin, conrelid) FROM pg_constraint"
            " WHERE contype = 'c' AND conrelid = %s::regclass",
            [table],
        )
        return dict(cursor.fetchall())


def judged_by_postgresql(instance: models.Model) -> dict[str, bool | None]:
    """What each CHECK says of the row, whether or not it could be written; one statement."""
    table = instance._meta.db_table
    names, expressions = zip(*checks(table).items(), strict=True)
    row = {column: getattr(instance, column) for column in VALUES[type(instance)]}
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {', '.join(expressions)} FROM jsonb_populate_record(NULL::{table}, %s::jsonb)",
            [json.dumps(row, cls=DjangoJSONEncoder)],
        )
        return dict(zip(names, cursor.fetchone(), strict=True))


@st.composite
def instances(draw, model):
    values = {name: draw(st.sampled_from(choices)) for name, choices in VALUES[model].items()}
    return model(**values)


def agrees(model):
    """A test that Python and PostgreSQL say the same of many rows of this model."""

    @settings(
        max_examples=400 if model is Order else 60,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )
    @given(instances(model))
    def test(instance):
        said = {rule.name: judge(rule.condition, model)(instance) for rule in rules(model)}
        assert said == judged_by_postgresql(instance)
        told = [rule.told() for rule in rules(model) if said[rule.name] is False]
        assert list(broken_rules(instance)) == told

    return test


@pytest.mark.django_db
class TestPythonAndPostgresql:
    @pytest.mark.parametrize("model", VALUES, ids=lambda model: model.__name__)
    def test_agree_on_every_rule_of_any_row(self, model):
        agrees(model)()

    def test_have_the_same_rules(self):
        for model in VALUES:
            assert set(checks(model._meta.db_table)) == {rule.name for rule in rules(model)}

    def test_have_values_for_every_column_that_a_rule_asks_for(self):
        def columns(condition):
            for child in condition.children:
                if isinstance(child, Q):
                    yield from columns(child)
                else:
                    yield child[0].partition("__")[0]
                    if isinstance(child[1], F):
                        yield child[1].name

        for model, values in VALUES.items():
            asked = {name for rule in rules(model) for name in columns(rule.condition)}
            assert asked <= {name.removesuffix("_id") for name in values} | {*values}


# A change that breaks the rule, for a row as the factory makes it.
BREAKS = {
    "orders_order_reference_not_empty": {"reference": ""},
    "orders_order_service_known": {"service": "x"},
    "orders_order_commodity_known": {"commodity": "x"},
    "orders_order_status_known": {"status": "x"},
    "orders_order_pallets_not_negative": {"pallets": -1},
    "orders_order_pallets_within_bounds": {"pallets": 100_000},
    "orders_order_boxes_not_negative": {"boxes": -1},
    "orders_order_boxes_within_bounds": {"boxes": 100_000},
    "orders_order_kilos_not_negative": {"kilos": Decimal("-0.01")},
    **{
        f"orders_order_{leg}_{part}_registered_or_typed": {f"{leg}_{part}": part, typed: "AB1"}
        for leg in ("eta", "etd")
        for part, typed in (
            ("driver", f"{leg}_driver_name"),
            ("truck", f"{leg}_truck_plate"),
            ("trailer", f"{leg}_trailer_plate"),
        )
    },
    **{
        f"orders_order_{leg}_{part}_plate_is_normal": {f"{leg}_{part}_plate": "АВ1"}
        for leg in ("eta", "etd")
        for part in ("truck", "trailer")
    },
    **{
        f"orders_order_{leg}_time_has_date": {f"{leg}_date": None, f"{leg}_time": time(6)}
        for leg in ("eta", "etd")
    },
    **{
        f"orders_order_{leg}_details_have_date": {f"{leg}_date": None, f"{leg}_driver_name": "x"}
        for leg in ("eta", "etd")
    },
    "orders_order_service_has_its_eta": {"eta_date": None},
    "orders_order_service_has_its_etd": {"etd_date": None},
    "orders_order_storage_has_a_leg": {
        "service": Service.INTO_PLUKK_STORAGE,
        "eta_date": None,
        "etd_date": None,
    },
    "orders_order_storage_has_one_leg": {"service": Service.INTO_PLUKK_STORAGE},
    "orders_order_arrival_day_not_after_departure": {
        "eta_date": date(2026, 1, 2),
        "etd_date": date(2026, 1, 1),
    },
    "orders_order_arrival_time_not_after_departure": {
        "eta_date": date(2026, 1, 1),
        "eta_time": time(6, 0, 1),
        "etd_date": date(2026, 1, 1),
        "etd_time": time(6),
    },
    "orders_order_status_agrees_with_instants": {"status": Status.ARRIVED},
    "orders_order_arrived_has_arrival": {"eta_date": None, "arrived_at": INSTANTS[1]},
    "orders_order_departed_has_departure": {"etd_date": None, "departed_at": INSTANTS[1]},
    "orders_order_cancelled_has_reason": {"cancel_reason": "x"},
    "orders_order_arrived_before_departed": {"arrived_at": INSTANTS[2], "departed_at": INSTANTS[1]},
    "orders_order_version_positive": {"version": 0},
    "terminals_terminal_name_not_empty": {"name": ""},
    "terminals_terminal_account_code_not_empty": {"account_code": ""},
    "terminals_terminal_timezone_not_empty": {"timezone": ""},
    "fleet_driver_name_not_empty": {"name": ""},
    "fleet_driver_phone_is_e164": {"phone": "90123456"},
    **{
        f"fleet_{kind}_{truth}": change
        for kind in ("truck", "trailer")
        for truth, change in (
            ("plate_not_empty", {"license_plate": ""}),
            ("plate_is_normal", {"license_plate": "АВ1"}),
            ("country_is_two_letters", {"plate_country": "N0"}),
        )
    },
    "core_organization_name_not_empty": {"name": ""},
    **{
        f"core_organization_limit_{kind}_is_rate": {f"limit_{kind}": "often"}
        for kind in ("read", "write", "upload")
    },
    "core_user_has_organization_unless_superuser": {"organization": None},
    "core_user_role_known": {"role": "x"},
}
FACTORIES = {
    Order: OrderFactory,
    Terminal: TerminalFactory,
    Driver: DriverFactory,
    Truck: TruckFactory,
    Trailer: TrailerFactory,
    Organization: OrganizationFactory,
    User: UserFactory,
}
THINGS = {"driver": DriverFactory, "truck": TruckFactory, "trailer": TrailerFactory}


@pytest.mark.django_db
class TestACheck:
    def test_is_broken_by_one_of_the_changes_below(self):
        assert set(BREAKS) == set(ALL_RULES)

    @pytest.mark.parametrize("name", BREAKS)
    @pytest.mark.usefixtures("owner")
    def test_refuses_what_is_written_around_the_services(self, name):
        model, rule = ALL_RULES[name]
        row = FACTORIES[model]()
        changes = {
            column: THINGS[value](organization=row.organization) if value in THINGS else value
            for column, value in BREAKS[name].items()
        }
        connection.check_constraints()  # nothing is pending, so that the table can be altered
        with connection.cursor() as cursor:  # one change may break several: the others stand aside
            for other in set(checks(model._meta.db_table)) - {name}:
                cursor.execute(f"ALTER TABLE {model._meta.db_table} DROP CONSTRAINT {other}")
            if "version" in changes:  # which the trigger would set
                cursor.execute(f"ALTER TABLE {model._meta.db_table} DISABLE TRIGGER USER")

        with pytest.raises(IntegrityError) as caught, transaction.atomic():
            model._base_manager.filter(pk=row.pk).update(**changes)
        assert caught.value.__cause__.diag.constraint_name == name
        refusal = refusal_of(caught.value)
        assert type(refusal) is RuleBroken
        assert refusal.errors == [rule.told()]

    @pytest.mark.parametrize("name", BREAKS)
    def test_is_known_in_python_and_told_in_words(self, name):
        model, rule = ALL_RULES[name]
        row = FACTORIES[model]()
        assert not list(broken_rules(row))
        for column, value in BREAKS[name].items():
            thing = THINGS[value](organization=row.organization) if value in THINGS else value
            setattr(row, column, thing)
        assert rule.told() in list(broken_rules(row))
        with pytest.raises(RuleBroken) as caught:
            keep_rules(row)
        assert rule.told() in caught.value.errors
        with pytest.raises(ValidationError) as shown:
            rule.validate(model, row)
        assert rule.message in shown.value.messages
        assert rule.code
        assert rule.message.endswith(".")


class TestTruth:
    @pytest.mark.parametrize(
        ("condition", "said"),
        [
            (Q(pallets=1), None),
            (~Q(pallets=1), None),
            (Q(pallets=1) | Q(reference="x"), True),
            (Q(pallets=1) & Q(reference="y"), False),
            (Q(pallets=1) | Q(reference="y"), None),
            (Q(pallets__isnull=True), True),
            (~Q(pallets__isnull=True), False),
            (Q(pallets__lte=F("boxes")), None),
            (Q(), True),
        ],
        ids=str,
    )
    def test_is_sqls_of_three_values(self, condition, said):
        assert judge(condition, Order)(Order(reference="x")) is said

    def test_is_not_guessed_where_only_the_database_knows(self):
        with pytest.raises(KeyError):
            judge(Q(reference__icontains="x"), Order)


class TestAConstraint:
    def test_stays_out_of_the_migrations_with_what_people_are_told(self):
        told = {"field", "code", "message"}
        for model in VALUES:
            for constraint in model._meta.constraints:
                if isinstance(constraint, SameOrganization):  # which Django knows nothing of
                    continue
                assert isinstance(constraint, Rule | Unique)
                path, _, kwargs = constraint.deconstruct()
                assert path.startswith("django.db.models.")
                assert not told & set(kwargs)
                assert constraint.clone().told() == constraint.told()
