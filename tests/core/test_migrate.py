"""What `migrate` does to a terminal at work: nobody waits long for it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.core.management.commands import migrate
from django.db import OperationalError, connection, models

from core import patience
from core.database_errors import sqlstate
from core.postgres.ownership import as_owner
from core.postgres.schema import LOCK_TIMEOUT_MS, impatient
from terminals.models import Terminal
from tests.core.factories import OrganizationFactory
from tests.terminals.factories import TerminalFactory

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def owner(transactional_db: None) -> Iterator[None]:
    with as_owner():
        yield


TABLE = Terminal._meta.db_table
INDEX = models.Index(fields=["timezone"], name="terminals_of_a_test")
ALTER = f"ALTER TABLE {TABLE} ALTER COLUMN name SET NOT NULL"


@contextmanager
def reader() -> Iterator[psycopg.Connection[Any]]:
    """Somebody whose transaction has read the terminals."""
    parameters = connection.get_connection_params()
    for ours in ("pool", "context", "cursor_factory"):
        parameters.pop(ours, None)
    with psycopg.connect(**parameters) as other:
        other.execute(f"SELECT FROM {TABLE} LIMIT 1")
        yield other


def lock_timeout() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SHOW lock_timeout")
        return str(cursor.fetchone()[0])


@pytest.fixture
def one_alteration(monkeypatch) -> list[str]:
    """Instead of migrations, a statement that needs the table to itself; returns its tries."""
    tries: list[str] = []

    def handle(self: Any, *args: Any, **options: Any) -> None:
        tries.append(lock_timeout())
        with connection.schema_editor() as editor:
            editor.execute(ALTER)

    monkeypatch.setattr(migrate.Command, "handle", handle)
    return tries


class TestMigrate:
    def test_lets_others_pass_and_tries_again_until_the_table_is_free(
        self, one_alteration, monkeypatch, capsys
    ):
        before = lock_timeout()
        with reader() as other:
            monkeypatch.setattr(patience.time, "sleep", lambda seconds: other.rollback())
            call_command("migrate")
        assert one_alteration == [f"{LOCK_TIMEOUT_MS}ms"] * 2
        assert capsys.readouterr().out == "  busy, trying again\n"
        assert lock_timeout() == before

    def test_gives_up_in_one_line_when_its_patience_ends(self, one_alteration):
        with reader(), pytest.raises(CommandError, match="run `migrate` again"):
            call_command("migrate", patience=0)
        assert len(one_alteration) == 1

    def test_fails_at_once_with_any_other_error(self, monkeypatch):
        def handle(self: Any, *args: Any, **options: Any) -> None:
            with connection.cursor() as cursor:
                cursor.execute("SET statement_timeout = 1; SELECT pg_sleep(1)")

        monkeypatch.setattr(migrate.Command, "handle", handle)
        with pytest.raises(OperationalError):
            call_command("migrate")
        with connection.cursor() as cursor:
            cursor.execute("RESET statement_timeout")


class TestSchemaEditor:
    def test_waits_no_longer_than_its_time_for_a_table(self):
        with reader(), impatient(), connection.schema_editor() as editor:
            with pytest.raises(OperationalError) as error:
                editor.execute(ALTER)
            connection.needs_rollback = True
        assert sqlstate(error.value) == "55P03"

    def test_builds_an_index_beside_a_long_transaction(self):
        with reader() as other, impatient(), connection.schema_editor(atomic=False) as editor:
            other.execute("UPDATE terminals_terminal SET name = name WHERE false")
            leaving = threading.Timer(LOCK_TIMEOUT_MS * 2 / 1000, other.rollback)
            leaving.start()
            editor.add_index(Terminal, INDEX, concurrently=True)
            leaving.join()
            assert lock_timeout() == f"{LOCK_TIMEOUT_MS}ms"
            editor.remove_index(Terminal, INDEX, concurrently=True)

    def test_builds_anew_what_was_broken_off(self):
        organization = OrganizationFactory()
        TerminalFactory.create_batch(2, organization=organization)
        half_built = f"CREATE UNIQUE INDEX CONCURRENTLY {INDEX.name} ON {TABLE} (organization_id)"
        with connection.schema_editor(atomic=False) as editor:
            with pytest.raises(Exception, match="could not create unique index"):
                editor.execute(half_built)
            editor.add_index(Terminal, INDEX, concurrently=True)
            with connection.cursor() as cursor:
                valid = connection.introspection.get_constraints(cursor, TABLE)
                editor.remove_index(Terminal, INDEX, concurrently=True)
        assert valid[INDEX.name]["columns"] == ["timezone"]
