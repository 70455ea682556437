"""The four health endpoints, with the parts up, away, and not migrated."""

import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.db import connection

from core import health
from core.health import Check, Probe
from core.postgres.base import DatabaseWrapper

PROBES = ["/health", "/health/live", "/health/ready", "/health/detailed"]


@pytest.fixture(autouse=True)
def fresh_probes(monkeypatch) -> Iterator[None]:
    """Probes that remember nothing of another test."""
    asked = health._Database()
    monkeypatch.setattr(health, "database", Probe(asked))
    monkeypatch.setattr(health, "valkey", Probe(health._cache_answers))
    yield
    asked.close()


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@pytest.fixture
def silent_port() -> Iterator[int]:
    """Takes connections and never says a word."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def cache_at(port: int) -> dict[str, Any]:
    default = django_settings.CACHES["default"]
    return {"default": default | {"LOCATION": f"redis://127.0.0.1:{port}/0"}}


@pytest.fixture
def database_at(monkeypatch):
    """Makes the probe look for the database at another port."""

    def move(port: int) -> None:
        real = DatabaseWrapper.get_connection_params

        def moved(wrapper: DatabaseWrapper) -> dict[str, object]:
            return real(wrapper) | {"host": "127.0.0.1", "port": port}

        monkeypatch.setattr(DatabaseWrapper, "get_connection_params", moved)

    return move


@pytest.mark.django_db(transaction=True)
class TestWithEverythingUp:
    def test_every_endpoint_answers_without_credentials(self, anonymous):
        answers = [anonymous.get(path) for path in PROBES]
        assert [answer.status_code for answer in answers] == [200] * 4
        assert [answer.json()["status"] for answer in answers] == ["ok"] * 4
        assert {answer["Cache-Control"] for answer in answers} == {"no-store"}

    def test_the_parts_say_how_fast_they_were(self, anonymous):
        checks = anonymous.get("/health/detailed").json()["checks"]
        assert set(checks) == {"database", "cache"}
        for check in checks.values():
            assert set(check) == {"status", "latency_ms"}
            assert check["latency_ms"] > 0

    def test_the_simple_ones_touch_nothing(self, anonymous, statements, monkeypatch):
        monkeypatch.setattr(Probe, "ask", None)
        with statements() as seen:
            assert anonymous.get("/health").json() == {"status": "ok", "version": "0.1.0"}
            assert anonymous.get("/health/live").json() == {"status": "ok"}
        assert seen.sql == []

    def test_load_balancers_find_them_without_a_version_too(self, client):
        assert [client.get(path).status_code for path in PROBES] == [200] * 4

    def test_unknown_parameters_do_not_disturb_a_load_balancer(self, anonymous):
        assert anonymous.get("/health/ready?nocache=1").status_code == 200

    def test_fifty_callers_at_once_open_one_connection(self, anonymous):
        barrier = threading.Barrier(50)
        found: list[Check] = []

        def ask() -> None:
            barrier.wait()
            found.append(health.database.ask())

        threads = [threading.Thread(target=ask) for _ in range(50)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [check.ok for check in found] == [True] * 50
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                " AND application_name = 'dockside-health'"
            )
            assert cursor.fetchone() == (1,)

    def test_an_old_connection_that_was_cut_is_replaced(self, anonymous, monkeypatch):
        monkeypatch.setattr(health, "SHARED_FOR_S", 0)
        assert anonymous.get("/health/ready").status_code == 200
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND application_name = 'dockside-health'"
            )
        assert anonymous.get("/health/ready").status_code == 200


@pytest.mark.django_db(transaction=True)
class TestWithoutTheDatabase:
    def test_refused_is_down_and_not_ready_but_alive(self, anonymous, database_at, closed_port):
        database_at(closed_port)
        assert anonymous.get("/health").status_code == 200
        assert anonymous.get("/health/live").status_code == 200
        ready = anonymous.get("/health/ready")
        assert (ready.status_code, ready.json()["status"]) == (503, "unavailable")
        assert int(ready["Retry-After"]) >= 1
        detailed = anonymous.get("/health/detailed")
        assert (detailed.status_code, detailed.json()["status"]) == (503, "down")
        assert detailed.json()["checks"]["database"] == {"status": "down", "latency_ms": None}
        assert detailed.json()["checks"]["cache"]["status"] == "ok"

    def test_hung_is_given_up_and_not_asked_twice(
        self, anonymous, database_at, silent_port, monkeypatch
    ):
        monkeypatch.setattr(health, "PATIENCE_S", 0.05)
        database_at(silent_port)
        threads = threading.active_count()
        answers = [anonymous.get("/health/ready").status_code for _ in range(3)]
        assert answers == [503] * 3
        assert threading.active_count() <= threads + 1

    def test_missing_migrations_are_not_ready(self, anonymous, monkeypatch):
        missing = frozenset({("orders", "9999_from_the_future")})
        monkeypatch.setattr(health, "expected_migrations", lambda: missing)
        answer = anonymous.get("/health/ready")
        assert answer.status_code == 503
        assert answer.json() == {"status": "unavailable", "reason": "migrations are missing"}

    def test_says_nothing_of_host_user_or_path(self, anonymous, database_at, closed_port):
        database_at(closed_port)
        told = anonymous.get("/health/detailed").content + anonymous.get("/health/ready").content
        for secret in (b"127.0.0.1", b"dockside", str(closed_port).encode(), b"refused"):
            assert secret not in told


@pytest.mark.django_db(transaction=True)
class TestWithoutTheCache:
    def test_refused_is_degraded_and_ready(self, anonymous, settings, closed_port):
        settings.CACHES = cache_at(closed_port)
        assert anonymous.get("/health/ready").status_code == 200
        answer = anonymous.get("/health/detailed")
        assert (answer.status_code, answer.json()["status"]) == (200, "degraded")
        assert answer.json()["checks"]["cache"] == {"status": "down", "latency_ms": None}

    def test_hung_is_degraded_too(self, anonymous, settings, silent_port):
        settings.CACHES = cache_at(silent_port)
        answer = anonymous.get("/health/detailed")
        assert (answer.status_code, answer.json()["status"]) == (200, "degraded")
