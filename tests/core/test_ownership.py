"""The application owns nothing: what it may not do, and who does it."""

from datetime import timedelta
from io import StringIO

import pytest
from django.core import checks
from django.core.management import CommandError, call_command
from django.db import connection, connections, transaction
from django.db.utils import ProgrammingError
from django.utils import timezone

from core import grants, history, safety
from core.postgres.ownership import as_owner
from fleet.models import Driver
from tests.fleet.factories import DriverFactory

OWNED = """
    SELECT (SELECT count(*) FROM pg_class WHERE pg_has_role(current_user, relowner, 'MEMBER')),
           (SELECT count(*) FROM pg_proc WHERE pg_has_role(current_user, proowner, 'MEMBER')),
           (SELECT count(*) FROM pg_namespace WHERE pg_has_role(current_user, nspowner, 'MEMBER')),
           (SELECT count(*) FROM pg_database WHERE pg_has_role(current_user, datdba, 'MEMBER')),
           (SELECT count(*) FROM pg_auth_members m WHERE m.member = current_user::regrole),
           (SELECT count(*) FROM pg_roles WHERE rolname = current_user
                   AND (rolsuper OR rolbypassrls OR rolcreatedb OR rolcreaterole)),
           has_schema_privilege('public', 'CREATE')::int,
           has_database_privilege(current_database(), 'CREATE')::int
"""
# With {} a table of an organization, {event} one of history.
FORBIDDEN = [
    "ALTER TABLE {} DISABLE ROW LEVEL SECURITY",
    "ALTER TABLE {} NO FORCE ROW LEVEL SECURITY",
    "ALTER POLICY organization_wall ON {} USING (true)",
    "DROP POLICY organization_wall ON {}",
    "CREATE POLICY gap ON {} USING (true)",
    "ALTER TABLE {} DISABLE TRIGGER ALL",
    "ALTER TABLE {} ADD hole text",
    "CREATE TRIGGER t AFTER INSERT ON {} EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "CREATE RULE gap AS ON UPDATE TO {} DO INSTEAD NOTHING",
    "DROP TABLE {} CASCADE",
    "TRUNCATE {} CASCADE",
    "CREATE TABLE mine (id int)",
    "CREATE TEMPORARY TABLE {} (id int)",
    "CREATE FUNCTION mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "UPDATE {event} SET pgh_context = NULL",
    "DELETE FROM {event}",
    "TRUNCATE {event}",
    "SELECT FROM {event} FOR UPDATE",
    "INSERT INTO django_migrations (app, name, applied) VALUES ('core', 'x', now())",
    "SET ROLE dockside_owner",
    "SET SESSION AUTHORIZATION dockside_owner",
    "SET session_replication_role = replica",
    "ALTER ROLE dockside BYPASSRLS",
]


def ask(statement: str) -> list[object]:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return list(cursor.fetchone())


def role() -> object:
    return ask("SELECT current_user::text")[0]


@pytest.mark.django_db
class TestTheApplicationsRole:
    def test_owns_nothing_and_can_become_nobody_else(self):
        assert ask(OWNED) == [0] * 8

    @pytest.mark.parametrize("statement", FORBIDDEN)
    def test_may_not(self, statement):
        # What opens history to its owner opens nothing to the application.
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config('dockside.history', 'rewrite', true)")
        with (
            pytest.raises(ProgrammingError, match=r"permission denied|must be owner"),
            transaction.atomic(),
            connection.cursor() as cursor,
        ):
            cursor.execute(statement.format("fleet_driver", event="fleet_driverevent"))

    @pytest.mark.parametrize("model", history.event_models(), ids=lambda model: model.__name__)
    def test_adds_to_history_and_reads_it_and_that_is_all(self, model):
        table = model._meta.db_table
        held = ask(
            f"SELECT array_agg(privilege_type) FROM aclexplode((SELECT relacl FROM pg_class"
            f" WHERE relname = '{table}')) WHERE grantee = current_user::regrole"
        )
        assert held == [["INSERT", "SELECT"]]


@pytest.mark.django_db
class TestTheOwner:
    def test_is_another_role_held_by_the_same_walls(self):
        with as_owner():
            powers = "SELECT rolsuper, rolbypassrls FROM pg_roles WHERE rolname = current_user"
            assert ask(powers) == [False, False]
            assert role() == "dockside_owner"
        assert role() == "dockside"

    def test_leaves_the_transaction_that_is_open_alone(self):
        driver = DriverFactory()
        with as_owner(), as_owner():
            assert not Driver.objects.filter(pk=driver.pk).exists()  # not committed yet
        assert Driver.objects.filter(pk=driver.pk).exists()

    def test_leaves_its_connection_also_after_an_error(self):
        ours = connections["default"]
        with pytest.raises(ProgrammingError), as_owner():
            ask("SELECT FROM nowhere")
        assert connections["default"] is ours
        open_ones = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'dockside_owner'"
        assert ask(open_ones + " AND state = 'idle' AND datname = current_database()") == [0]

    def test_is_the_applications_role_where_there_is_no_other(self, settings):
        settings.DATABASE_OWNER = {}
        with as_owner():
            assert role() == "dockside"
            grants.give()  # to nobody, and is refused nothing


@pytest.mark.django_db(transaction=True)
class TestWhatNeedsTheOwner:
    def test_is_retention_and_erasure_from_a_command(self):
        driver = DriverFactory(name="Kari Nordmann")
        call_command("erase_driver", str(driver.pk), stdout=StringIO())
        names = history.events_of(Driver).objects.filter(pgh_obj=driver.pk)
        assert "Kari Nordmann" not in names.values_list("name", flat=True)
        with as_owner(), history.rewriting("test"):
            names.update(pgh_created_at=timezone.now() - timedelta(days=31))
        call_command("prune_history", older_than=30, stdout=StringIO())
        assert list(names.values_list("pgh_label", flat=True)) == [history.BASELINE]
        assert role() == "dockside"

    def test_is_said_where_the_command_has_not_got_it(self, settings):
        driver = DriverFactory()
        settings.DATABASE_OWNER = {}
        with pytest.raises(CommandError, match=r"\AThe role may not .* set DATABASE_OWNER_URL"):
            call_command("erase_driver", str(driver.pk), stdout=StringIO())

    def test_is_no_matter_of_new_tables(self):
        """They are the application's to work with from the moment they are there."""
        with as_owner(), connection.cursor() as cursor:
            cursor.execute("CREATE TABLE just_made (id bigserial, answer int)")
        try:
            assert ask("INSERT INTO just_made (answer) VALUES (42) RETURNING id, answer") == [1, 42]
        finally:
            with as_owner(), connection.cursor() as cursor:
                cursor.execute("DROP TABLE just_made")


@pytest.mark.django_db
class TestASafeStart:
    ANYBODY = ["0.0.0.0:8000"]

    @pytest.fixture
    def owns(self, monkeypatch, settings):
        """As if DATABASE_URL named the owner."""
        for name, value in settings.DATABASE_OWNER.items():
            monkeypatch.setitem(connections.settings["default"], name, value)

    @pytest.fixture
    def above(self, monkeypatch):
        """As if it named a superuser."""
        monkeypatch.setattr(safety, "_POWERS", "SELECT true, true")

    def found(self):
        return checks.run_checks(tags=[checks.Tags.database], databases=["default"])

    def test_has_nothing_to_say_of_a_role_that_owns_nothing(self, caplog):
        safety.refuse_unsafe_role(self.ANYBODY)
        assert (caplog.text, self.found()) == ("", [])

    @pytest.mark.usefixtures("owns")
    def test_warns_of_one_that_owns_the_tables(self, caplog):
        safety.refuse_unsafe_role(self.ANYBODY)
        assert "DATABASE_OWNER_URL" in caplog.text
        assert [each.id for each in self.found()] == ["dockside.W002"]

    @pytest.mark.usefixtures("above")
    def test_refuses_to_serve_others_with_one_above_the_wall(self, caplog):
        with pytest.raises(safety.Unsafe, match=r"DATABASE_URL .*bypasses"):
            safety.refuse_unsafe_role(self.ANYBODY)
        safety.refuse_unsafe_role(["127.0.0.1:8000"])  # a warning is enough at home
        assert "bypasses" in caplog.text
        assert [each.id for each in self.found()] == ["dockside.W001"]

    def test_does_not_wait_for_a_database_that_is_away(self, monkeypatch):
        monkeypatch.setitem(connections.settings["default"], "PORT", 1)
        assert safety.powers_of_role() == (None, None)
