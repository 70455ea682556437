"""What Prometheus is told: each metric is declared here, and raised where the thing happens.

A label never holds what a caller or a tenant chose: names of URL patterns, codes of our own, and
the like, so that a metric has at most some hundred series. docs/metrics.md explains each one.

Within gunicorn the values live in files that all workers share (`config.metrics`), elsewhere in the
process, where nobody asks for them.
"""

from collections.abc import Iterable
from platform import python_version

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from core.version import VERSION

REGISTRY = CollectorRegistry()

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
STATEMENTS = (0, 1, 2, 3, 5, 8, 13, 21, 34, 55)


def _counter(name: str, what: str, label: str = "", values: Iterable[str] = ()) -> Counter:
    """A counter; of known `values` each is there from the start, so that the first one counts."""
    counter = Counter(name, what, [label] if label else [], registry=REGISTRY)
    for value in values:
        counter.labels(value)
    return counter


def _gauge(name: str, what: str, labels: Iterable[str] = (), *, mode: str = "liveall") -> Gauge:
    """Of the workers that live: one series of each (`liveall`), or their sum, least or most."""
    return Gauge(name, what, labels, multiprocess_mode=mode, registry=REGISTRY)  # type: ignore[arg-type]


# --------------------------------------------------------------------------------------- requests

REQUEST_SECONDS = Histogram(
    "dockside_http_request_duration_seconds",
    "Time from the first middleware to the answer.",
    ["route", "method", "status"],
    buckets=SECONDS,
    registry=REGISTRY,
)
REQUEST_STATEMENTS = Histogram(
    "dockside_http_request_sql_statements",
    "SQL statements of a request, without BEGIN and COMMIT.",
    ["route", "method"],
    buckets=STATEMENTS,
    registry=REGISTRY,
)
REQUEST_SQL_SECONDS = Histogram(
    "dockside_http_request_sql_seconds",
    "Time a request spent in SQL statements, without waiting for a connection.",
    ["route", "method"],
    buckets=(0.0005, *SECONDS),
    registry=REGISTRY,
)
IN_PROGRESS = _gauge("dockside_http_requests_in_progress", "Requests that are being answered.")
PROBLEMS = _counter("dockside_problems", "Refusals and accidents told to callers.", "code")
RETRIES = _counter(
    "dockside_unit_of_work_retries",
    "Units of work begun again after a deadlock or a serialization failure.",
)

# ------------------------------------------------------------------------------------------ doors

LIMITED = _counter(
    "dockside_limit_refusals",
    "Requests that were one too many, by the limit.",
    "limit",
    ["read", "write", "upload"],
)
SIGN_INS = _counter(
    "dockside_sign_ins",
    "Tries of a name and a password, at the API and the admin.",
    "outcome",
    ["succeeded", "failed", "locked"],
)

# ------------------------------------------------------------------------------------------ cache

CACHE_READS = Counter(
    "dockside_cache_reads",
    "Reads through the cache, by what is cached and how it went.",
    ["resource", "outcome"],
    registry=REGISTRY,
)
VALKEY_ERRORS = _counter("dockside_valkey_errors", "Calls of Valkey that failed.")
VALKEY_LEFT_ALONE = _gauge(
    "dockside_valkey_left_alone",
    "Workers that leave Valkey alone, since it has failed them.",
    mode="livesum",
)


class ValkeyObserver:
    """What whoever speaks to Valkey tells, as it happens."""

    def hit(self, resource: str) -> None:
        CACHE_READS.labels(resource, "hit").inc()

    def miss(self, resource: str) -> None:
        CACHE_READS.labels(resource, "miss").inc()

    def error(self) -> None:
        VALKEY_ERRORS.inc()

    def breaker(self, open: bool) -> None:
        """From now on Valkey is left alone, or asked again."""
        VALKEY_LEFT_ALONE.set(open)


valkey = ValkeyObserver()

# --------------------------------------------------------------------------- looked at (`sampler`)

POOL_CONNECTIONS = _gauge("dockside_pool_connections", "Connections of a worker's pool.", ["state"])
POOL_LIMIT = _gauge("dockside_pool_connections_limit", "Connections that a pool may have.")
POOL_WAITING = _gauge("dockside_pool_waiting", "Requests that wait for a connection.")
POOL_REQUESTS = _counter("dockside_pool_requests", "Connections asked of the pool.")
POOL_QUEUED = _counter("dockside_pool_queued", "Connections that had to be waited for.")
POOL_WAIT_SECONDS = _counter("dockside_pool_wait_seconds", "Time spent waiting for connections.")
POOL_REFUSED = _counter(
    "dockside_pool_refused", "Requests that got no connection in time, or found the queue full."
)
POOL_LOST = _counter("dockside_pool_lost", "Connections found dead.")

UP = _gauge(
    "dockside_part_up", "1 if every worker gets an answer from this part.", ["part"], mode="livemin"
)
XID_AGE = _gauge(
    "dockside_postgres_transaction_id_age",
    "Age of the oldest transaction id or multixact of the database; it stops at 2.1e9.",
    mode="livemax",
)
DEAD_ROWS = _gauge(
    "dockside_postgres_dead_rows_ratio",
    "Dead rows among all of them, in the large table where they are most.",
    mode="livemax",
)

JOBS = _gauge(
    "dockside_jobs",
    "Jobs that wait, run or failed for good.",
    ["state"],
    mode="livemax",
)
JOBS_OLDEST = _gauge(
    "dockside_jobs_oldest_waiting_seconds",
    "Age of the job that has waited longest.",
    mode="livemax",
)

CPU_SECONDS = _counter("dockside_process_cpu_seconds", "CPU time of all workers.")
MEMORY = _gauge("dockside_process_resident_memory_bytes", "Memory of a worker.")
OPEN_FILES = _gauge("dockside_process_open_files", "Files and sockets a worker has open.")
WORKERS = _gauge("dockside_workers", "Worker processes that live.", mode="livesum")
BUILD = _gauge("dockside_build_info", "Always 1.", ["version", "python"], mode="livemax")


def begin() -> None:
    """Set what is the same for as long as this worker lives; its parent's values are not its."""
    BUILD.labels(VERSION, python_version()).set(1)
    WORKERS.set(1)
