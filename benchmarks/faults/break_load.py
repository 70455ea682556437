"""Too slow clients, too many requests, a normal day, and a long one: R23, R33, R34, R35, memory."""

import asyncio
import contextlib
import itertools
import threading
import time
from collections.abc import Iterator

from benchmarks.faults.break_database import reads
from benchmarks.faults.load import Tally, run_load
from benchmarks.faults.processes import open_files, resident_bytes
from benchmarks.faults.report import Bars
from benchmarks.faults.stack import API, Server, Stack
from benchmarks.faults.traffic import every_route, normal_day


def slow_clients(stack: Stack, bars: Bars, count: int = 200) -> None:
    """R23: so many clients send their headers a byte a second, and so many their bodies."""
    with stack.server() as server:
        server.ask_all(*reads(stack, 40), at_once=8)
        with Drip(server, count) as drip:
            bars.doing(f"2 × {count} slow clients")
            time.sleep(3)
            tally = run_load(server.client(15), 10, 5, iter(reads(stack, 50)))
            bars.exactly("R23", "50 normal requests meanwhile", tally.kinds, "200: 50")
            bars.at_most("R23", "their p99", tally.ms(0.99), 250, "ms")
            bars.doing("until the slow ones are cut")
            deadline = time.monotonic() + 75
            while drip.open and time.monotonic() < deadline:
                time.sleep(0.2)
            bars.exactly("R23", "slow clients never cut", drip.open, 0)
            bars.at_most("R23", "the last was cut after", drip.longest_s, 60, "s")


class Drip:
    """Slow clients in a thread of their own; `open` is how many the server has not cut yet."""

    def __init__(self, server: Server, each: int) -> None:
        head = f"POST {API}/orders HTTP/1.1\r\nHost: localhost\r\n"
        token = f"Authorization: Bearer {server.stack.token}\r\n"
        body = f"{head}{token}Content-Type: application/json\r\nContent-Length: 900\r\n\r\n"
        self.port = server.port
        self.beginnings = [head.encode()] * each + [body.encode()] * each
        self.open = len(self.beginnings)
        self.longest_s = 0.0
        self._ending = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._all()), name="drip")

    def __enter__(self) -> "Drip":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()

    async def _all(self) -> None:
        await asyncio.gather(*(self._one(beginning) for beginning in self.beginnings))

    async def _one(self, beginning: bytes) -> None:
        began = time.monotonic()
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        with contextlib.suppress(OSError):
            writer.write(beginning)
            while not self._ending.is_set():
                writer.write(b"x")
                await writer.drain()
                try:
                    # Whatever it says, a 408 or nothing: it has an end.
                    if not await asyncio.wait_for(reader.read(4096), 1):
                        break
                except TimeoutError:
                    continue
        if not self._ending.is_set():
            self.open -= 1
            self.longest_s = max(self.longest_s, time.monotonic() - began)
        writer.close()


def overload(stack: Stack, bars: Bars, duration: float = 20.0) -> None:
    """R33: three times the rate at which p99 first passes 300 ms."""
    with stack.server() as server:
        run_load(server.client(), 20, 3, normal_day(stack.world))
        rate, peak, slow = 20.0, 0.0, 0
        while True:
            bars.doing(f"looking for the peak: {rate:.0f} requests a second")
            tally = run_load(server.client(), rate, 5, normal_day(stack.world))
            peak = max(peak, quickly(tally, 5))
            slow = slow + 1 if tally.ms(0.99) > 300 else 0
            if slow == 2 or rate > 2000:  # once may be somebody else's work on this machine
                break
            rate *= 1.0 if slow else 1.3
        bars.note("R33", f"p99 passes 300 ms at {rate:.0f} requests a second; peak {peak:.0f}")
        bars.doing(f"{3 * rate:.0f} requests a second")
        tally = run_load(server.client(), 3 * rate, duration, normal_day(stack.world))
        goodput = quickly(tally, duration)
        bars.at_least("R33", "answered well, of the peak", goodput / peak * 100, 80, "%")
        refused = tally.where(lambda answer: not 200 <= answer.status < 400)
        wrong = refused.neither_good_nor_shed
        bars.add(
            "R33",
            f"neither well nor shed, of {len(tally):,}",
            wrong.kinds or 0,
            "0",
            ok=not len(wrong),
        )
        bars.at_most("R33", f"the slowest of {len(refused):,} shed", refused.slowest_s, 1, "s")
        late = f"{max(answer.late_s for answer in tally):.2f} s"
        bars.note("R33", f"p99 of the shed {refused.ms(0.99):.0f} ms; client late by ≤ {late}")
        began = time.monotonic()
        while time.monotonic() - began < 30:
            if run_load(server.client(), rate / 3, 2, normal_day(stack.world)).ms(0.99) <= 300:
                break
        bars.at_most("R33", "p99 is 300 ms again after", time.monotonic() - began, 10, "s")


def quickly(tally: Tally, seconds: float) -> float:
    """Good answers a second, within ten seconds each: later nobody waits for them."""
    return len(tally.good.where(lambda answer: answer.seconds < 10)) / seconds


def normal_load(stack: Stack, bars: Bars, duration: float = 60.0) -> None:
    """R34: 60 requests a second on 100,000 orders."""
    bars.doing("100,000 orders")
    stack.add_orders(100_000)
    with stack.server() as server:
        run_load(server.client(), 20, 3, normal_day(stack.world))
        bars.doing("60 requests a second")
        tally = run_load(server.client(), 60, duration, normal_day(stack.world))
        faults = tally.where(lambda answer: not 200 <= answer.status < 300)
        bars.add("R34", f"errors of {len(tally):,}", faults.kinds or 0, "0", ok=not len(faults))
        bars.at_most("R34", "p50", tally.ms(0.5), 50, "ms")
        bars.at_most("R34", "p99", tally.ms(0.99), 300, "ms")


def soak(stack: Stack, bars: Bars, duration: float = 600.0) -> None:
    """R35: R34 for ten minutes; memory, files and connections stay as they were after two."""
    stack.add_orders(100_000)
    with stack.server() as server:
        requests = normal_day(stack.world)
        run_load(server.client(), 60, duration / 5, requests)
        before = state(stack, server)
        tally = run_load(server.client(), 60, duration * 4 / 5, requests)
        after = state(stack, server)
        growth = (after["bytes"] / before["bytes"] - 1) * 100
        bars.at_most("R35", f"memory, from {before['bytes'] / 1e6:.0f} MB", growth, 5, "%")
        bars.at_most("R35", "open files more than before", after["files"] - before["files"], 4)
        more = after["connections"] - before["connections"]
        bars.at_most("R35", "connections to PostgreSQL more than before", more, 0)
        bars.exactly(
            "R35", f"errors in the log after {len(tally):,} requests", len(server.logged()), 0
        )


def state(stack: Stack, server: Server) -> dict[str, int]:
    query = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'dockside%'"
    return {
        "bytes": sum(map(resident_bytes, server.workers)),
        "files": sum(map(open_files, server.workers)),
        "connections": stack.count(query),
    }


def memory(stack: Stack, bars: Bars, count: int = 200_000) -> None:
    """One worker's memory over so many requests on every route, as fast as it answers."""
    with stack.server(workers=1) as server:
        (worker,) = server.workers
        requests = calm(stack)
        part = count // 10
        server.ask_all(*itertools.islice(requests, part), at_once=8)
        before, most = resident_bytes(worker), 0
        for done in range(1, 10):
            bars.doing(f"{done * part:,} of {count:,}, {resident_bytes(worker) / 1e6:.0f} MB")
            tally = server.ask_all(*itertools.islice(requests, part), at_once=8)
            most = max(most, resident_bytes(worker))
            if len(tally.errors) or len(tally.unanswered):
                bars.note("", f"answers among these: {tally.kinds}")
        bars.exactly("", "the worker is still the same", server.workers == [worker], True)
        growth = (most / before - 1) * 100
        what = f"memory from {before / 1e6:.0f} MB after {part:,} to {count:,} requests"
        bars.at_most("", what, growth, 5, "%")


def calm(stack: Stack) -> Iterator:
    """Every route and the normal day, half and half."""
    for one, other in zip(every_route(stack.world), normal_day(stack.world), strict=False):
        yield one
        yield other


PROGRAMS = {
    "slow_clients": slow_clients,
    "overload": overload,
    "normal_load": normal_load,
    "soak": soak,
    "memory": memory,
}
