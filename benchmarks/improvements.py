"""What each improvement buys: the same work with it and without it, in turn.

    script/benchmark improvements [--orders N] [--rounds N] [--seconds S] [--only NAME …]

The first part asks servers of ours that differ in one thing: the pool, the cache, the indexes (a
copy of the database has only those that keep rules). The second part asks PostgreSQL alone, over
one connection: how a page's related objects are fetched, whether the statement is prepared, how
rows are counted, how a page half way through is reached.
"""

import argparse
import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import psycopg

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import data, measuring, serving
from benchmarks.measuring import Ratio, Request
from benchmarks.serving import Machine, Server
from core import embedded

EACH_MS = 400.0  # about how long a round of one way of asking PostgreSQL lasts


# --------------------------------------------------------------------------------- servers of ours


@dataclass(frozen=True)
class Improvement:
    """One thing that a server has and another has not, and what is asked to see the difference."""

    name: str
    asked: str
    without: dict[str, str]  # variables of the server that does not have it
    bare: bool = False  # whether it works on the copy without indexes

    def served(self, on: Machine, database: str) -> Any:
        name = f"without_{self.name.replace(' ', '_')}"
        return serving.serve_ours(
            on, bare_of(database) if self.bare else database, name, **self.without
        )


def improvements() -> list[Improvement]:
    # Nobody listens there: what is away is left alone after the first failure.
    away = {"REDIS_URL": f"redis://127.0.0.1:{embedded.free_port()}/0"}
    return [
        Improvement("pool", "list", {"DB_POOL": "0"}),
        Improvement("pool for one order", "detail", {"DB_POOL": "0"}),
        Improvement("cache", "terminals", away),
        Improvement("indexes", "list", {}, bare=True),
        Improvement("indexes for the newest", "newest", {}, bare=True),
    ]


def requests(on: Machine, database: str, orders: int) -> dict[str, list[Request]]:
    with on.superuser(database) as connection:
        some = data.some_orders(connection, 50)
    address = "/api/v1/orders?terminal_id={}&eta_date={}&per_page=50"
    return {
        "list": [("GET", address.format(*pair), None) for pair in data.full_days(orders, 40)],
        "newest": [("GET", "/api/v1/orders?per_page=50", None)],
        "detail": [("GET", f"/api/v1/orders/{key}", None) for key in some],
        "terminals": [("GET", "/api/v1/terminals?per_page=100", None)],
    }


def bare_of(database: str) -> str:
    return f"{database}_bare"


@contextlib.contextmanager
def without_indexes(on: Machine, database: str) -> Iterator[None]:
    """A copy of the database in which orders have no index but those that keep rules."""
    bare = bare_of(database)
    with on.superuser("postgres") as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {bare} WITH (FORCE)")
        connection.execute(
            f"CREATE DATABASE {bare} TEMPLATE {database} OWNER dockside STRATEGY file_copy"
        )
    try:
        with on.superuser(bare) as connection:
            for name, _ in data.secondary_indexes(connection):
                connection.execute(f"DROP INDEX {name}")
        yield
    finally:
        with on.superuser("postgres") as connection:
            connection.execute(f"DROP DATABASE {bare} WITH (FORCE)")


def measure_servers(
    on: Machine, database: str, chosen: list[Improvement], given: argparse.Namespace
) -> dict[str, dict[bool, list[float]]]:
    """Requests a second of each improvement, with (True) and without it (False)."""
    asked = requests(on, database, given.orders)
    seen: dict[str, dict[bool, list[float]]] = {}
    with contextlib.ExitStack() as running:
        if any(each.bare for each in chosen):
            running.enter_context(without_indexes(on, database))
        ours = running.enter_context(serving.serve_ours(on, database))
        token = serving.sign_in(ours)  # good everywhere: the copy has the same users and sign-ins

        with serving.progress() as bar:
            task = bar.add_task("measuring", total=2 * (given.rounds + 1) * len(chosen))
            for each in chosen:
                with each.served(on, database) as without:
                    token_there = serving.sign_in(without) if each.bare else token
                    pair: list[tuple[bool, Server, str]] = [
                        (True, ours, token),
                        (False, without, token_there),
                    ]
                    for turn in range(given.rounds + 1):  # the first one only warms up
                        for has, server, by in pair[:: -1 if turn % 2 else 1]:
                            bar.update(task, description=each.name)
                            one = measuring.measure(
                                on,
                                server,
                                by,
                                asked[each.asked],
                                seconds=given.seconds if turn else min(1.0, given.seconds),
                                connections=given.connections,
                            )
                            if turn:
                                seen.setdefault(each.name, {True: [], False: []})[has].append(
                                    one.per_second
                                )
                            bar.advance(task)
    return seen


# -------------------------------------------------------------------------------- PostgreSQL alone

ORDER = "created_at DESC, id DESC"
LEGS = [f"{leg}_{what}" for leg in ("eta", "etd") for what in ("driver", "truck", "trailer")]
TABLES = {"terminal": "terminals_terminal"} | {
    name: f"fleet_{name.partition('_')[2]}" for name in LEGS
}
JOINS = " ".join(
    f"LEFT JOIN {table} {name} ON {name}.id = o.{name}_id" for name, table in TABLES.items()
)
EVERYTHING = f"o.*, {', '.join(f'{name}.*' for name in TABLES)}"
CHOSEN = "terminal_id = %(terminal)s AND eta_date = %(day)s"
PAGE = f"SELECT id FROM orders_order WHERE {CHOSEN} ORDER BY {ORDER} LIMIT 50"

Way = Callable[[psycopg.Connection, dict[str, Any]], object]


def statement(query: str, *, prepare: bool) -> Way:
    """One statement: prepared on the server, or sent whole each time."""

    def ask(connection: psycopg.Connection, given: dict[str, Any]) -> object:
        kind = psycopg.Cursor if prepare else psycopg.ClientCursor
        with kind(connection) as cursor:
            return cursor.execute(query, given, prepare=prepare).fetchall()

    return ask


def by_relation(connection: psycopg.Connection, given: dict[str, Any]) -> object:
    """A statement for the orders, and one for each relation of all of them."""
    found = [connection.execute(OWN, given, prepare=True).fetchall()]
    orders = found[0]
    for place, table in enumerate(TABLES.values(), 1):
        keys = [row[place] for row in orders if row[place]]
        query = f"SELECT * FROM {table} WHERE id = ANY(%s)"
        found.append(connection.execute(query, [keys], prepare=True).fetchall())
    return found


def one_by_one(connection: psycopg.Connection, given: dict[str, Any]) -> object:
    """A statement for the orders, and one for each object that one of them refers to."""
    orders = connection.execute(OWN, given, prepare=True).fetchall()
    return [
        connection.execute(
            f"SELECT * FROM {table} WHERE id = %s", [row[place]], prepare=True
        ).fetchall()
        for row in orders
        for place, table in enumerate(TABLES.values(), 1)
        if row[place]
    ]


OWN = f"""
    SELECT id, {", ".join(f"{name}_id" for name in TABLES)}, o.*
    FROM orders_order o WHERE {CHOSEN} ORDER BY {ORDER} LIMIT 50
"""
EARLY = f"""
    SELECT {EVERYTHING} FROM orders_order o {JOINS}
    WHERE o.terminal_id = %(terminal)s AND o.eta_date = %(day)s
    ORDER BY o.created_at DESC, o.id DESC LIMIT 50
"""
LATE = f"""
    SELECT {EVERYTHING} FROM ({PAGE}) page JOIN orders_order o USING (id) {JOINS}
    ORDER BY o.created_at DESC, o.id DESC
"""
HOME = "organization_id = %(home)s"
COUNTED = f"SELECT count(*) FROM orders_order WHERE {HOME}"
COUNTED_SO_FAR = f"SELECT count(*) FROM (SELECT FROM orders_order WHERE {HOME} LIMIT 10001) _"
OFFSET_EARLY = f"""
    SELECT {EVERYTHING} FROM orders_order o {JOINS} WHERE o.organization_id = %(home)s
    ORDER BY o.created_at DESC, o.id DESC LIMIT 50 OFFSET %(deep)s
"""
DEEP_LATE = f"""
    SELECT {EVERYTHING} FROM (
        SELECT id FROM orders_order WHERE {HOME} {{after}} ORDER BY {ORDER} LIMIT 50 {{offset}}
    ) page JOIN orders_order o USING (id) {JOINS} ORDER BY o.created_at DESC, o.id DESC
"""

WAYS: dict[str, dict[str, Way]] = {
    "a terminal's day with seven related objects": {
        "ids first, joins after, prepared": statement(LATE, prepare=True),
        "ids first, joins after": statement(LATE, prepare=False),
        "all joined, prepared": statement(EARLY, prepare=True),
        "all joined": statement(EARLY, prepare=False),
        "a statement per relation": by_relation,
        "a statement per object": one_by_one,
    },
    "how many there are": {
        "counting stops at 10,001": statement(COUNTED_SO_FAR, prepare=True),
        "counted exactly": statement(COUNTED, prepare=True),
    },
    "a page half way through all orders": {
        "by keyset": statement(
            DEEP_LATE.format(after="AND (created_at, id) < (%(made)s, %(key)s)", offset=""),
            prepare=True,
        ),
        "by offset, joins after": statement(
            DEEP_LATE.format(after="", offset="OFFSET %(deep)s"), prepare=True
        ),
        "by offset, all joined": statement(OFFSET_EARLY, prepare=True),
    },
}


def measure_ways(
    on: Machine, database: str, given: argparse.Namespace
) -> dict[str, dict[str, list[float]]]:
    """Milliseconds of each way of asking PostgreSQL, by what is asked."""
    seen: dict[str, dict[str, list[float]]] = {}
    days = data.full_days(given.orders, 40)
    with psycopg.connect(on.peers_url(database), autocommit=True) as connection:
        home: dict[str, Any] = {"home": data.HOME.organization, "deep": given.orders // 2}
        last = f"SELECT created_at, id FROM orders_order WHERE {HOME} ORDER BY {ORDER}"
        found = connection.execute(f"{last} OFFSET %(deep)s - 1 LIMIT 1", home).fetchone()
        home |= dict(zip(("made", "key"), found or (None, None), strict=True))
        with serving.progress() as bar:
            task = bar.add_task("", total=(given.rounds + 1) * sum(map(len, WAYS.values())))
            for what, ways in WAYS.items():
                for turn in range(given.rounds + 1):  # the first one only warms up
                    for name in list(ways)[:: -1 if turn % 2 else 1]:
                        bar.update(task, description=name)
                        took = timed(ways[name], connection, home, days)
                        if turn:
                            seen.setdefault(what, {}).setdefault(name, []).append(took)
                        bar.advance(task)
    return seen


def timed(
    way: Way, connection: psycopg.Connection, home: dict[str, Any], days: list[tuple[str, str]]
) -> float:
    """The median in ms of a round."""
    times: list[float] = []
    while sum(times) < EACH_MS or len(times) < 3:
        terminal, day = days[len(times) % len(days)]
        began = time.perf_counter()
        way(connection, home | {"terminal": terminal, "day": day})
        times.append((time.perf_counter() - began) * 1000)
    return median(times)


# --------------------------------------------------------------------------------------- the report


def report(
    servers: dict[str, dict[bool, list[float]]],
    ways: dict[str, dict[str, list[float]]],
    given: argparse.Namespace,
) -> None:
    console = measuring.console()
    console.print(measuring.machine_line(given))
    if servers:
        told = measuring.table("requests a second: median (least–most)", "with", "without", "ratio")
        for name, seen in servers.items():
            told.add_row(
                name,
                measuring.spread(seen[True], 1),
                measuring.spread(seen[False], 1),
                str(Ratio.of(seen[True], seen[False])),
            )
        console.print(told)
    for what, found in ways.items():
        told = measuring.table(f"ms of PostgreSQL and psycopg: {what}", "median", "times the first")
        first = found[next(iter(WAYS[what]))]
        for name in WAYS[what]:
            times = found[name]
            told.add_row(name, measuring.spread(times, 2), str(Ratio.of(times, first)))
        console.print(told)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--orders", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--only", nargs="*", help="some of the improvements, or `sql`")
    given = parser.parse_args()
    chosen = [each for each in improvements() if not given.only or each.name in given.only]
    with serving.machine() as on:
        database = on.database(given.orders)
        servers = measure_servers(on, database, chosen, given) if chosen else {}
        ways = {}
        if not given.only or "sql" in given.only:
            ways = measure_ways(on, database, given)
    report(servers, ways, given)
    return 0


if __name__ == "__main__":
    sys.exit(main())
