"""A request has its time, whatever PostgreSQL does: `core.deadlines` and the engine."""

import time
from collections.abc import Iterator

import psycopg
import pytest
from django.db import OperationalError, connection

from core import deadlines
from tests.waiting import eventually

LONG = "SELECT pg_sleep(60)"


@pytest.fixture(autouse=True)
def no_request() -> Iterator[None]:
    yield
    deadlines.end()


@pytest.fixture
def own() -> Iterator[psycopg.Connection]:
    """A connection beside Django's."""
    parameters = connection.get_connection_params()
    for name in ("context", "cursor_factory"):
        parameters.pop(name)
    with psycopg.connect(**parameters, autocommit=True) as own:
        yield own


def is_working(pid: int) -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT FROM pg_stat_activity WHERE pid = %s", [pid])
        return bool(cursor.rowcount)


@pytest.mark.django_db(transaction=True)
class TestTheTimeOfARequest:
    def test_ends_a_statement_on_both_sides(self):
        """Django's own connection, as requests use it; `statement_timeout` has no part in it."""
        connection.close()
        deadlines.begin(time.monotonic() + deadlines.SPARE_S + 0.3)
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            (pid,) = cursor.fetchone()
            began = time.monotonic()
            with pytest.raises(OperationalError):
                cursor.execute(LONG)
        assert time.monotonic() - began < 5  # of a minute
        connection.close()
        with pytest.raises(OperationalError, match="time of this request is over"):
            connection.ensure_connection()
        deadlines.end()
        assert eventually(lambda: not is_working(pid))

    def test_is_not_counted_outside_of_requests(self):
        deadlines.check()
        deadlines.begin(0)
        with pytest.raises(deadlines.DeadlinePassed):
            deadlines.check()
        deadlines.end()
        deadlines.check()

    def test_leaves_alone_what_was_given_back(self):
        connection.close()
        deadlines.begin(time.monotonic() + deadlines.SPARE_S + 0.2)
        connection.ensure_connection()
        kept = connection.connection
        deadlines.unwatch(kept)  # as the engine does before the pool gets it
        deadlines.end()
        time.sleep(0.5)
        assert kept.execute("SELECT 42").fetchone() == (42,)


@pytest.mark.django_db
class TestAtMost:
    def test_so_long_something_may_take(self, own):
        began = time.monotonic()
        with pytest.raises(psycopg.OperationalError), deadlines.at_most(0.2, own):
            own.execute(LONG)
        assert time.monotonic() - began < 5

    def test_and_no_longer_counts_afterwards(self, own):
        with deadlines.at_most(0.2, own):
            own.execute("SELECT 1")
        time.sleep(0.4)
        assert own.execute("SELECT 42").fetchone() == (42,)
