"""PostgreSQL restarts, is away, hangs, is crowded, slow or full: R18 to R22, R31."""

import contextlib
import itertools
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.faults.load import Answer, Load, Tally
from benchmarks.faults.processes import held_still, seconds_until
from benchmarks.faults.report import Bars
from benchmarks.faults.stack import API, OwnPostgres, Server, Stack
from benchmarks.faults.traffic import Request, new_order, normal_day, post

NOWHERE = Path("/nonexistent")


def own(stack: Stack) -> OwnPostgres:
    if stack.postgres is None:
        raise RuntimeError("this needs a PostgreSQL of its own: leave --database out")
    return stack.postgres


def reads(stack: Stack, count: int) -> list[Request]:
    orders = itertools.cycle(stack.world.orders)
    return [Request("GET", f"{API}/orders/{next(orders)}", keep=False) for _ in range(count)]


def lost(stack: Stack, tally: Tally) -> int:
    """Orders that were acknowledged and are not there."""
    references = [answer.request.mark for answer in tally if answer.status == 201]
    query = "SELECT count(*) FROM orders_order WHERE reference = ANY(%s)"
    return len(references) - stack.count(query, references)


def only_503(bars: Bars, row: str, what: str, tally: Tally) -> None:
    shed = tally.where(lambda answer: answer.status == 503 and answer.is_shed)
    same = len(shed) == len(tally)
    bars.add(row, what, tally.kinds, "503, Retry-After", ok=same)


def postgres_restart(stack: Stack, bars: Bars, duration: float = 30.0) -> None:
    """R18: a fast restart under load, and one while nobody asks."""
    with stack.server() as server:
        bars.doing("20 requests a second, PostgreSQL restarts twice")
        with Load(server.client(), 20, normal_day(stack.world)) as load:
            times = []
            for _ in range(2):
                time.sleep(duration / 3)
                stops = time.monotonic()
                own(stack).restart()
                times.append((stops, time.monotonic()))
            time.sleep(duration / 3)
        tally = load.tally
        faults = tally.neither_good_nor_shed
        what = f"neither 2xx nor 503 with Retry-After, of {len(tally):,}"
        bars.add("R18", what, faults.kinds or 0, "0", ok=not len(faults))
        refused = tally.where(lambda answer: not 200 <= answer.status < 400)
        ended = max((late(times, answer) for answer in refused), default=0.0)
        bars.at_most("R18", f"the last of {len(refused)} refusals after it accepts", ended, 2, "s")
        bars.exactly("R18", "acknowledged orders lost", lost(stack, tally), 0)
        bars.doing("a restart while the pool is idle")
        own(stack).restart()
        first = server.ask_all(*reads(stack, 4))
        bars.at_most(
            "R18", f"first requests on an idle pool ({first.kinds})", first.slowest_s, 1, "s"
        )
        bars.exactly("R18", "their statuses", first.kinds, "200: 4")


def late(times: list[tuple[float, float]], answer: Answer) -> float:
    """How long after PostgreSQL accepted again a refusal came, by the restart it belongs to."""
    ended = answer.sent_at + answer.seconds
    return ended - max((accepts for stops, accepts in times if stops <= ended), default=ended)


def postgres_down(stack: Stack, bars: Bars, duration: float = 10.0) -> None:
    """R19: nobody listens on PostgreSQL's port; the server is also started meanwhile."""
    with stack.server() as server:
        workers = server.workers
        own(stack).stop()
        try:
            bars.doing("PostgreSQL is down")
            deadline = time.monotonic() + duration
            tally = Tally()
            while time.monotonic() < deadline:
                tally.answers += server.ask_all(*reads(stack, 10), at_once=4).answers
                time.sleep(0.5)
            only_503(bars, "R19", f"{len(tally)} requests", tally)
            bars.at_most("R19", "the slowest of them", tally.slowest_s, 1, "s")
            health(bars, "R19", server, {"live": 200, "ready": 503, "detailed": 503})
            told = server.ask("GET", "/health/detailed").json()["status"]
            bars.exactly("R19", "/health/detailed says", told, "down")
            bars.exactly(
                "R19", f"workers replaced in {duration:.0f} s", changed(server, workers), 0
            )
        finally:
            own(stack).come_back()
        back = seconds_until(lambda: server.ask_all(*reads(stack, 8)).kinds == "200: 8", 20)
        bars.at_most("R19", "serving again after PostgreSQL accepts", back, 5, "s")


def changed(server: Server, workers: list[int]) -> int:
    return len(set(workers) ^ set(server.workers)) // 2


def health(bars: Bars, row: str, server: Server, wanted: dict[str, int]) -> None:
    """The probes' statuses, each in two seconds; `live` in a tenth of one."""
    for name, status in wanted.items():
        answers = [server.ask("GET", f"/health/{name}", timeout_s=15) for _ in range(5)]
        slowest = sorted(answer.seconds for answer in answers)[-1]
        statuses = {answer.status for answer in answers}
        limit = 0.1 if name == "live" else 2.0
        ok = statuses == {status} and slowest <= limit
        measured = f"{'/'.join(map(str, statuses))} in {slowest * 1000:.0f} ms"
        bars.add(row, f"/health/{name}", measured, f"{status} in {limit * 1000:.0f} ms", ok=ok)


def postgres_hung(stack: Stack, bars: Bars) -> None:
    """R20: PostgreSQL's processes stand still; its port accepts, and nothing answers."""
    with stack.server() as server:
        server.ask_all(*reads(stack, 16), at_once=16)
        workers = server.workers
        with held_still(own(stack).pid_and_port()[0]), ThreadPoolExecutor(1) as background:
            bars.doing("PostgreSQL stands still")
            asked = background.submit(server.ask_all, *reads(stack, 40), at_once=20, timeout_s=60)
            time.sleep(1)
            health(bars, "R20", server, {"live": 200, "ready": 503})
            tally = asked.result()
        only_503(bars, "R20", "40 requests, 20 at once", tally)
        bars.at_most("R20", "the slowest of them", tally.slowest_s, 10, "s")
        back = seconds_until(
            lambda: server.ask_all(*reads(stack, 16), at_once=16, timeout_s=3).kinds == "200: 16",
            30,
        )
        bars.at_most("R20", "all threads serve again after it goes on", back, 5, "s")
        bars.exactly("R20", "workers replaced", changed(server, workers), 0)


@contextlib.contextmanager
def locked_order(stack: Stack, order: str) -> Iterator[None]:
    """Somebody else holds the order: whoever wants to change it waits."""
    with stack.sql() as connection, connection.transaction():
        connection.execute("SELECT FROM orders_order WHERE id = %s FOR UPDATE", [order])
        yield


def pool_exhausted(stack: Stack, bars: Bars) -> None:
    """R21: every connection of the pool is held by a request that waits for a lock, for 4 s.

    Not the 30 s of the promise: a lock is waited for no longer than five.
    """
    order, small = stack.world.orders[0], {"DB_POOL_SIZE": "2", "DB_POOL_OVERFLOW": "1"}
    change = Request("PATCH", f"{API}/orders/{order}", {"notes": "held"}, keep=False)
    with stack.server(workers=1, **small) as server, ThreadPoolExecutor(1) as background:
        server.ask_all(*reads(stack, 10), at_once=4)
        bars.doing("every connection is held")
        with locked_order(stack, order):
            holders = background.submit(server.ask_all, change, change, change, at_once=3)
            time.sleep(1)
            began = time.monotonic()
            tally = server.ask_all(*reads(stack, 20), at_once=20)
            health(bars, "R21", server, {"live": 200, "ready": 200})
            time.sleep(max(0.0, began + 3 - time.monotonic()))
        only_503(bars, "R21", "20 requests at once", tally)
        bars.at_most("R21", "the slowest of them", tally.slowest_s, 2, "s")
        time.sleep(1)
        after = server.ask_all(*reads(stack, 20), at_once=4)
        bars.exactly("R21", "20 requests, 1 s after the release", after.kinds, "200: 20")
        bars.note("R21", f"those that held the connections: {holders.result().kinds}")


def connections_used_up(stack: Stack, bars: Bars) -> None:
    """R22: PostgreSQL gives this role fewer connections than the server wants."""
    allowed = 8
    with stack.server(DB_POOL_SIZE="2", DB_POOL_OVERFLOW="20") as server:
        with at_most_connections(stack, allowed):
            bars.doing("twice as many requests as connections")
            tally = server.ask_all(*reads(stack, 200), at_once=2 * allowed)
        faults = tally.neither_good_nor_shed
        what = f"neither 200 nor 503 of 200, {2 * allowed} at once"
        bars.add("R22", what, faults.kinds or 0, "0", ok=not len(faults))
        bars.at_most("R22", f"the slowest ({tally.kinds})", tally.slowest_s, 2, "s")
    bars.doing("a pool larger than PostgreSQL allows")
    refused = "it started"
    try:
        with stack.server(DB_POOL_SIZE="200"):
            pass
    except RuntimeError as error:
        refused = "refused" if "DB_POOL" in str(error) else "failed without saying why"
    bars.exactly("R22", "a start with 2 × 210 connections of 150", refused, "refused")


@contextlib.contextmanager
def at_most_connections(stack: Stack, count: int) -> Iterator[None]:
    """The server's role gets no more than so many; those that it has stay."""
    with stack.sql() as connection:
        connection.execute(f"ALTER ROLE dockside CONNECTION LIMIT {count}")
    try:
        yield
    finally:
        with stack.sql() as connection:
            connection.execute("ALTER ROLE dockside CONNECTION LIMIT -1")


@contextlib.contextmanager
def slow_rows(stack: Stack, seconds: float, *tables: str) -> Iterator[None]:
    """Every statement that reads one of the tables takes so much longer."""
    with stack.sql() as connection:
        for table in tables:
            connection.execute(
                f"CREATE POLICY fault_slow ON {table} AS RESTRICTIVE"
                f" USING ((SELECT pg_sleep({seconds})) IS NOT NULL)"
            )
    try:
        yield
    finally:
        with stack.sql() as connection:
            for table in tables:
                connection.execute(f"DROP POLICY fault_slow ON {table}")


def deadline(stack: Stack, bars: Bars) -> None:
    """R31: one statement that would take a minute, and many that are slow together."""
    slow = [
        *reads(stack, 1),
        Request("GET", f"{API}/orders?per_page=1", keep=False),
        post(stack.world),
    ]
    with stack.server() as server:
        server.ask_all(*reads(stack, 10), at_once=4)
        for seconds, tables, what in [
            (60, ["orders_order"], "one statement of 60 s"),
            (
                3,
                [
                    "orders_order",
                    "terminals_terminal",
                    "fleet_driver",
                    "fleet_truck",
                    "core_tokenfamily",
                ],
                "statements of 3 s each",
            ),
        ]:
            bars.doing(what)
            with slow_rows(stack, seconds, *tables):
                tally = server.ask_all(*slow, at_once=3, timeout_s=90)
                gone = seconds_until(lambda: not still_running(stack), 20)
            late = tally.where(lambda answer: answer.seconds > 10 or not in_form(answer))
            bars.add(
                "R31",
                f"{what}: not answered within 10 s, of 3",
                late.kinds or 0,
                "0",
                ok=not len(late),
            )
            bars.at_most("R31", f"{what}: the slowest ({tally.kinds})", tally.slowest_s, 10, "s")
            bars.at_most("R31", f"{what}: gone from pg_stat_activity", gone, 1, "s")
        after = server.ask_all(*reads(stack, 20), at_once=4)
        bars.exactly("R31", "20 requests afterwards", after.kinds, "200: 20")


def in_form(answer: Answer) -> bool:
    return 200 <= answer.status < 300 or answer.is_shed


def still_running(stack: Stack) -> int:
    return stack.count(
        "SELECT count(*) FROM pg_stat_activity WHERE state <> 'idle'"
        " AND application_name = 'dockside'"
    )


def disk_full(stack: Stack, bars: Bars) -> None:
    """The disk under the orders is full: reads go on, writes are 503, until it has room again."""
    folder = stack.folder / "small-disk"
    with small_disk(folder, bars) as mounted:
        if not mounted:
            return
        place = folder / "tablespace"
        place.mkdir()
        shutil.chown(place, 65534, 65534)
        with stack.sql() as connection:
            connection.execute(f"CREATE TABLESPACE small LOCATION '{place}'")
            connection.execute("ALTER TABLE orders_order SET TABLESPACE small")
        try:
            with stack.server() as server:
                fill_and_ask(stack, server, bars, folder / "ballast")
        finally:
            with stack.sql() as connection:
                connection.execute("ALTER TABLE orders_order SET TABLESPACE pg_default")
                connection.execute("DROP TABLESPACE small")


def fill_and_ask(stack: Stack, server: Server, bars: Bars, ballast: Path) -> None:
    bars.doing("the disk fills up")
    with contextlib.suppress(OSError), ballast.open("wb") as file:
        while True:
            file.write(b"\0" * 4096)
            file.flush()
    for _ in range(200):  # until the pages that there are have no room either
        long = [new_order(stack.world, notes="x" * 1000) for _ in range(20)]
        answers = server.ask_all(
            *[Request("POST", f"{API}/orders", body) for body in long], at_once=4
        )
        if len(answers.errors) == len(answers):
            break
    before = stack.count("SELECT count(*) FROM orders_order")
    long = [new_order(stack.world, notes="x" * 1000) for _ in range(20)]
    writes = server.ask_all(*[Request("POST", f"{API}/orders", body) for body in long], at_once=4)
    only_503(bars, "", "20 new orders on a full disk", writes)
    bars.exactly(
        "",
        "rows that a refused order left",
        stack.count("SELECT count(*) FROM orders_order") - before,
        0,
    )
    bars.exactly("", "20 reads on a full disk", server.ask_all(*reads(stack, 20)).kinds, "200: 20")
    health(bars, "", server, {"live": 200, "ready": 200})
    ballast.unlink()
    back = seconds_until(lambda: server.ask_all(post(stack.world)).kinds == "201: 1", 20)
    bars.at_most("", "writes again once there is room", back, 1, "s")


@contextlib.contextmanager
def small_disk(folder: Path, bars: Bars) -> Iterator[bool]:
    """A file system of 64 MB at `folder`, where we are root and may mount one."""
    folder.mkdir()
    mount: list[Any] = ["mount", "-t", "tmpfs", "-o", "size=64m,mode=755", "tmpfs", folder]
    if os.geteuid() or subprocess.run(mount, check=False, capture_output=True).returncode:
        bars.note("", "not measured: only root may mount a small file system")
        yield False
        return
    try:
        yield True
    finally:
        subprocess.run(["umount", folder], check=True)


PROGRAMS = {
    "postgres_restart": postgres_restart,
    "postgres_down": postgres_down,
    "postgres_hung": postgres_hung,
    "pool_exhausted": pool_exhausted,
    "connections_used_up": connections_used_up,
    "deadline": deadline,
    "disk_full": disk_full,
}
