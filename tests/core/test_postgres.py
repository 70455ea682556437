"""The pool: how many connections it opens, and what a restart of PostgreSQL does to it."""

import copy
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import psycopg
import pytest
from django.conf import settings
from django.db import connection, connections
from django.db.utils import OperationalError
from psycopg_pool import ConnectionPool, PoolTimeout, TooManyRequests

from core.postgres import base
from core.postgres.base import DatabaseWrapper
from core.postgres.room import refuse_too_many
from core.safety import Unsafe

KEPT = 8
NAME = "dockside-pool-test"


@pytest.fixture
def pooled(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[DatabaseWrapper]:
    """A pool of its own on the test database, whose time-out forbids one retry per connection."""
    monkeypatch.setattr(DatabaseWrapper, "_away_until", {})  # not what the last test has met
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
            "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity"
            " WHERE application_name = %s",
            [NAME],
        )
        (count,) = cursor.fetchone()
    return int(count)


def processes_of_the_pool() -> list[int]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pid FROM pg_stat_activity WHERE application_name = %s", [NAME])
        return [pid for (pid,) in cursor.fetchall()]


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

    def test_leaves_a_connection_whose_other_end_hangs(self, pooled, monkeypatch):
        """PostgreSQL's own time-outs are of no use there."""
        monkeypatch.setattr(base, "CHECK_S", 0.3)
        processes = processes_of_the_pool()
        assert len(processes) == KEPT
        for process in processes:
            os.kill(process, signal.SIGSTOP)
        try:
            assert answer(pooled) == 42  # of a new one: the server itself is well
        finally:
            for process in processes:
                os.kill(process, signal.SIGCONT)

    def test_that_is_away_is_waited_for_once_and_then_left_alone(self, pooled, monkeypatch):
        monkeypatch.setattr(pooled.pool, "timeout", 0.2)
        monkeypatch.setattr(base, "LEFT_ALONE_S", 60)
        held = [pooled.pool.getconn() for _ in range(KEPT)]
        try:
            for cause in (PoolTimeout, TooManyRequests):
                with pytest.raises(OperationalError) as caught:
                    pooled.ensure_connection()
                assert isinstance(caught.value.__cause__, cause)
        finally:
            for each in held:
                pooled.pool.putconn(each)
        assert answer(pooled) == 42  # there is one: nobody has to wait

    def test_connects_again_however_many_have_waited_in_vain(self, pooled, monkeypatch):
        """With `max_waiting` it would not: psycopg_pool counts those who gave up."""
        monkeypatch.setattr(base, "LEFT_ALONE_S", 0)
        pooled.close_pool()
        monkeypatch.setitem(pooled.settings_dict, "PORT", "1")
        pool = pooled.pool
        pool.timeout, pool.reconnect_timeout = 0.01, 0.1
        for _ in range(4 * KEPT):
            with pytest.raises(OperationalError):
                answer(pooled)
        pool.kwargs["port"] = connection.settings_dict["PORT"]
        pool.timeout = 5
        assert answer(pooled) == 42

    def test_is_filled_before_the_first_request_or_later(self, pooled, monkeypatch):
        pooled.close_pool()
        assert pooled.warm_pool(patience_s=10)
        assert pooled.pool.get_stats()["pool_available"] == KEPT
        pooled.close_pool()
        monkeypatch.setitem(pooled.settings_dict, "PORT", "1")
        assert not pooled.warm_pool(patience_s=0.1)
        pooled.pool.kwargs["port"] = connection.settings_dict["PORT"]  # it is back
        assert pooled.warm_pool(patience_s=10)

    def test_is_refused_no_more_than_once_in_the_middle_of_a_request(self, pooled):
        with pooled.cursor() as cursor:
            cursor.execute("SELECT 1")
            end_every_session()
            with pytest.raises(OperationalError):
                cursor.execute("SELECT 1")
        pooled.close()
        assert answer(pooled) == 42

    def test_asks_the_server_only_after_a_while(self, pooled, monkeypatch):
        asked = []
        really = ConnectionPool.check_connection

        def check(connection):
            asked.append(connection)
            really(connection)

        monkeypatch.setattr(ConnectionPool, "check_connection", check)
        for _ in range(3 * KEPT):
            answer(pooled)
        assert len(asked) <= KEPT  # once for each
        asked.clear()
        monkeypatch.setattr(base, "TRUSTED_S", 0.0)
        for _ in range(KEPT):
            answer(pooled)
        assert len(asked) == KEPT

    def test_hears_of_a_hang_up_without_asking(self, pooled):
        with pooled.cursor() as cursor:
            cursor.execute("SELECT 1")
            assert not base.has_news(pooled.connection)
            end_every_session()
            assert base.has_news(pooled.connection)

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
            "print(pool['min_size'], pool['max_size'], pool['max_lifetime'], pool['timeout'],"
            " 'max_waiting' in pool)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.split() == (["3", "5"] if kept else ["20", "30"]) + [
            "3600.0",
            "0.7",
            "False",
        ]

    def test_errors_while_connecting_carry_no_sqlstate(self, pooled):
        """What core.database_errors relies on."""
        with pytest.raises(psycopg.OperationalError) as caught:
            psycopg.connect("host=127.0.0.1 port=1 dbname=none connect_timeout=1")
        assert caught.value.sqlstate is None


class TestRoom:
    """Pools that PostgreSQL has no room for are found out at the start."""

    @pytest.fixture
    def pool_of(self, settings):
        def pool_of(size: int) -> None:
            settings.DATABASES["default"]["OPTIONS"]["pool"] = {"max_size": size}

        yield pool_of
        settings.DATABASES["default"]["OPTIONS"].pop("pool", None)

    @pytest.fixture
    def room(self, db) -> int:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT sum(setting::int) FILTER (WHERE name = 'max_connections')"
                " - sum(setting::int) FILTER (WHERE name <> 'max_connections') FROM pg_settings"
                " WHERE name IN ('max_connections', 'superuser_reserved_connections',"
                " 'reserved_connections')"
            )
            (room,) = cursor.fetchone()
        return int(room)

    def test_is_what_max_connections_leaves(self, pool_of, room):
        pool_of(room // 2 - 2)
        refuse_too_many(2)
        pool_of(room // 2 - 1)
        with pytest.raises(Unsafe, match=rf"PostgreSQL has room for {room}: lower DB_POOL_SIZE"):
            refuse_too_many(2)

    def test_is_warned_of_where_a_deploy_would_not_fit(self, pool_of, room, caplog):
        pool_of(room // 4)
        refuse_too_many(1)
        assert not caplog.records
        pool_of(room // 2)
        refuse_too_many(1)
        (line,) = caplog.records
        assert line.msg["event"] == "database_has_no_room_for_a_deploy"

    def test_is_not_asked_for_where_the_database_is_away(self, pool_of, room, monkeypatch):
        monkeypatch.setitem(connection.settings_dict, "PORT", "1")
        pool_of(10_000)
        refuse_too_many(2)

    def test_does_not_matter_without_a_pool(self):
        refuse_too_many(10_000)
