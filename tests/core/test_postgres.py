"""The pool: how many connections it opens, and what a restart of PostgreSQL does to it."""

import copy
import os
import subprocess
import sys
from collections.abc import Iterator

import psycopg
import pytest
from django.conf import settings
from django.db import connection, connections
from django.db.utils import OperationalError

from core.postgres.base import DatabaseWrapper

KEPT = 8
NAME = "dockside-pool-test"


@pytest.fixture
def pooled(transactional_db: None) -> Iterator[DatabaseWrapper]:
    """A pool of its own on the test database, whose time-out forbids one retry per connection."""
    wanted = copy.deepcopy(connections.settings["default"])
    wanted["NAME"] = connection.settings_dict["NAME"]
    wanted["OPTIONS"] |= {
        "application_name": NAME,
        # Dead connections one by one cost 0, 1, 2, 4 … seconds between tries: more than this.
        "pool": {"min_size": KEPT, "max_size": KEPT, "timeout": 2.0},
    }
    wrapper = DatabaseWrapper(wanted, alias="pooled")
    connections["pooled"] = wrapper
    assert wrapper.pool is not None
    wrapper.pool.open(wait=True, timeout=10)
    yield wrapper
    wrapper.close()
    wrapper.close_pool()
    del connections["pooled"]


def end_every_session() -> int:
    """What a restart of the server does to kept connections; returns how many it ended."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE application_name = %s",
            [NAME],
        )
        (count,) = cursor.fetchone()
    return int(count)


def answer(wrapper: DatabaseWrapper) -> int:
    with wrapper.cursor() as cursor:
        cursor.execute("SELECT 42")
        (value,) = cursor.fetchone()
    wrapper.close()
    return int(value)


class TestPool:
    def test_serves_the_first_caller_after_a_restart(self, pooled):
        assert answer(pooled) == 42
        assert end_every_session() == KEPT
        assert answer(pooled) == 42

    def test_would_keep_the_caller_waiting_without_the_drain(self, pooled, monkeypatch):
        assert pooled.pool is not None
        monkeypatch.setattr(pooled.pool, "drain", lambda: None)
        assert end_every_session() == KEPT
        with pytest.raises(OperationalError):
            answer(pooled)

    def test_is_refused_no_more_than_once_in_the_middle_of_a_request(self, pooled):
        with pooled.cursor() as cursor:
            cursor.execute("SELECT 1")
            end_every_session()
            with pytest.raises(OperationalError):
                cursor.execute("SELECT 1")
        pooled.close()
        assert answer(pooled) == 42

    def test_is_not_opened_by_commands_and_tests(self):
        assert "pool" not in settings.DATABASES["default"]["OPTIONS"]

    @pytest.mark.parametrize("kept", ["3", None])
    def test_takes_its_size_from_the_environment(self, kept):
        environment = {**os.environ, "DB_POOL": "1", "DJANGO_SETTINGS_MODULE": "config.settings"}
        environment["SECRET_KEY"] = "x" * 50
        if kept:
            environment |= {"DB_POOL_SIZE": kept, "DB_POOL_OVERFLOW": "2"}
        code = (
            "from django.conf import settings;"
            "pool = settings.DATABASES['default']['OPTIONS']['pool'];"
            "print(pool['min_size'], pool['max_size'], pool['max_lifetime'], pool['timeout'])"
        )
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.split() == (["3", "5"] if kept else ["20", "30"]) + ["3600.0", "0.8"]

    def test_errors_while_connecting_carry_no_sqlstate(self, pooled):
        """What core.database_errors relies on."""
        with pytest.raises(psycopg.OperationalError) as caught:
            psycopg.connect("host=127.0.0.1 port=1 dbname=none connect_timeout=1")
        assert caught.value.sqlstate is None
