"""A real server when all is busy, slow, broken or about to end."""

import os
import signal
import socket
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from django.conf import settings
from django.db import connection

from core.api.tokens import tokens_for
from core.postgres.ownership import as_owner
from core.serving.worker import OVERLOADED_FOR_S
from tests.server.conftest import Server, _committed, _environment, _running
from tests.server.proxy import Proxy
from tests.waiting import eventually

pytestmark = [pytest.mark.alone, pytest.mark.server, pytest.mark.django_db]

ORDERS = "/api/v1/orders"
PROBES = ["/health", "/health/live", "/health/ready", "/health/detailed"]
THREADS = 3
HURRY = {
    "WEB_THREADS": str(THREADS),
    "DB_POOL_SIZE": str(THREADS),
    "DB_POOL_OVERFLOW": "0",
    "REQUEST_TIMEOUT_S": "4",
    "QUEUE_TIMEOUT_S": "0.3",
    "CLIENT_TIMEOUT_S": "2",
}


@pytest.fixture(scope="module")
def proxies() -> tuple[Proxy, Proxy]:
    database = connection.settings_dict
    cache = settings.CACHES["default"]["LOCATION"].rpartition("@")[2].partition("/")[0]
    host, _, port = cache.partition(":")
    return (
        Proxy((database["HOST"] or "127.0.0.1", int(database["PORT"] or 5432))),
        Proxy((host, int(port or 6379))),
    )


@pytest.fixture(scope="module")
def server(django_db_setup, django_db_blocker, tmp_path_factory, proxies) -> Iterator[Server]:
    log = tmp_path_factory.mktemp("busy") / "log"
    with (
        django_db_blocker.unblock(),
        _committed() as (user, terminal),
        socket.create_server(("127.0.0.1", 0)) as listener,
    ):
        wanted = HURRY | through(proxies)
        with _running(listener, log, **wanted) as process:
            token = str(tokens_for(user).access_token)
            server = Server(listener.getsockname(), log, user.organization, user, terminal, token)
            server.process = process
            assert get(server, "/health/ready").status == 200
            yield server
        assert process.returncode == 0
        assert server.lines()


@pytest.fixture(autouse=True)
def recovered(server: Server) -> None:
    """From what the test before has broken."""
    all_served = [200] * THREADS
    assert eventually(lambda: [a.status for a in at_once(server, [ORDERS] * THREADS)] == all_served)


def through(proxies: tuple[Proxy, Proxy]) -> dict[str, str]:
    database, cache = proxies
    url = _environment()["DATABASE_URL"]
    before, _, name = url.rpartition("/")
    who = before.rpartition("@")[0]
    location = settings.CACHES["default"]["LOCATION"]
    secret = location.rpartition("@")[0]
    return {
        "DATABASE_URL": f"{who}@127.0.0.1:{database.port}/{name}",
        "REDIS_URL": f"{secret}@127.0.0.1:{cache.port}/0".replace("redis://@", "redis://"),
    }


def get(server: Server, path: str):
    with server.wire() as wire:
        return wire.send(server.head("GET", path)).answer()


def at_once(server: Server, paths: list[str]) -> list:
    with ThreadPoolExecutor(len(paths)) as callers:
        return list(callers.map(lambda path: get(server, path), paths))


@contextmanager
def orders_locked() -> Iterator[psycopg.Connection]:
    """Whoever reads an order waits."""
    parameters = connection.get_connection_params()
    for name in ("context", "cursor_factory"):
        parameters.pop(name)
    with psycopg.connect(**parameters) as own:
        own.execute("LOCK TABLE orders_order IN ACCESS EXCLUSIVE MODE")
        yield own


def waiting() -> int:
    with connection.cursor() as cursor:
        # In one transaction it would show no session that is newer than the first look.
        cursor.execute("SELECT pg_stat_clear_snapshot()")
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            " AND datname = current_database()"
        )
        return int(cursor.fetchone()[0])


class TestEveryThreadBusy:
    def test_requests_end_in_their_time_others_are_turned_away_and_probes_answered(self, server):
        with orders_locked(), ThreadPoolExecutor(THREADS) as callers:
            stuck: list[Future[Any]] = []

            def are_stuck() -> bool:
                # One that came while the test before was still felt was turned away: another.
                stuck[:] = [each for each in stuck if not each.done()]
                stuck.extend(
                    callers.submit(get, server, ORDERS) for _ in range(THREADS - len(stuck))
                )
                return waiting() == THREADS

            assert eventually(are_stuck)

            with ThreadPoolExecutor(20) as others:
                turned_away = [others.submit(get, server, ORDERS) for _ in range(12)]
                probes = at_once(server, PROBES * 5)
            assert Counter(each.status for each in probes) == {200: 20}
            assert not any(each.done() for each in stuck)
            # From now on as many wait as may be served in time, the others are told at once.
            told = len(refused(server))
            at_once(server, [ORDERS] * 6 * THREADS)
            quickly = [line for line in refused(server)[told:] if line["duration_ms"] < 200]
            assert len(quickly) >= 3 * THREADS

            for each in [*turned_away, *stuck]:
                answer = each.result()
                assert (answer.status, answer.json()["code"]) == (503, "unavailable")
                assert int(answer.headers["retry-after"]) >= 1
                assert answer.json()["request_id"] == answer.headers["x-request-id"]
            # Cut off by the request's own time, long before the lock's or the statement's.
            assert eventually(lambda: waiting() == 0)
        assert eventually(lambda: get(server, ORDERS).status == 200)

    def test_lets_who_is_turned_away_come_again_over_the_same_connection(self, server):
        with ExitStack() as open_ones, ThreadPoolExecutor(THREADS) as callers:
            wires = [open_ones.enter_context(server.wire()) for _ in range(8 * THREADS)]
            with orders_locked():
                stuck = [callers.submit(get, server, ORDERS) for _ in range(THREADS)]
                for wire in wires:
                    wire.send(server.head("GET", ORDERS))
                told = [wire.answer() for wire in wires]
                assert {answer.status for answer in told} == {503}
                assert not any(answer.closes for answer in told)
            assert {each.result().status for each in stuck} <= {200, 503}

            def is_served(wire: Any) -> bool:
                return bool(wire.send(server.head("GET", ORDERS)).answer().status == 200)

            assert eventually(lambda: is_served(wires[0]))
            assert eventually(lambda: is_served(wires[-1]))

    def test_is_no_reason_to_turn_away_a_few(self, server):
        assert eventually(lambda: seconds_since_turned_away(server) > OVERLOADED_FOR_S)
        with ThreadPoolExecutor(2 * THREADS) as callers:
            with orders_locked():
                several = [callers.submit(get, server, ORDERS) for _ in range(2 * THREADS)]
                assert eventually(lambda: waiting() == THREADS)
                time.sleep(0.5)  # longer than QUEUE_TIMEOUT_S
            assert {each.result().status for each in several} == {200}


def refused(server: Server) -> list:
    return [
        line
        for line in server.lines()
        if line["event"] == "request_refused" and line["status"] == 503
    ]


def seconds_since_turned_away(server: Server) -> float:
    times = [datetime.fromisoformat(line["timestamp"]) for line in refused(server)]
    return (datetime.now(UTC) - max(times)).total_seconds() if times else float("inf")


class TestSlowClients:
    def test_hold_no_thread_and_are_cut_off(self, server):
        head = f"GET {ORDERS} HTTP/1.1\r\nHost: localhost\r\nX-A: "
        body = server.head("POST", ORDERS, "Content-Type: application/json", "Content-Length: 99")
        with ExitStack() as open_ones:
            parts = [head, body] * 20
            slow = [open_ones.enter_context(server.wire()).send(part) for part in parts]
            for each in slow:
                each.send(b"a")
            assert {get(server, ORDERS).status for _ in range(20)} == {200}
            answers = [each.answer() for each in slow]
            assert {answer.status for answer in answers} == {408}
            assert {answer.json()["code"] for answer in answers} == {"malformed-request"}
            assert all(each.is_closed() for each in slow)

    def test_that_never_read_their_answer_do_not_stop_the_others(self, server):
        with ExitStack() as open_ones:
            for _ in range(THREADS + 1):
                deaf = open_ones.enter_context(server.wire())
                deaf.send(*[server.head("GET", ORDERS)] * 20)
            assert {get(server, ORDERS).status for _ in range(5)} == {200}


class TestHealthWhen:
    """Four questions, and what becomes of them."""

    def test_something_is_broken(self, server, proxies):
        database, cache = proxies
        well = dict.fromkeys(PROBES, 200)
        no_database = well | {"/health/ready": 503, "/health/detailed": 503}
        assert health(server) == (well, "ok")

        cache.go_down()
        assert health(server) == (well, "degraded")
        cache.come_back()

        cache.is_deaf = True
        assert health(server) == (well, "degraded")
        cache.is_deaf = False

        database.go_down()
        assert health(server) == (no_database, "down")
        assert get(server, ORDERS).status == 503
        database.come_back()
        assert eventually(lambda: health(server) == (well, "ok"))
        assert eventually(lambda: get(server, ORDERS).status == 200)

        database.is_deaf = True
        assert health(server) == (no_database, "down")
        assert get(server, ORDERS).status == 503
        database.go_down()  # what was swallowed does not come back
        database.is_deaf = False
        database.come_back()
        assert eventually(lambda: health(server) == (well, "ok"))
        assert eventually(lambda: get(server, ORDERS).status == 200)

    def test_migrations_are_missing(self, server):
        missing = "DELETE FROM django_migrations WHERE app = 'orders' RETURNING app, name, applied"
        there = "INSERT INTO django_migrations (app, name, applied) VALUES (%s, %s, %s)"
        with as_owner(), connection.cursor() as cursor:
            cursor.execute(missing)
            rows = cursor.fetchall()
            try:
                expected = dict.fromkeys(PROBES, 200) | {"/health/ready": 503}
                assert health(server) == (expected, "ok")
            finally:
                cursor.executemany(there, rows)


def health(server: Server) -> tuple[dict[str, int], str]:
    """What each probe answers, each within two seconds, and what the last one says."""
    time.sleep(0.3)  # answers are shared for a quarter of a second
    statuses, answer = {}, None
    for path in PROBES:
        began = time.monotonic()
        answer = get(server, path)
        assert time.monotonic() - began < 2
        statuses[path] = answer.status
    assert answer is not None
    return statuses, answer.json()["status"]


class TestTheEnd:
    def test_is_told_first_and_cuts_nobody_off(
        self, django_db_setup, django_db_blocker, tmp_path, transactional_db
    ):
        with (
            _committed() as (user, terminal),
            socket.create_server(("127.0.0.1", 0)) as listener,
            _running(listener, tmp_path / "log", DRAIN_S="1.5", **HURRY) as process,
        ):
            address, token = listener.getsockname(), str(tokens_for(user).access_token)
            listener.close()  # ours would keep the door open
            server = Server(address, tmp_path / "log", user.organization, user, terminal, token)
            assert get(server, "/health/ready").status == 200
            with server.wire() as kept, server.wire() as busy, ThreadPoolExecutor(1) as caller:
                assert not kept.send(server.head("GET", ORDERS)).answer().closes
                with orders_locked():
                    busy.send(server.head("GET", ORDERS))
                    assert eventually(lambda: waiting() == 1)
                    os.kill(process.pid, signal.SIGTERM)
                    assert eventually(lambda: get(server, "/health/ready").status == 503)
                    told = get(server, "/health/ready").json()
                    assert told == {"status": "unavailable", "reason": "it is about to stop"}
                    assert get(server, "/health/live").status == 200
                    last = caller.submit(lambda: kept.send(server.head("GET", ORDERS)).answer())
                    assert eventually(lambda: waiting() == 2)
                assert busy.answer().status == 200  # begun before the signal
                assert (last.result().status, last.result().closes) == (200, True)
            assert process.wait(20) == 0
            with pytest.raises(ConnectionRefusedError):
                server.wire()
