"""What PostgreSQL refuses, as callers are told: section 3 of docs/reliability.md."""

import contextlib
from contextlib import contextmanager
from decimal import Decimal

import psycopg
import pytest
from django.apps import apps
from django.db import DatabaseError, IntegrityError, connection, models, transaction
from django.db.models import ProtectedError
from psycopg.types.json import Jsonb

from core import database_errors
from core.api import views
from core.database_errors import refusal_of
from core.errors import Conflict, InUse, RuleBroken, Unavailable, UnknownReference
from core.postgres.ownership import as_owner
from orders.models import Order
from terminals.models import TerminalStaff
from tests.core.answers import problem
from tests.core.factories import OrganizationFactory, UserFactory
from tests.core.resources import RESOURCES, columns, row_counts
from tests.fleet.factories import DriverFactory, TrailerFactory, TruckFactory
from tests.orders.factories import OrderFactory
from tests.terminals.factories import TerminalFactory

OURS = [
    model
    for config in ("core", "terminals", "fleet", "orders")
    for model in apps.get_app_config(config).get_models()
]


def refused(act, *args, **kwargs):
    """What refuses `act`, in the words of core.errors; the transaction goes on."""

    def act_to_the_end() -> None:
        act(*args, **kwargs)
        connection.check_constraints()

    with pytest.raises(DatabaseError) as caught, transaction.atomic():
        act_to_the_end()
    return refusal_of(caught.value)


def told(refusal) -> list[tuple[str | None, str]]:
    return [(error.field, error.code) for error in refusal.errors]


def run(sql: str, *params: object) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql, params)


@contextmanager
def elsewhere():
    """A second connection to the same database, which commits each statement at once."""
    info = {**connection.get_connection_params(), "cursor_factory": None}
    with psycopg.connect(**info, autocommit=True) as other:
        yield other


@contextmanager
def raising(sqlstate: str, *, times: int = 1_000, deferred: bool = False):
    """PostgreSQL refuses the next `times` new drivers with this SQLSTATE; yields a count."""
    with as_owner():
        run("CREATE SEQUENCE tries")
        run(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN"
            f" IF nextval('tries') <= {times} THEN"
            f" RAISE EXCEPTION 'Key (host)=(10.0.0.1) in /var/lib' USING ERRCODE = '{sqlstate}';"
            " END IF; RETURN NEW; END$$"
        )
        if deferred:
            run(
                "CREATE CONSTRAINT TRIGGER refuses AFTER INSERT ON fleet_driver"
                " DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse()"
            )
        else:
            run(
                "CREATE TRIGGER refuses BEFORE INSERT ON fleet_driver"
                " FOR EACH ROW EXECUTE FUNCTION refuse()"
            )

    def tries() -> int:
        with connection.cursor() as cursor:
            cursor.execute("SELECT last_value FROM tries")
            return cursor.fetchone()[0]

    try:
        yield tries
    finally:
        with as_owner():
            run("DROP FUNCTION refuse CASCADE")
            run("DROP SEQUENCE tries")


@pytest.fixture
def no_pause(monkeypatch):
    monkeypatch.setattr(views, "MAX_PAUSE_S", 0)
    monkeypatch.setattr(views, "MIN_PAUSE_S", 0)


@pytest.mark.django_db
class TestTheTableOfConstraints:
    def kept_by_database(self, kinds: str) -> set[str]:
        tables = [model._meta.db_table for model in OURS]
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT conname FROM pg_constraint"
                " WHERE contype::text = ANY(%s) AND conrelid = ANY(%s::regclass[])",
                [list(kinds), tables],
            )
            names = {name for (name,) in cursor.fetchall()}
            if "u" in kinds:
                cursor.execute(
                    "SELECT relname FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid"
                    " WHERE indisunique AND NOT indisprimary AND indrelid = ANY(%s::regclass[])",
                    [tables],
                )
                names |= {name for (name,) in cursor.fetchall()}
        return names

    @pytest.mark.parametrize("kinds", ["c", "u", "f", "p", "x"])
    def test_knows_every_constraint_of_ours(self, kinds):
        """A new one that nobody can explain to a caller fails here."""
        kept = self.kept_by_database(kinds)
        assert kept or kinds == "x"
        assert not kept - {*database_errors._told()}

    def test_blames_fields_that_the_models_have(self):
        names = {name for model in OURS for name in (each.name for each in model._meta.fields)}
        names |= {each.attname for model in OURS for each in model._meta.fields}
        names |= {"at"}  # the field of a step
        kept = self.kept_by_database("cufp")
        for constraint, error in database_errors._told().items():
            if constraint in kept:
                assert error.field is None or error.field in names, constraint
                assert error.code
                assert error.message.endswith(".")


@pytest.mark.django_db
class TestATakenValue:
    @pytest.mark.parametrize(
        ("make", "same", "field"),
        [
            (TerminalFactory, {"name": "The Quay"}, "name"),
            (TerminalFactory, {"account_code": "TQ"}, "account_code"),
            (DriverFactory, {"phone": "+4790123456"}, "phone"),
            (TruckFactory, {"license_plate": "AB12345"}, "license_plate"),
            (TrailerFactory, {"license_plate": "AB1234"}, "license_plate"),
        ],
        ids=lambda value: str(value)[:40],
    )
    def test_names_its_field_and_nothing_else(self, make, same, field):
        home = OrganizationFactory()
        make(organization=home, **same)
        make(**same)  # another organization's is no matter
        refusal = refused(make, organization=home, **same)
        assert type(refusal) is Conflict
        assert told(refusal) == [(field, "taken")]
        assert not any(value in str(vars(refusal)) for value in same.values())

    def test_of_a_reference_does_not_mind_the_case(self):
        order = OrderFactory(reference="Abc-1")
        again = refused(OrderFactory, terminal=order.terminal, reference="aBC-1")
        assert told(again) == [("reference", "taken")]
        OrderFactory(terminal__organization=order.organization, reference="Abc-1")

    def test_may_be_a_slug_a_user_name_or_a_post(self):
        user = UserFactory(username="kari")
        terminal = TerminalFactory(organization=user.organization)
        post = {"organization": user.organization, "terminal": terminal, "user": user}
        TerminalStaff.objects.create(**post)
        assert told(refused(TerminalStaff.objects.create, **post)) == [("terminal", "taken")]
        assert told(refused(UserFactory, username="kari")) == [("username", "taken")]
        slug = user.organization.slug
        assert told(refused(OrganizationFactory, slug=slug)) == [("slug", "taken")]

    def test_may_be_an_id(self):
        driver = DriverFactory()
        again = refused(DriverFactory, id=driver.pk, organization=driver.organization)
        assert told(again) == [("id", "taken")]

    @pytest.mark.usefixtures("owner")
    def test_without_a_name_is_told_without_a_field(self):
        run("CREATE UNIQUE INDEX secret_index ON fleet_driver (lower(name))")
        DriverFactory(name="Kari")
        refusal = refused(DriverFactory, name="KARI")
        assert type(refusal) is Conflict
        assert not refusal.errors
        assert "secret" not in refusal.detail


@pytest.mark.django_db
class TestAForeignKey:
    KEYS = [
        (model, field)
        for model in (resource.model for resource in RESOURCES)
        for field in model._meta.local_fields
        if isinstance(field, models.ForeignKey)
    ]

    @pytest.mark.parametrize(("model", "field"), KEYS, ids=str)
    def test_to_nothing_names_its_field(self, model, field):
        thing = OrderFactory() if model is Order else BY_MODEL[model].thing(OrganizationFactory())
        rows = model._base_manager.filter(pk=thing.pk)
        refusal = refused(rows.update, **{field.attname: thing.pk})
        assert type(refusal) is UnknownReference
        assert told(refusal) == [(field.attname, "unknown-reference")]

    @pytest.mark.parametrize(("model", "field"), KEYS, ids=str)
    def test_to_what_is_deleted_says_that_it_is_in_use(self, model, field):
        home = OrganizationFactory()
        thing = OrderFactory(terminal__organization=home) if model is Order else None
        thing = thing or BY_MODEL[model].thing(home)
        if not getattr(thing, field.attname):
            target = BY_MODEL[field.related_model].thing(home)
            model._base_manager.filter(pk=thing.pk).update(**{field.name: target})
            thing.refresh_from_db()
        table, key = field.related_model._meta.db_table, getattr(thing, field.attname)
        connection.check_constraints()  # what was made so far is as if it had been committed
        assert type(refused(run, f"DELETE FROM {table} WHERE id = %s", key)) is InUse

    def test_is_in_use_when_django_sees_it_first(self):
        order = OrderFactory()
        with pytest.raises(ProtectedError) as caught:
            order.terminal.delete()
        assert type(refusal_of(caught.value)) is InUse

    @pytest.mark.usefixtures("owner")
    def test_that_restricts_says_so_as_well(self):
        """PostgreSQL 18 has an SQLSTATE of its own for ON DELETE RESTRICT."""
        home = OrganizationFactory()
        run(
            "CREATE TABLE other (organization_id uuid REFERENCES core_organization"
            " ON DELETE RESTRICT)"
        )
        run("INSERT INTO other VALUES (%s)", home.pk)
        refusal = refused(run, "DELETE FROM core_organization WHERE id = %s", home.pk)
        assert type(refusal) is InUse


@pytest.mark.django_db
class TestAValue:
    NOT_NULL = [
        (resource, field)
        for resource in RESOURCES
        for field in resource.model._meta.local_fields
        if not field.null and field.name not in resource.model.kept_by_database
    ]
    TEXTS = [
        (resource, field)
        for resource in RESOURCES
        for field in resource.model._meta.local_fields
        if isinstance(field, models.CharField)
    ]

    def rows(self, resource):
        thing = resource.thing(OrganizationFactory())
        return resource.model._base_manager.filter(pk=thing.pk)

    @pytest.mark.parametrize(("resource", "field"), NOT_NULL, ids=lambda value: str(value))
    def test_that_is_missing_is_told_by_its_column(self, resource, field):
        rows = self.rows(resource)
        refusal = refused(rows.update, **{field.attname: None})
        assert type(refusal) is RuleBroken
        assert told(refusal) == [(field.column, "required")]

    @pytest.mark.parametrize(("resource", "field"), TEXTS, ids=lambda value: str(value))
    def test_that_is_too_long_is_not_acceptable(self, resource, field):
        rows = self.rows(resource)
        refusal = refused(rows.update, **{field.name: "A" * (field.max_length + 1)})
        assert type(refusal) is RuleBroken
        assert told(refusal) == [(None, "invalid")]

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("pallets", 2**31),
            ("pallets", -(2**31) - 1),
            ("boxes", 2**31),
            ("kilos", Decimal(10) ** 7),
            ("kilos", -(Decimal(10) ** 7)),
            ("version", 2**31),
        ],
    )
    def test_that_is_out_of_range_is_not_acceptable(self, name, value):
        order = OrderFactory()
        column = f"UPDATE orders_order SET {name} = {value} WHERE id = %s"
        assert told(refused(run, column, order.pk)) == [(None, "invalid")]

    @pytest.mark.parametrize(
        "sql",
        [
            "SELECT 'x'::uuid",  # 22P02
            "SELECT '\"\\u0000\"'::jsonb::text::json ->> 0",  # 22P05
            "SELECT convert_from('\\xff', 'UTF8')",  # 22021
            "SELECT 'x'::date",  # 22007
            "SELECT '2026-13-45'::date",  # 22008
        ],
    )
    def test_that_postgresql_cannot_read_is_not_acceptable(self, sql):
        assert told(refused(run, sql)) == [(None, "invalid")]

    def test_that_psycopg_cannot_write_is_not_acceptable(self):
        assert told(refused(run, "SELECT %s", "a\x00b")) == [(None, "invalid")]
        assert told(refused(run, "SELECT %s", Jsonb({"a": "\x00"}))) == [(None, "invalid")]


BY_MODEL = {resource.model: resource for resource in RESOURCES}


ANSWERS = {
    "conflict": ["23505", "23P01"],
    "unknown-reference": ["23503"],
    "validation-error": [
        *("23502", "23514", "22001", "22003", "22P02", "22P05", "22021", "22007", "22008")
    ],
    "not-found": ["42501"],
    "unavailable": [
        *("40001", "40P01", "40003", "57014", "57P01", "57P02", "57P03", "57P05"),
        *("53000", "53100", "53200", "53300", "53400", "08000", "08001", "08003", "08006"),
        *("55P03", "25006", "25P03", "42P01", "42703", "58000", "58030"),
    ],
    "internal-error": ["25P01", "25P02", "XX000", "XX001", "P0001", "22012", "0A000", "42601"],
}


@pytest.mark.django_db
class TestEachSqlstate:
    @pytest.mark.parametrize(
        ("code", "state"), [(code, state) for code in ANSWERS for state in ANSWERS[code]]
    )
    @pytest.mark.usefixtures("owner", "no_pause")
    def test_has_one_answer_that_tells_nothing_of_it(self, api, code, state):
        api.raise_request_exception = False
        statuses = {"conflict": 409, "not-found": 404, "unavailable": 503, "internal-error": 500}
        with raising(state):
            response = api.post("/drivers", {"name": "Kari"})
        problem(response, statuses.get(code, 422), code)
        assert not {state, "10.0.0.1", "/var/lib"} & {*response.content.decode().split('"')}
        assert "10.0.0.1" not in response.content.decode()
        assert ("Retry-After" in response) == (code == "unavailable")
        assert row_counts()["drivers"] == 0
        assert api.get("/drivers").status_code == 200  # and life goes on

    @pytest.mark.usefixtures("owner")
    def test_of_a_reference_says_that_it_is_in_use_where_something_is_deleted(
        self, api, dispatcher
    ):
        driver = DriverFactory(organization=dispatcher.organization)
        run(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
            " $$BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '23503'; END$$"
        )
        run(
            "CREATE TRIGGER refuses BEFORE DELETE ON fleet_driver"
            " FOR EACH ROW EXECUTE FUNCTION refuse()"
        )
        problem(api.delete(f"/drivers/{driver.pk}"), 409, "in-use")

    def test_does_not_depend_on_the_class_of_the_error(self):
        for error in (
            psycopg.errors.DeadlockDetected("x"),
            psycopg.errors.TooManyConnections("x"),
            psycopg.errors.ReadOnlySqlTransaction("x"),
        ):
            with pytest.raises(DatabaseError) as caught, connection.wrap_database_errors:
                raise error
            assert type(refusal_of(caught.value)) is Unavailable

    def test_is_missing_where_the_connection_itself_failed(self):
        for error, is_known in (
            (psycopg.OperationalError("connection refused: host 10.0.0.1"), True),
            (psycopg.InterfaceError("the connection is closed"), True),
            (psycopg.ProgrammingError("the query has 1 placeholder"), False),
            (psycopg.InternalError("x"), False),
        ):
            with pytest.raises(Exception) as caught, connection.wrap_database_errors:
                raise error
            assert type(refusal_of(caught.value)) is (Unavailable if is_known else type(None))

    def test_is_no_matter_of_any_other_error(self):
        assert refusal_of(ValueError("x")) is None
        assert refusal_of(transaction.TransactionManagementError("x")) is None


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("no_pause")
class TestRepeating:
    @pytest.mark.parametrize("deferred", [False, True], ids=["statement", "commit"])
    @pytest.mark.parametrize("state", ["40001", "40P01"])
    def test_a_unit_of_work_ends_well_within_three_repetitions(self, api_of, state, deferred):
        api = api_of(UserFactory())
        with raising(state, times=views.RETRIES, deferred=deferred) as tries:
            response = api.post("/drivers", {"name": "Kari"})
            assert tries() == views.RETRIES + 1
        assert response.status_code == 201
        assert api.get(response["Location"]).json() == response.json()
        assert row_counts()["drivers"] == 1

    @pytest.mark.parametrize("state", ["40001", "40P01"])
    def test_is_given_up_after_the_third(self, api_of, state):
        with raising(state) as tries:
            problem(api_of(UserFactory()).post("/drivers", {"name": "Kari"}), 503, "unavailable")
            assert tries() == views.RETRIES + 1
        assert row_counts()["drivers"] == 0

    @pytest.mark.parametrize("state", ["23505", "57014", "55P03", "40003", "08006", "XX000"])
    def test_is_not_tried_with_anything_else(self, api_of, state):
        api = api_of(UserFactory())
        api.raise_request_exception = False
        with raising(state) as tries:
            assert api.post("/drivers", {"name": "Kari"}).status_code >= 409
            assert tries() == 1


@pytest.mark.django_db(transaction=True)
class TestADatabaseInTrouble:
    @pytest.fixture
    def user(self):
        return UserFactory()

    @pytest.fixture
    def api(self, user, api_of):
        return api_of(user)

    @pytest.fixture
    def setting(self):
        """Sets a variable of the session, for this test only."""
        names = []

        def set_(name: str, value: str) -> None:
            names.append(name)
            run(f"SET {name} = '{value}'")

        yield set_
        for name in names:
            run(f"RESET {name}")

    @pytest.mark.parametrize("limit", ["lock_timeout", "statement_timeout"])
    def test_is_unavailable_where_a_lock_takes_too_long(self, api, user, setting, limit):
        order = OrderFactory(terminal__organization=user.organization)
        before = columns(order)
        setting(limit, "50ms")
        with elsewhere() as other, other.transaction():
            other.execute("SELECT 1 FROM orders_order WHERE id = %s FOR UPDATE", [order.pk])
            for response in (
                api.patch(f"/orders/{order.pk}", {"notes": "x"}),
                api.put(f"/orders/{order.pk}", {}),
                api.delete(f"/orders/{order.pk}"),
                api.post(f"/orders/{order.pk}/arrive"),
            ):
                problem(response, 503, "unavailable")
                assert int(response["Retry-After"]) >= 1
            assert api.get(f"/orders/{order.pk}").status_code == 200  # readers wait for nobody
        assert columns(order) == before
        assert api.patch(f"/orders/{order.pk}", {"notes": "x"}).status_code == 200

    def test_is_unavailable_for_writers_where_it_only_reads(self, api, user, setting):
        order = OrderFactory(terminal__organization=user.organization)
        setting("default_transaction_read_only", "on")
        problem(api.post("/drivers", {"name": "Kari"}), 503, "unavailable")
        problem(api.patch(f"/orders/{order.pk}", {"notes": "x"}), 503, "unavailable")
        assert api.get("/orders").json()["total"] == 1
        assert api.get(f"/orders/{order.pk}").status_code == 200

    @pytest.mark.parametrize(
        "moment", ['SELECT "core_user"', 'INSERT INTO "fleet_driver"', "COMMIT"]
    )
    def test_is_unavailable_where_the_connection_is_lost(self, api, moment):
        def cut() -> None:
            with elsewhere() as other:
                pid = connection.connection.info.backend_pid
                other.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])

        def execute(execute, sql, params, many, context):
            if sql.startswith(moment):
                cut()
            result = execute(sql, params, many, context)
            if moment == "COMMIT" and sql.startswith("INSERT"):
                cut()
            return result

        with connection.execute_wrapper(execute):
            response = api.post("/drivers", {"name": "Kari"})
        problem(response, 503, "unavailable")
        assert int(response["Retry-After"]) >= 1
        assert row_counts()["drivers"] == 0  # asked over a new connection
        assert api.post("/drivers", {"name": "Kari"}).status_code == 201

    def test_is_unavailable_where_nobody_can_connect(self, api, monkeypatch):
        connection.close()
        monkeypatch.setitem(connection.settings_dict, "PORT", "1")
        problem(api.get("/orders"), 503, "unavailable")
        problem(api.post("/auth/token", {"username": "x", "password": "y"}), 503, "unavailable")

    def test_is_a_defect_where_an_error_was_swallowed(self, user):
        def go_on_regardless() -> None:
            with contextlib.suppress(IntegrityError):
                run("INSERT INTO fleet_driver DEFAULT VALUES")
            run("SELECT 1")

        with pytest.raises(DatabaseError) as caught, transaction.atomic():
            go_on_regardless()
        assert database_errors.sqlstate(caught.value) == "25P02"
        assert refusal_of(caught.value) is None
