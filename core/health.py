"""Whether the parts that Dockside leans on answer, each within two seconds.

The database is asked on a connection of its own, by one thread at a time, so that a probe neither
waits for the pool nor adds to the crowd: callers that come together share one answer.
"""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as TooSlow
from dataclasses import dataclass
from functools import cache
from typing import Any

import psycopg
import structlog
from django.conf import settings
from django.db.migrations.loader import MigrationLoader

from core import deadlines
from core.postgres import apart
from core.valkey import Away, server

log = structlog.stdlib.get_logger("core.health")

PATIENCE_S = 1.5
SHARED_FOR_S = 0.25

# Set when this process is about to stop: it finishes what it has, and wants nothing new.
stopping = threading.Event()


@dataclass(frozen=True)
class Check:
    """What one part answered; `latency_ms` is None where it did not."""

    ok: bool
    latency_ms: float | None
    migrated: bool = True


class Probe:
    """Asks `question` in a thread of its own; callers at the same time share the answer."""

    def __init__(self, question: Callable[[], bool]) -> None:
        self._question = question
        self._lock = threading.Lock()
        self._asked: Future[Check] | None = None
        self._asked_at = 0.0
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="probe")

    def ask(self) -> Check:
        """The answer, or `ok=False` where there is none 1.5 s after it was asked.

        A question that hangs is not asked again, and nobody else waits for it.
        """
        with self._lock:
            now = time.monotonic()
            done = self._asked is not None and self._asked.done()
            if self._asked is None or (done and now - self._asked_at > SHARED_FOR_S):
                self._asked, self._asked_at = self._thread.submit(self._answer), now
            asked, left = self._asked, self._asked_at + PATIENCE_S - now
        try:
            return asked.result(timeout=max(0, left))
        except TooSlow:
            return Check(ok=False, latency_ms=None)

    def _answer(self) -> Check:
        started = time.perf_counter()
        try:
            migrated = self._question()
        except Exception as error:  # noqa: BLE001 - whatever it is, the part does not answer
            log.warning("health_check_failed", kind=type(error).__name__)
            return Check(ok=False, latency_ms=None)
        latency = round((time.perf_counter() - started) * 1000, 2)
        return Check(ok=True, latency_ms=latency, migrated=migrated)


class _Database:
    """One connection per process, opened when first asked."""

    def __init__(self) -> None:
        self._connection: psycopg.Connection[Any] | None = None

    def __call__(self) -> bool:
        try:
            return self._migrated()
        except psycopg.OperationalError:
            self.close()  # it was an old connection, perhaps: the second try is the answer
            return self._migrated()

    def _migrated(self) -> bool:
        if self._connection is None or self._connection.closed:
            self._connection = apart.connect("health")
        asked = "SELECT app, name FROM django_migrations"
        try:
            with deadlines.at_most(PATIENCE_S, self._connection):
                rows = self._connection.execute(asked).fetchall()
        except (psycopg.errors.UndefinedTable, psycopg.errors.InsufficientPrivilege):
            return False  # `migrate` makes the table, and lets the application read it
        return expected_migrations() <= {tuple(row) for row in rows}

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None


@cache
def expected_migrations() -> frozenset[tuple[str, str]]:
    """The last migration of each app that this code comes with."""
    return frozenset(MigrationLoader(None).graph.leaf_nodes())


def _cache_answers() -> bool:
    """Whether Valkey answers; one that this process leaves alone is not waited for here either.

    Raises:
        Away: it does not answer, or answers too late to be of use.
    """
    import redis

    if server().is_away:
        raise Away
    client = redis.Redis.from_url(
        str(settings.CACHES["default"]["LOCATION"]),
        socket_timeout=0.5,
        socket_connect_timeout=0.5,
    )
    with client:
        return bool(client.ping())


database = Probe(_Database())
valkey = Probe(_cache_answers)
