"""Whether reading gets dearer with the number of orders, and with the depth of the page.

    script/benchmark growth [--small N] [--large N] [--rounds N] [--seconds S]

Two servers of ours, over few orders and over many, are asked in turn. Then both are walked by
cursor side by side, the large one from its first order to its last; each order has to come exactly
once. Ends with 1 if a ratio misses its bar.
"""

import argparse
import http.client
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from statistics import median

import orjson

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import data, measuring, serving
from benchmarks.measuring import Bar, Ratio, Request, Round
from benchmarks.serving import Machine, Server

AT_MOST = 1.3
WALKED_AT_ONCE = (100, 25)  # pages of the large walk, and of the small one beside it
PARTS = 10  # of the walk, told apart by depth


def operations(orders: int) -> dict[str, list[Request]]:
    days = data.full_days(orders, 40)
    address = "/api/v1/orders?terminal_id={}&eta_date={}&per_page=50"
    newest = "/api/v1/orders?per_page=50&page={}"
    return {
        "list": [("GET", address.format(*pair), None) for pair in days],
        "newest": [("GET", newest.format(1), None)],
        "page 100": [("GET", newest.format(100), None)],
        "page 200, the last": [("GET", newest.format(200), None)],
    }


class Walk:
    """A cursor's way through all orders, again and again, one page at a time."""

    def __init__(self, server: Server, token: str) -> None:
        self.server, self.token = server, token
        self.http = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        self.begin()

    def begin(self) -> None:
        self.seen: set[str] = set()
        self.rows, self.address = 0, "/api/v1/orders?per_page=100&cursor="

    def page(self) -> float:
        """Fetch the next page; returns how long that took in ms."""
        headers = {"Authorization": f"Bearer {self.token}"}
        try:
            began = time.perf_counter()
            self.http.request("GET", self.address, headers=headers)
            answer = self.http.getresponse()
        except http.client.RemoteDisconnected:  # it waited for longer than connections are kept
            began = time.perf_counter()
            self.http.request("GET", self.address, headers=headers)
            answer = self.http.getresponse()
        body = answer.read()
        took = (time.perf_counter() - began) * 1000
        if answer.status != 200:
            raise SystemExit(f"{self.address} answered {answer.status} {body[:200]!r}")
        page = orjson.loads(body)
        self.rows += len(page["data"])
        self.seen.update(row["id"] for row in page["data"])
        self.address = page["next"]
        return took

    def pages(self, count: int) -> Iterator[float]:
        for _ in range(count):
            if self.address is None:
                self.begin()
            yield self.page()

    def check(self, orders: int) -> None:
        """Each order came once, and none is missing."""
        if not self.rows == len(self.seen) == orders:
            raise SystemExit(f"the walk met {len(self.seen)} of {orders}, in {self.rows} rows")


def walk(small: Walk, large: Walk, orders: int) -> list[Ratio]:
    """Walk the large one once; returns for each part how many times a page of it costs a small."""
    pairs: list[tuple[float, float]] = []
    with serving.progress() as bar:
        task = bar.add_task("walking by cursor", total=orders)
        while large.address is not None:
            many = []
            while large.address is not None and len(many) < WALKED_AT_ONCE[0]:
                many.append(large.page())
            pairs.append((median(many), median(small.pages(WALKED_AT_ONCE[1]))))
            bar.update(task, completed=large.rows)
    large.check(orders)
    parts = min(PARTS, len(pairs))
    borders = [len(pairs) * part // parts for part in range(parts + 1)]
    return [
        Ratio.of((a for a, _ in pairs[low:high]), (b for _, b in pairs[low:high]))
        for low, high in pairwise(borders)
    ]


def measure(
    on: Machine, servers: dict[int, Server], token: dict[int, str], given: argparse.Namespace
) -> dict[tuple[str, int], list[Round]]:
    asked = {orders: operations(orders) for orders in servers}
    seen: dict[tuple[str, int], list[Round]] = {}
    with serving.progress() as bar:
        names = list(asked[given.small])
        task = bar.add_task("measuring", total=(given.rounds + 1) * len(names) * len(servers))
        for turn in range(given.rounds + 1):  # the first one only warms up
            for name in names:
                for orders in list(servers)[:: -1 if turn % 2 else 1]:
                    bar.update(task, description=f"{name}: {orders:,}")
                    one = measuring.measure(
                        on,
                        servers[orders],
                        token[orders],
                        asked[orders][name],
                        seconds=given.seconds if turn else min(1.0, given.seconds),
                        connections=given.connections,
                    )
                    if turn:
                        seen.setdefault((name, orders), []).append(one)
                    bar.advance(task)
    return seen


def report(
    seen: dict[tuple[str, int], list[Round]], walked: list[Ratio], given: argparse.Namespace
) -> int:
    console = measuring.console()
    console.print(measuring.machine_line(given))
    sizes = (given.small, given.large)
    speed = measuring.table(
        "requests a second: median (least–most)", *(f"{orders:,} orders" for orders in sizes)
    )
    bars = []
    for name in operations(given.small):
        both = [[one.per_second for one in seen[name, orders]] for orders in sizes]
        speed.add_row(name, *map(measuring.spread, both))
        bars.append(
            Bar(f"{name}: {given.large:,} / {given.small:,}", Ratio.of(*both), None, AT_MOST)
        )
    bars += [
        Bar(
            f"cursor, part {part} of {len(walked)}: a page of it / of the small",
            each,
            None,
            AT_MOST,
        )
        for part, each in enumerate(walked, 1)
    ]
    console.print(speed)
    return measuring.judge(console, bars)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--small", type=int, default=10_000)
    parser.add_argument("--large", type=int, default=3_000_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--connections", type=int, default=8)
    given = parser.parse_args()
    if given.small < 10_000:
        parser.error("fewer than 10,000 orders have no page 200")
    with serving.machine() as on:
        few, many = on.database(given.small), on.database(given.large)
        with (
            serving.serve_ours(on, few, "ours_few") as small,
            serving.serve_ours(on, many, "ours_many") as large,
        ):
            servers = {given.small: small, given.large: large}
            tokens = {orders: serving.sign_in(server) for orders, server in servers.items()}
            seen = measure(on, servers, tokens, given)
            walked = walk(
                Walk(small, tokens[given.small]), Walk(large, tokens[given.large]), given.large
            )
    return report(seen, walked, given)


if __name__ == "__main__":
    sys.exit(main())
