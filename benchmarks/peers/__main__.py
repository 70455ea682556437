"""Ours beside its peers: the same data, the same requests, one worker process each, in one run.

    script/benchmark peers [--orders N] [--rounds N] [--seconds S] [--connections N] [--only NAME …]

Every answer is compared with ours first, value by value. Then each peer is asked in turn, round
after round. Ends with 1 if a ratio misses its bar.
"""

import argparse
import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from benchmarks import data, measuring, serving
from benchmarks.measuring import Bar, Ratio, Request, Round
from benchmarks.serving import Machine, Server

UVICORN = [sys.executable, "-P", "-m", "uvicorn", "--fd", "{fd}", "--workers", "1"]
GTHREAD = ["--worker-class", "gthread", "--workers", "1", "--threads", "8", "--access-logfile", "-"]
PEERS = {
    "FastAPI": [*UVICORN, "benchmarks.peers.fastapi_app:app"],
    "plain DRF": [*serving.GUNICORN, *GTHREAD, "benchmarks.peers.drf_app:application"],
    "Starlette": [*UVICORN, "benchmarks.peers.starlette_app:app"],
}
OURS, SQL = "ours", "SQL alone"
# Operation, peer: how many times as many requests a second ours answers.
AT_LEAST = {
    ("list", "FastAPI"): 9.0,
    ("list", "Starlette"): 0.9,
    ("newest", "FastAPI"): 15.0,
    ("detail", "FastAPI"): 6.0,
    ("create", "FastAPI"): 6.0,
    ("cached list", "FastAPI"): 1.2,
}
CPU_AT_MOST = 2.0  # of our worker for a list, in times of what its SQL costs PostgreSQL
COMPARED = 5  # requests of each operation whose answers are compared
OF_ITS_OWN = {"id", "reference", "created_at", "updated_at"}  # of a new order


def operations(on: Machine, database: str, orders: int) -> dict[str, list[Request]]:
    """What is asked; each request of an operation in turn."""
    days = data.full_days(orders, 40)
    with on.superuser(database) as connection:
        some = data.some_orders(connection, 50)
    address = "/api/v1/orders?terminal_id={}&eta_date={}&per_page=50"
    return {
        "list": [("GET", address.format(*pair), None) for pair in days],
        "newest": [("GET", "/api/v1/orders?per_page=50", None)],
        "detail": [("GET", f"/api/v1/orders/{key}", None) for key in some],
        "create": [("POST", "/api/v1/orders", data.new_order(n)) for n in range(20)],
        "cached list": [("GET", "/api/v1/terminals?per_page=100", None)],
    }


# ------------------------------------------------------------------------------------- the peers


class SqlAlone:
    """The process that plays our statements back without HTTP."""

    name = SQL

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def tell(self, **job: Any) -> Any:
        assert self.process.stdin
        assert self.process.stdout
        print(json.dumps(job), file=self.process.stdin, flush=True)
        if not (line := self.process.stdout.readline()):
            raise SystemExit(f"SQL alone ended: {serving.DATA_DIR / 'sql_alone.log'} says why")
        return json.loads(line)

    def measure(self, on: Machine, operation: str, *, seconds: float, connections: int) -> Round:
        before = measuring.used(on, [self.process.pid])
        told = self.tell(play=operation, seconds=seconds, threads=connections)
        return measuring.round_of(told, before, measuring.used(on, [self.process.pid]))


@contextlib.contextmanager
def sql_alone(on: Machine, database: str) -> Iterator[SqlAlone]:
    program = [sys.executable, "-P", str(serving.ROOT / "benchmarks" / "peers" / "sql_alone.py")]
    with (serving.DATA_DIR / "sql_alone.log").open("wb") as log:
        process = subprocess.Popen(
            program,
            cwd=serving.ROOT,
            env=on.environment(database),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    serving.pin(process.pid, serving.SERVER_CORES)
    try:
        yield SqlAlone(process)
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def everybody(on: Machine, database: str) -> Iterator[tuple[dict[str, Server], SqlAlone]]:
    """All servers, running side by side; who is not asked uses no time."""
    environment = on.environment(database) | {"DATABASE_URL": on.peers_url(database)}
    with contextlib.ExitStack() as running:
        servers = {OURS: running.enter_context(serving.serve_ours(on, database))}
        for name, command in PEERS.items():
            log = name.replace(" ", "_").lower()
            servers[name] = running.enter_context(serving.serve(log, command, environment))
        yield servers, running.enter_context(sql_alone(on, database))


# -------------------------------------------------------------------------------- the comparison


def plain(value: Any) -> Any:
    """A value as it is meant: instants do not depend on how they are written."""
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items()}
    if isinstance(value, list):
        return [plain(each) for each in value]
    if isinstance(value, str) and len(value) >= 20 and value[4:5] == "-" and "T" in value:
        with contextlib.suppress(ValueError):
            return datetime.fromisoformat(value).astimezone(UTC)
    return value


def told(server: Server, request: Request, token: str, reference: str = "") -> Any:
    method, path, body = request
    if body:
        body = {**body, "reference": reference}
    status, _, answer = server.request(method, path, token, body)
    if status not in (200, 201):
        raise SystemExit(f"{server.name}: {method} {path} answered {status} {answer[:300]!r}")
    return plain(json.loads(answer))


def rows_of(answer: dict[str, Any]) -> tuple[int, list[Any]]:
    """How many there are, as far as all count, and those of this page."""
    count = answer.get("total", answer.get("count"))
    return min(count, 10_000), answer.get("data", answer.get("results"))


def differences(ours: Any, theirs: Any, *, aside: set[str] = frozenset()) -> list[str]:  # type: ignore[assignment]
    names = (ours.keys() | theirs.keys()) - {"documents"} - aside
    missing = object()
    return [
        f"{name}: {theirs.get(name, missing)!r} for {ours.get(name, missing)!r}"
        for name in sorted(names)
        if ours.get(name, missing) != theirs.get(name, missing)
    ]


def compare(
    servers: dict[str, Server], alone: SqlAlone, asked: dict[str, list[Request]], token: str
) -> int:
    """Stop unless all answer the same; returns how many answers were compared."""
    compared, ours = 0, servers[OURS]
    for operation, requests in asked.items():
        texts = alone.tell(learn=operation, requests=requests, token=token)
        for number, request in enumerate(requests[:COMPARED]):
            expected = told(ours, request, token, f"NEW-{OURS}-{number}")
            for name, server in servers.items():
                if server is ours:
                    continue
                answer = told(server, request, token, f"NEW-{server.name}-{number}")
                for fault in faults(operation, expected, answer, ours, token):
                    raise SystemExit(f"{name}: {request[:2]}: {fault}")
                compared += 1
                if operation == "create" and not number:
                    refuses(server, request, token)
            if operation not in ("create", "cached list"):  # from a cache no rows are read
                rows = [expected] if operation == "detail" else rows_of(expected)[1]
                for row in rows:
                    if row["id"] not in texts[number]:
                        raise SystemExit(f"{SQL}: {request[:2]}: {row['id']} is missing")
                compared += 1
    return compared


def refuses(server: Server, request: Request, token: str) -> None:
    """Stop unless the server refuses a taken reference, and a driver whom nobody knows."""
    method, path, body = request
    taken = {**body, "reference": f"NEW-{server.name}-0"}
    unknown = {**body, "reference": "NEW-unknown", "eta_driver_id": data.HOME.organization}
    for given, wanted in ((taken, {409}), (unknown, {400, 422})):
        status = server.request(method, path, token, given)[0]
        if status not in wanted:
            raise SystemExit(f"{server.name}: {method} {path} answered {status}, not {wanted}")


def faults(operation: str, expected: Any, answer: Any, ours: Server, token: str) -> Iterator[str]:
    """Where a peer's answer is not ours."""
    if operation == "detail":
        yield from differences(expected, answer)
    elif operation == "create":
        yield from differences(expected, answer, aside=OF_ITS_OWN)
        kept = told(ours, ("GET", f"/api/v1/orders/{answer['id']}", None), token)
        yield from differences(kept, answer)
    else:
        (count, rows), (their_count, their_rows) = rows_of(expected), rows_of(answer)
        if count != their_count or [r["id"] for r in rows] != [r["id"] for r in their_rows]:
            yield f"{their_count} rows, other ones: ours are {count}"
        for row, their_row in zip(rows, their_rows, strict=False):
            yield from differences(row, their_row)


# ------------------------------------------------------------------------------- the measurement

Seen = dict[tuple[str, str], list[Round]]
"""Rounds by operation and peer."""


def measure(
    on: Machine,
    servers: dict[str, Server],
    alone: SqlAlone,
    asked: dict[str, list[Request]],
    token: str,
    given: argparse.Namespace,
) -> Seen:
    seen: Seen = {}
    names = [*servers, SQL]
    with serving.progress() as bar:
        task = bar.add_task("measuring", total=(given.rounds + 1) * len(asked) * len(names))
        for turn in range(given.rounds + 1):  # the first one only warms up
            for operation, requests in asked.items():
                first = turn % len(names)
                for name in names[first:] + names[:first]:
                    bar.update(task, description=f"{operation}: {name}")
                    how = {
                        "seconds": given.seconds if turn else min(1.0, given.seconds),
                        "connections": given.connections,
                    }
                    if name == SQL:
                        one = alone.measure(on, operation, **how)
                    else:
                        one = measuring.measure(on, servers[name], token, requests, **how)
                    if turn:
                        seen.setdefault((operation, name), []).append(one)
                    bar.advance(task)
    return seen


def report(seen: Seen, asked: Sequence[str], given: argparse.Namespace) -> int:
    """Print tables and ratios; returns the exit code."""
    console = measuring.console()
    names = [OURS, *PEERS, SQL]
    console.print(measuring.machine_line(given))
    speed = measuring.table("requests a second: median (least–most)", *names)
    tail = measuring.table("ms until answered: p50 / p99", *names)
    cost = measuring.table("CPU ms a request: worker + PostgreSQL", *names)
    for operation in asked:
        rounds = [seen[operation, name] for name in names]
        middles = [middle(each) for each in rounds]
        speed.add_row(
            operation, *(measuring.spread([one.per_second for one in each]) for each in rounds)
        )
        tail.add_row(operation, *(f"{one.p50_ms:.1f} / {one.p99_ms:.1f}" for one in middles))
        cost.add_row(
            operation,
            *(f"{one.server_cpu_ms:.2f} + {one.postgres_cpu_ms:.2f}" for one in middles),
        )
    for each in (speed, tail, cost):
        console.print(each)
    bars = [
        Bar(
            f"{operation}: ours / {peer}",
            Ratio.of(
                (one.per_second for one in seen[operation, OURS]),
                (one.per_second for one in seen[operation, peer]),
            ),
            at_least=least,
            by_cpu=Ratio.of(
                (one.server_cpu_ms for one in seen[operation, peer]),
                (one.server_cpu_ms for one in seen[operation, OURS]),
            ),
        )
        for (operation, peer), least in AT_LEAST.items()
        if operation in asked
    ]
    if "list" in asked:
        ratio = Ratio.of(
            (one.server_cpu_ms for one in seen["list", OURS]),
            (one.postgres_cpu_ms for one in seen["list", SQL]),
        )
        bars.append(Bar("list: CPU of ours / of its SQL", ratio, at_most=CPU_AT_MOST))
    return measuring.judge(console, bars)


def middle(rounds: list[Round]) -> Round:
    """The medians of each figure."""
    import statistics
    from dataclasses import astuple

    return Round(*map(statistics.median, zip(*map(astuple, rounds), strict=True)))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--orders", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--only", nargs="*", help="some of the operations")
    given = parser.parse_args()
    with serving.machine() as on:
        database = on.database(given.orders)
        asked = operations(on, database, given.orders)
        if given.only:
            asked = {name: asked[name] for name in given.only}
        try:
            with everybody(on, database) as (servers, alone):
                token = serving.sign_in(servers[OURS])
                compared = compare(servers, alone, asked, token)
                print(f"{compared} answers compared with ours: all the same", file=sys.stderr)
                seen = measure(on, servers, alone, asked, token, given)
        finally:
            with on.superuser(database) as connection:
                data.forget_new_orders(connection)
    return report(seen, list(asked), given)


if __name__ == "__main__":
    sys.exit(main())
