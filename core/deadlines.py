"""A request has so many seconds in all, also where PostgreSQL never answers.

`statement_timeout` is PostgreSQL's own: it ends one long statement, but not many short ones, and
none where PostgreSQL itself hangs or the network swallows every packet. So each process has one
thread that knows the connections in use. When the time of a request is over it shuts the socket of
its connection: whoever waits there gets an `OperationalError` at once, which means 503, and
PostgreSQL, which looks for its client twice a second, ends the statement.
"""

import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import psycopg
import structlog

log = structlog.stdlib.get_logger("core.deadlines")

LOOK_S = 0.1
SPARE_S = 0.5  # what is left of a request's time for saying that it is over

_request = threading.local()


class DeadlinePassed(psycopg.OperationalError):
    """The time of this request is over: it gets no other connection."""


def begin(until: float) -> None:
    """The request of this thread shall be answered by `until`, on the monotonic clock."""
    _request.until = until - SPARE_S


def end() -> None:
    """This thread has no request any more."""
    _request.until = None


def of_this_request() -> float | None:
    """When this thread's request may no longer wait; None outside of requests."""
    until: float | None = getattr(_request, "until", None)
    return until


def check() -> None:
    """Raise `DeadlinePassed` where the time of this thread's request is over."""
    until = of_this_request()
    if until is not None and time.monotonic() >= until:
        raise DeadlinePassed("the time of this request is over")


class _Watchdog:
    """Shuts the sockets of connections that are used beyond their time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._watched: dict[int, tuple[psycopg.Connection[Any], float]] = {}
        self._some = threading.Event()
        self._thread: threading.Thread | None = None

    def watch(self, connection: psycopg.Connection[Any], until: float) -> None:
        with self._lock:
            self._watched[id(connection)] = connection, until
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="deadlines", daemon=True)
                self._thread.start()
        self._some.set()

    def unwatch(self, connection: psycopg.Connection[Any]) -> None:
        with self._lock:  # from here on somebody else may use it
            self._watched.pop(id(connection), None)

    def _run(self) -> None:
        while self._some.wait():
            time.sleep(LOOK_S)
            with self._lock:
                now = time.monotonic()
                over = [each for each in self._watched.values() if each[1] <= now]
                for connection, _ in over:
                    del self._watched[id(connection)]
                    _shut(connection)
                if not self._watched:
                    self._some.clear()
            if over:
                log.warning("database_cut_off", connections=len(over))


def _shut(connection: psycopg.Connection[Any]) -> None:
    """Let every wait for `connection` end now. It stays open, its user closes it."""
    with (
        contextlib.suppress(OSError, psycopg.Error),
        socket.socket(fileno=os.dup(connection.fileno())) as shared,
    ):
        shared.shutdown(socket.SHUT_RDWR)


_watchdog = _Watchdog()


def _anew() -> None:
    """A forked process has none of its parent's threads."""
    global _watchdog
    _watchdog = _Watchdog()


os.register_at_fork(after_in_child=_anew)


def watch(connection: psycopg.Connection[Any]) -> None:
    """Cut `connection` off when the time of this thread's request is over."""
    until = of_this_request()
    if until is not None:
        _watchdog.watch(connection, until)


def unwatch(connection: psycopg.Connection[Any]) -> None:
    """The request is done with `connection`; to be called before anybody else gets it."""
    _watchdog.unwatch(connection)


@contextlib.contextmanager
def at_most(seconds: float, connection: psycopg.Connection[Any]) -> Iterator[None]:
    """Cut `connection` off if what is done with it here takes longer."""
    _watchdog.watch(connection, time.monotonic() + seconds)
    try:
        yield
    finally:
        _watchdog.unwatch(connection)
