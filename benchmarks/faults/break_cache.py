"""Valkey is away, hangs or is slow: R15, R16, R17."""

import itertools
import time

from benchmarks.faults.load import Tally
from benchmarks.faults.processes import held_still, seconds_until
from benchmarks.faults.proxy import Proxy
from benchmarks.faults.report import Bars
from benchmarks.faults.stack import API, Server, Stack
from benchmarks.faults.traffic import Request, every_route

NOISE_MS = 20.0  # two shared cores: below this, twice as slow means nothing


def routes(server: Server, count: int) -> Tally:
    """So many requests on every route, four at once."""
    requests = itertools.islice(every_route(server.stack.world), count)
    return server.ask_all(*requests, at_once=4)


def one_by_one(server: Server, count: int) -> list[float]:
    """Milliseconds of so many requests for one order, one after the other."""
    order = server.stack.world.orders[0]
    tally = server.ask_all(*[Request("GET", f"{API}/orders/{order}")] * count)
    bad = [answer for answer in tally if answer.status != 200]
    return [float("inf")] * len(bad) + [answer.seconds * 1000 for answer in tally]


def judge(bars: Bars, row: str, before: Tally, during: Tally) -> None:
    bars.exactly(row, f"5xx and lost among {len(during):,} requests", bad(during), 0)
    limit = 2 * max(before.ms(0.99), NOISE_MS)
    bars.at_most(
        row, f"p99 (with the cache {before.ms(0.99):.0f} ms)", during.ms(0.99), limit, "ms"
    )


def bad(tally: Tally) -> int:
    return len(tally.errors) + len(tally.unanswered)


def valkey_down(stack: Stack, bars: Bars, count: int = 200) -> None:
    """R15: Valkey is stopped, then comes back."""
    with stack.server() as server:
        bars.doing("with the cache")
        routes(server, count)
        before = routes(server, count)
        stack.valkey.stop()
        try:
            bars.doing("Valkey is stopped")
            judge(bars, "R15", before, routes(server, count))
            bars.exactly("R15", "/health/ready", server.ask("GET", "/health/ready").status, 200)
            bars.exactly("R15", "/health/detailed", detailed(server), "degraded")
        finally:
            stack.valkey.come_back()
        back = seconds_until(lambda: detailed(server) == "ok", 15)
        bars.at_most("R15", "/health/detailed is ok after Valkey is back", back, 10, "s")


def detailed(server: Server) -> str:
    return str(server.ask("GET", "/health/detailed").json()["status"])


def valkey_hung(stack: Stack, bars: Bars, count: int = 200) -> None:
    """R16: Valkey's process stands still; its connections stay open and its port accepts."""
    workers = 2
    with stack.server(workers=workers) as server:
        bars.doing("with the cache")
        one_by_one(server, count // 4)
        usual = sorted(one_by_one(server, count))[count // 2]
        valkey = stack.valkey.pid_and_port()[0]
        with held_still(valkey):
            bars.doing("Valkey stands still")
            began = time.monotonic()
            times = sorted(one_by_one(server, count))
            took = time.monotonic() - began
            mixed = routes(server, count)
        more = [each - usual for each in times]
        slow = [each for each in more if each > 100]
        # A circuit that is open for five seconds is tried by one request in each of them.
        tries = workers * (1 + int(took // 5))
        bars.at_most("R16", f"requests that waited for it, in {took:.1f} s", len(slow), tries)
        bars.at_most("R16", f"the slowest, beyond the usual {usual:.0f} ms", more[-1], 500, "ms")
        bars.at_most("R16", "the others, median beyond the usual", more[count // 2], 20, "ms")
        bars.exactly("R16", f"5xx and lost among {count} on every route", bad(mixed), 0)
        began = time.monotonic()
        seconds_until(lambda: max(one_by_one(server, 10)) < usual + 50, 20)
        # Without a cache the times may be usual as well: it is back when it is asked again.
        seconds_until(lambda: detailed(server) == "ok", 20)
        again = time.monotonic() - began
        bars.at_most("R16", "usual times, and /health/detailed ok, again after", again, 10, "s")


def valkey_slow(stack: Stack, bars: Bars, count: int = 200) -> None:
    """R17: every answer of Valkey comes 200 ms late."""
    with Proxy("127.0.0.1", stack.valkey.port) as proxy:
        with stack.server(cache_port=proxy.port, workers=1) as server:
            bars.doing("with the cache")
            calls = cache_calls(proxy, server)
            bars.at_most("R17", "round trips to it of one request, at most", calls, 2)
            bars.at_least("R17", "round trips, so that they are seen at all", calls, 1)
        delay(stack, bars, proxy, count)


def delay(stack: Stack, bars: Bars, proxy: Proxy, count: int) -> None:
    with stack.server(cache_port=proxy.port) as server:
        routes(server, count)
        before = routes(server, count)
        proxy.latency_s = 0.2
        bars.doing("Valkey is slow")
        began = time.monotonic()
        while time.monotonic() - began < 10:
            routes(server, 20)
        judge(bars, "R17", before, routes(server, count))


def cache_calls(proxy: Proxy, server: Server) -> int:
    """The most round trips to Valkey that one request of any kind makes on warm connections."""
    most = 0
    for request in itertools.islice(every_route(server.stack.world), 25):
        trips = []
        for _ in range(3):  # the first may still connect
            before = proxy.questions
            server.ask_all(request)
            trips.append(proxy.questions - before)
        most = max(most, min(trips))
    return most


PROGRAMS = {"valkey_down": valkey_down, "valkey_hung": valkey_hung, "valkey_slow": valkey_slow}
