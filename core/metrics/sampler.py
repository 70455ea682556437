"""What cannot be counted as it happens is looked at now and then, in each worker.

Each look has a thread of its own, so that one that hangs keeps no other waiting, and a scrape
waits for none. An app that has something to tell registers its own with `every`, in its
`AppConfig.ready`.
"""

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import structlog
from django.conf import settings
from django.db import connection
from prometheus_client import Counter

from core import health, metrics, upkeep
from core.metrics.requests import answering
from core.postgres import apart

log = structlog.stdlib.get_logger("core.metrics")

Look = Callable[[], None]
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
UPKEEP_PATIENCE_MS = 2_000

_looks: list[tuple[Look, float]] = []


def every(seconds: float) -> Callable[[Look], Look]:
    """Register a function without arguments that sets gauges or raises counters."""

    def register(look: Look) -> Look:
        _looks.append((look, seconds))
        return look

    return register


def start() -> None:
    """Begin to look, in a process that has forked already."""
    metrics.begin()
    for look, seconds in _looks:
        name = f"metrics-{look.__name__}"
        threading.Thread(target=_look_again, args=(look, seconds), name=name, daemon=True).start()


def _look_again(look: Look, seconds: float) -> None:
    failing = False
    while True:
        try:
            look()
            failing = False
        except Exception as error:  # noqa: BLE001 - whatever it is, the next look may do better
            if not failing:
                log.warning("metrics_look_failed", look=look.__name__, kind=type(error).__name__)
            failing = True
        time.sleep(seconds)


class Rise:
    """Raises a counter by what some total of the process has risen since it was last seen."""

    def __init__(self, counter: Counter, unit: float = 1) -> None:
        self._counter = counter
        self._unit = unit
        self._seen = 0.0

    def to(self, total: float) -> None:
        # A total that fell began anew, as that of a new pool does.
        risen = total - self._seen if total >= self._seen else total
        self._counter.inc(risen * self._unit)
        self._seen = total


@every(1)
def requests_in_progress() -> None:
    metrics.IN_PROGRESS.set(len(answering))


_pool_totals = {
    "requests_num": Rise(metrics.POOL_REQUESTS),
    "requests_queued": Rise(metrics.POOL_QUEUED),
    "requests_wait_ms": Rise(metrics.POOL_WAIT_SECONDS, 0.001),
    "requests_errors": Rise(metrics.POOL_REFUSED),
    "connections_lost": Rise(metrics.POOL_LOST),
}


@every(1)
def pool() -> None:
    """The pool of this process; its numbers are psycopg's own."""
    pooled: Any = getattr(connection, "pool", None)
    if pooled is None:
        return
    stats = pooled.get_stats()
    idle = stats["pool_available"]
    metrics.POOL_CONNECTIONS.labels("idle").set(idle)
    metrics.POOL_CONNECTIONS.labels("in-use").set(stats["pool_size"] - idle)
    metrics.POOL_LIMIT.set(stats["pool_max"])
    metrics.POOL_WAITING.set(stats["requests_waiting"])
    for name, rise in _pool_totals.items():
        rise.to(stats.get(name, 0))


_cpu = Rise(metrics.CPU_SECONDS)


@every(5)
def process() -> None:
    _cpu.to(time.process_time())
    own = Path("/proc/self")
    if own.exists():
        pages = int((own / "statm").read_text().split()[1])
        metrics.MEMORY.set(pages * PAGE_BYTES)
        metrics.OPEN_FILES.set(len(os.listdir(own / "fd")))


@every(5)
def parts() -> None:
    """Whether the parts answer; both are asked within bounds and on connections of their own."""
    metrics.UP.labels("database").set(health.database.ask().ok)
    metrics.UP.labels("cache").set(health.valkey.ask().ok)


@every(60)
def database_upkeep() -> None:
    with apart.connect("metrics", options=f"-c statement_timeout={UPKEEP_PATIENCE_MS}") as own:
        found = upkeep.look(own.execute)
    metrics.XID_AGE.set(found.age)
    metrics.DEAD_ROWS.set(max((table.dead_ratio for table in found.bloated(share=0)), default=0))


def is_wanted() -> bool:
    """Whether anybody may ask for metrics: where nobody may, nothing is counted or looked at."""
    return bool(settings.METRICS_TOKEN or settings.METRICS_BIND)
