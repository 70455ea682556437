"""Each request counted: how long it took, and how much of that was SQL.

A list is answered in two milliseconds, so every microsecond here is half a per mille of it.
`benchmarks/metrics_cost.py` measures what this costs.
"""

from collections.abc import Callable
from threading import get_ident
from time import perf_counter
from typing import Any

from django.conf import settings
from django.db import connection
from django.http import HttpRequest, HttpResponse

from core.metrics import PROBLEMS, REQUEST_SECONDS, REQUEST_SQL_SECONDS, REQUEST_STATEMENTS

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

# Threads that answer a request now. Changed without a lock, which one bytecode does not need.
answering: set[int] = set()

_counted: dict[tuple[str, str, int], tuple[Any, Any, Any]] = {}


class Tally:
    """Counts the statements of a request, and the time they take; Django calls it around each."""

    __slots__ = ("seconds", "statements")

    def __init__(self) -> None:
        self.statements = 0
        self.seconds = 0.0

    def __call__(self, execute: Any, sql: Any, params: Any, many: bool, context: Any) -> Any:
        began = perf_counter()
        try:
            return execute(sql, params, many, context)
        finally:
            self.seconds += perf_counter() - began
            self.statements += 1


def request_metrics(
    get_response: Callable[[HttpRequest], HttpResponse],
) -> Callable[[HttpRequest], HttpResponse]:
    """Outermost of the middleware, and only there where somebody asks for metrics."""

    def handle(request: HttpRequest) -> HttpResponse:
        began = perf_counter()
        thread, tally = get_ident(), Tally()
        answering.add(thread)
        try:
            with connection.execute_wrapper(tally):
                response = get_response(request)
        finally:
            answering.discard(thread)
        seconds, statements, in_sql = _histograms(
            route_of(request), request.method or "", response.status_code
        )
        seconds.observe(perf_counter() - began)
        statements.observe(tally.statements)
        in_sql.observe(tally.seconds)
        return response

    return handle


def count_refused(method: str, code: str, status: int, seconds: float = 0.0) -> None:
    """Count what never reached the application: shed, too slow, or no HTTP."""
    PROBLEMS.labels(code).inc()
    method = method if method in METHODS else "other"
    REQUEST_SECONDS.labels("unknown", method, status).observe(seconds)


def route_of(request: HttpRequest) -> str:
    """The name of the URL's pattern, as the log's `resource`: never the path itself."""
    if match := request.resolver_match:
        return match.view_name
    static = str(settings.STATIC_URL)
    return "static" if request.path_info.startswith(static) else "unknown"


def _histograms(route: str, method: str, status: int) -> tuple[Any, Any, Any]:
    if method not in METHODS:
        method = "other"
    key = route, method, status
    if key not in _counted:
        _counted[key] = (
            REQUEST_SECONDS.labels(route, method, status),
            REQUEST_STATEMENTS.labels(route, method),
            REQUEST_SQL_SECONDS.labels(route, method),
        )
    return _counted[key]
