"""Four questions after health: who asks what, what it costs, and what an outage looks like."""

import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from django.db import connection
from django.test import Client
from redis import Redis

from core import health, valkey
from core.health import Check, Probe
from core.version import VERSION
from tests.core.answers import INTERNALS

# Nothing here asks for a test database, and the probes look for its migrations.
pytestmark = pytest.mark.usefixtures("django_db_setup")

PROBES = ["/health", "/health/live", "/health/ready", "/health/detailed"]
TWO_SECONDS = 2


@pytest.fixture
def ask(client):
    """Asks under the API's prefix and beside it: the answer is the same but for measured times."""

    def ask(path: str, status: int):
        began = time.perf_counter()
        answers = [client.get(prefix + path) for prefix in ("/api/v1", "")]
        assert time.perf_counter() - began < TWO_SECONDS
        for answer in answers:
            assert answer.status_code == status, answer.content
            assert answer["Content-Type"] == "application/json"
            assert "no-store" in answer["Cache-Control"]
            assert not INTERNALS.search(answer.content.decode())
        assert [*answers[0].json()] == [*answers[1].json()]
        return answers[0]

    return ask


@contextmanager
def deaf_server():
    """A server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def database_at(monkeypatch):
    """Lets the probe look for the database at another port, over a new connection."""

    probes = []

    def database_at(port: int | str) -> None:
        monkeypatch.setitem(connection.settings_dict, "PORT", str(port))
        probes.append(Probe(health._Database()))
        monkeypatch.setattr(health, "database", probes[-1])

    yield database_at
    for probe in probes:
        probe._thread.shutdown()  # whoever still asks shall not find the right port again
        probe._question.close()


@pytest.fixture
def cache_at(settings):
    def cache_at(port: int) -> None:
        cache = settings.CACHES["default"] | {"LOCATION": f"redis://127.0.0.1:{port}/0"}
        settings.CACHES = {"default": cache}

    return cache_at


def connections_of_probes() -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'dockside-health'"
            " AND datname = current_database()"
        )
        return cursor.fetchone()[0]


@pytest.mark.django_db
class TestInGoodHealth:
    def test_each_question_has_its_answer(self, ask):
        assert ask("/health", 200).json() == {"status": "ok", "version": VERSION}
        assert ask("/health/live", 200).json() == {"status": "ok"}
        assert ask("/health/ready", 200).json() == {"status": "ok"}
        details = ask("/health/detailed", 200).json()
        assert details["status"] == "ok"
        assert set(details) == {"status", "checks"}
        assert set(details["checks"]) == {"database", "cache"}
        for check in details["checks"].values():
            assert set(check) == {"status", "latency_ms"}
            assert check["status"] == "ok"
            assert 0 <= check["latency_ms"] < 1_000

    @pytest.mark.parametrize("path", PROBES)
    def test_nobody_has_to_sign_in_and_nothing_in_a_request_matters(self, client, path):
        for headers in (
            {},
            {"Authorization": "Bearer x.y.z"},
            {"Authorization": "Basic x"},
            {"Cookie": "sessionid=x"},
            {"If-None-Match": "*"},
        ):
            for query in ("", "?probe=1", "?t=1770000000"):
                assert client.get(f"/api/v1{path}{query}", headers=headers).status_code == 200

    @pytest.mark.parametrize("path", PROBES)
    def test_head_is_enough(self, client, path):
        response = client.head(f"/api/v1{path}")
        assert (response.status_code, response.content) == (200, b"")

    @pytest.mark.parametrize("path", ["/health", "/health/live"])
    def test_the_plain_ones_touch_nothing(self, ask, django_assert_num_queries, monkeypatch, path):
        def touch(*_args, **_kwargs):
            raise AssertionError("nothing is to be asked")

        monkeypatch.setattr(Probe, "ask", touch)
        monkeypatch.setattr(socket.socket, "connect", touch)
        with django_assert_num_queries(0):
            ask(path, 200)

    def test_the_others_leave_the_requests_own_connection_alone(
        self, ask, django_assert_num_queries
    ):
        with django_assert_num_queries(0):
            ask("/health/ready", 200)
            ask("/health/detailed", 200)

    def test_fifty_callers_at_once_open_one_connection(self):
        def detailed(_number: int) -> int:
            return Client().get("/api/v1/health/detailed").status_code

        before = connections_of_probes()
        began = time.perf_counter()
        with ThreadPoolExecutor(50) as callers:
            assert set(callers.map(detailed, range(50))) == {200}
        assert time.perf_counter() - began < 10  # of fifty threads; a single one is far quicker
        assert connections_of_probes() <= before + 1

    def test_a_lost_connection_is_made_anew(self, ask):
        ask("/health/ready", 200)
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                " WHERE application_name = 'dockside-health' AND datname = current_database()"
            )
        health.database._asked = None
        ask("/health/ready", 200)


class TestWithoutTheDatabase:
    def test_it_is_not_ready_and_says_so_at_once(self, ask, database_at):
        database_at(1)
        not_ready = ask("/health/ready", 503)
        assert not_ready.json() == {"status": "unavailable", "reason": "the database is away"}
        assert int(not_ready["Retry-After"]) >= 1
        details = ask("/health/detailed", 503).json()
        assert details["status"] == "down"
        assert details["checks"]["database"] == {"status": "down", "latency_ms": None}
        assert details["checks"]["cache"]["status"] == "ok"

    def test_it_lives(self, ask, database_at):
        """A restart would not bring the database back."""
        database_at(1)
        ask("/health", 200)
        ask("/health/live", 200)

    def test_that_hangs_it_is_not_ready_within_two_seconds(self, client, database_at):
        with deaf_server() as port:
            database_at(port)
            began = time.perf_counter()
            assert client.get("/api/v1/health/ready").status_code == 503
            assert time.perf_counter() - began < TWO_SECONDS
            began = time.perf_counter()
            assert client.get("/api/v1/health/live").status_code == 200
            assert time.perf_counter() - began < 1


class TestWithoutTheCache:
    def test_it_is_degraded_and_ready(self, ask, cache_at):
        cache_at(1)
        details = ask("/health/detailed", 200).json()
        assert details["status"] == "degraded"
        assert details["checks"]["cache"] == {"status": "down", "latency_ms": None}
        assert details["checks"]["database"]["status"] == "ok"
        ask("/health/ready", 200)

    def test_that_is_left_alone_it_is_degraded_and_not_asked(self, ask, monkeypatch):
        asked = []
        with monkeypatch.context() as patched:
            patched.setattr(Redis, "ping", lambda self: asked.append(self))
            patched.setattr(health, "valkey", Probe(health._cache_answers))
            patched.setattr(valkey.server(), "is_away", True)
            assert ask("/health/detailed", 200).json()["status"] == "degraded"
        assert asked == []

    def test_that_hangs_it_is_degraded_within_two_seconds(self, client, cache_at):
        with deaf_server() as port:
            cache_at(port)
            began = time.perf_counter()
            response = client.get("/api/v1/health/detailed")
            assert time.perf_counter() - began < TWO_SECONDS
        assert (response.status_code, response.json()["status"]) == (200, "degraded")

    def test_and_the_database_it_is_down(self, ask, database_at, cache_at):
        database_at(1)
        cache_at(1)
        details = ask("/health/detailed", 503).json()
        assert details["status"] == "down"
        assert {check["status"] for check in details["checks"].values()} == {"down"}


class TestWithoutItsMigrations:
    def test_it_is_not_ready(self, ask, monkeypatch):
        ahead = frozenset({("orders", "9999_of_tomorrow")})
        monkeypatch.setattr(health, "expected_migrations", lambda: ahead)
        answer = ask("/health/ready", 503).json()
        assert answer == {"status": "unavailable", "reason": "migrations are missing"}
        assert ask("/health/detailed", 200).json()["status"] == "ok"
        ask("/health/live", 200)

    def test_at_all_it_is_not_ready_either(self, ask, database_at, monkeypatch):
        monkeypatch.setitem(connection.settings_dict, "NAME", "postgres")
        database_at(connection.settings_dict["PORT"])
        assert ask("/health/ready", 503).json()["reason"] == "migrations are missing"

    def test_of_every_app_it_would_not_be_ready(self):
        apps = {app for app, _ in health.expected_migrations()}
        assert {"core", "terminals", "fleet", "orders", "auth", "admin", "sessions"} <= apps


class TestAProbe:
    def test_asks_once_for_all_who_wait(self, monkeypatch):
        monkeypatch.setattr(health, "SHARED_FOR_S", 60)  # however long fifty threads take to start
        asked, go_on = [], threading.Event()

        def question() -> bool:
            asked.append(1)
            return go_on.wait(10)

        probe = Probe(question)
        with ThreadPoolExecutor(50) as callers:
            waiting = [callers.submit(probe.ask) for _ in range(50)]
            go_on.set()
            answers = [each.result() for each in waiting]
        assert {answer.ok for answer in answers} == {True}
        assert len(asked) == 1

    def test_asks_again_a_moment_later(self, monkeypatch):
        monkeypatch.setattr(health, "SHARED_FOR_S", 60)
        asked = []
        probe = Probe(lambda: bool(asked.append(1)) or True)
        assert probe.ask().ok
        assert probe.ask().ok
        assert len(asked) == 1
        monkeypatch.setattr(health, "SHARED_FOR_S", 0)
        assert probe.ask().ok
        assert len(asked) == 2

    def test_gives_up_on_a_question_that_hangs_and_does_not_pile_up(self, monkeypatch):
        monkeypatch.setattr(health, "PATIENCE_S", 0.05)
        monkeypatch.setattr(health, "SHARED_FOR_S", 0)
        asked, go_on = [], threading.Event()

        def question() -> bool:
            asked.append(1)
            return go_on.wait(10)

        probe = Probe(question)
        for _ in range(5):
            assert probe.ask() == Check(ok=False, latency_ms=None)
        assert len(asked) == 1
        go_on.set()
        probe._asked.result(10)
        monkeypatch.setattr(health, "PATIENCE_S", 5)
        assert probe.ask().ok

    @pytest.mark.parametrize("error", [OSError("x"), ValueError("x"), RuntimeError("secret")])
    def test_takes_any_accident_for_a_no_and_logs_its_kind_only(self, caplog, error):
        def question() -> bool:
            raise error

        assert Probe(question).ask() == Check(ok=False, latency_ms=None)
        (line,) = (each.msg for each in caplog.records if each.name == "core.health")
        assert line["kind"] == type(error).__name__
        assert "secret" not in str(line)
