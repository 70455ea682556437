"""The statements that ours sends for a request, sent again by psycopg alone.

    python benchmarks/peers/sql_alone.py      # with Dockside's environment; told what to do by JSON

Asks Dockside itself, in this process, and writes down each statement with its parameters, its kind
of cursor and whether it is prepared. Then plays them back: one transaction per request, as many
threads and connections as the web servers have. A new order's id and reference are made anew.

A line of standard input is a job, a line of standard output its result: `{"learn": name,
"requests": […], "token": …}` tells the rows' text for comparison, `{"play": name, "seconds": …,
"threads": …}` what `benchmarks/load.py` tells.
"""

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

import django
import psycopg
from uuid_utils.compat import uuid7

from benchmarks.data import REFERENCE

if __name__ == "__main__":
    django.setup()


@dataclass(frozen=True)
class Statement:
    """One call of `execute`."""

    cursor: type[psycopg.Cursor]
    query: Any
    parameters: Any
    options: dict[str, Any]  # `prepare` and `binary`

    def play(self, raw: psycopg.Connection, renewed: Callable[[Any], Any]) -> list[Any]:
        parameters = self.parameters
        if isinstance(parameters, dict):
            parameters = {name: renewed(value) for name, value in parameters.items()}
        elif parameters is not None:
            parameters = [renewed(value) for value in parameters]
        with self.cursor(raw) as cursor:
            cursor.execute(self.query, parameters, **self.options)
            return cursor.fetchall() if cursor.description else []


@dataclass(frozen=True)
class Work:
    """The statements of one request, and the id that it made."""

    statements: list[Statement]
    made: str

    def play(self, raw: psycopg.Connection) -> list[Any]:
        key, reference = uuid7(), f"NEW-{time.time_ns():0{len(REFERENCE) - 4}}"[: len(REFERENCE)]

        def renewed(value: Any) -> Any:
            if self.made and str(value) == self.made:
                return type(value)(str(key))
            return reference if isinstance(value, str) and value == REFERENCE else value

        rows = [row for each in self.statements for row in each.play(raw, renewed)]
        raw.commit()
        return rows


def written_down(request: Callable[[], Any]) -> tuple[list[Statement], Any]:
    """The statements that are sent while `request` runs, and what it returns."""
    statements: list[Statement] = []
    real = psycopg.Cursor.execute

    def execute(self: Any, query: Any, params: Any = None, **options: Any) -> Any:
        kind = psycopg.ClientCursor if isinstance(self, psycopg.ClientCursor) else psycopg.Cursor
        statements.append(Statement(kind, query, params, options))
        return real(self, query, params, **options)

    psycopg.Cursor.execute = execute  # type: ignore[method-assign]
    try:
        return statements, request()
    finally:
        psycopg.Cursor.execute = real  # type: ignore[method-assign]


def learn(requests: list[tuple[str, str, Any]], token: str) -> list[Work]:
    from django.test import Client

    client = Client(HTTP_AUTHORIZATION=f"Bearer {token}", HTTP_HOST="127.0.0.1")
    works = []
    for method, path, body in requests:
        for _ in range(2):  # the first time, things are looked up that are kept then
            if body:
                body = {**body, "reference": REFERENCE}
                forget(REFERENCE)
            more = {"data": json.dumps(body), "content_type": "application/json"} if body else {}
            statements, answer = written_down(
                lambda m=method, p=path, k=more: client.generic(m, p, **k)
            )
            if answer.status_code not in (200, 201):
                raise SystemExit(f"{method} {path} answered {answer.status_code}")
        made = answer.json()["id"] if body else ""
        works.append(Work(statements, made))
    forget(REFERENCE)
    return works


def forget(reference: str) -> None:
    from core import tenancy
    from orders.models import Order

    with tenancy.everyone("benchmark"):
        Order.objects.filter(reference=reference).delete()


def connected() -> psycopg.Connection:
    """A connection as Dockside's, with its adapters and settings."""
    from django.db import connection

    wrapper = connection.copy()
    wrapper.ensure_connection()
    raw: psycopg.Connection = wrapper.connection
    raw.autocommit = False
    return raw


def play(works: list[Work], seconds: float, threads: int, pool: list[psycopg.Connection]) -> Any:
    while len(pool) < threads:
        pool.append(connected())
    latencies: list[list[float]] = [[] for _ in range(threads)]
    failures: list[BaseException] = []
    began = time.perf_counter()

    def player(number: int) -> None:
        turn = cycle(works[number % len(works) :] + works[: number % len(works)])
        try:
            now = time.perf_counter()
            while now < began + seconds:
                next(turn).play(pool[number])
                then, now = now, time.perf_counter()
                latencies[number].append((now - then) * 1000)
        except BaseException as error:
            failures.append(error)

    players = [threading.Thread(target=player, args=[number]) for number in range(threads)]
    for each in players:
        each.start()
    for each in players:
        each.join()
    if failures:
        raise failures[0]
    took = time.perf_counter() - began
    together = [one for each in latencies for one in each]
    return {"count": len(together), "seconds": took, "latencies": together}


def main() -> None:
    known: dict[str, list[Work]] = {}
    pool: list[psycopg.Connection] = []
    # Standard output is for results; whatever the application prints goes where its log goes.
    results, sys.stdout = os.fdopen(os.dup(1), "w"), sys.stderr
    os.dup2(2, 1)
    for line in sys.stdin:
        job = json.loads(line)
        if "learn" in job:
            works = known[job["learn"]] = learn(job["requests"], job["token"])
            raw = connected()
            told: Any = [str(work.play(raw)) for work in works]
            raw.close()
        else:
            told = play(known[job["play"]], job["seconds"], job["threads"], pool)
        print(json.dumps(told), file=results, flush=True)


if __name__ == "__main__":
    main()
