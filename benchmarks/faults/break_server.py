"""The server is killed, replaced, stopped or given another clock: R12, R24, R28 to R30."""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.faults.break_database import lost, own, reads
from benchmarks.faults.load import Answer, Client, Load, Tally, ask
from benchmarks.faults.processes import open_files, seconds_until
from benchmarks.faults.report import Bars
from benchmarks.faults.stack import Server, Stack, is_running
from benchmarks.faults.traffic import Request, normal_day, post

POOL = 20  # DB_POOL_SIZE
LEFT_OPEN = """
SELECT count(*) FROM pg_stat_activity WHERE usename = 'dockside'
AND state LIKE 'idle in transaction%' AND state_change < now() - interval '5 s'
"""


def worker_killed(stack: Stack, bars: Bars, count: int = 50) -> None:
    """R24: so many times one worker dies by SIGKILL in the middle of its requests."""
    threads = 8
    with stack.server(threads=threads) as server:
        bars.doing(f"{count} kills, 40 requests a second")
        most_down = 0.0
        with Load(server.client(), 40, normal_day(stack.world)) as load:
            for _ in range(count):
                time.sleep(random.uniform(0.3, 0.8))
                os.kill(random.choice(server.workers), signal.SIGKILL)
                down = seconds_until(lambda: answers_at_once(server), 20)
                most_down = max(most_down, down)
                seconds_until(lambda: all_serve(server), 60)
        tally = load.tally
        faults = tally.neither_good_nor_shed
        limit = threads * count
        bars.at_most("R24", f"of {len(tally):,} failed ({faults.kinds})", len(faults), limit)
        cut = faults.where(lambda answer: answer.status != 0)
        bars.add("R24", "of these not a closed connection", cut.kinds or 0, "0", ok=not len(cut))
        bars.at_most("R24", "longest without an answer after a kill", most_down, 1, "s")
        bars.exactly("R24", "acknowledged orders lost", lost(stack, tally), 0)
        time.sleep(6)
        bars.exactly("R24", "transactions left open", stack.count(LEFT_OPEN), 0)


def all_serve(server: Server) -> bool:
    """Whether there are two workers, each with its connections to PostgreSQL."""
    with contextlib.suppress(OSError):
        return [open_files(worker) > POOL for worker in server.workers] == [True, True]
    return False


def answers_at_once(server: Server) -> bool:
    return server.ask_all(*reads(server.stack, 1), timeout_s=0.9).kinds == "200: 1"


def deploy(stack: Stack, bars: Bars, duration: float = 60.0, count: int = 3) -> None:
    """R29: the way of docs/operations.md, three times in a minute, under 20 requests a second."""
    with stack.server(supervised=True) as server:
        bars.doing(f"{count} deployments under load")
        server.ask_all(*reads(stack, 40), at_once=8)
        with Load(server.client(), 20, normal_day(stack.world, one_shot=True)) as load:
            for _ in range(count):
                began = time.monotonic()
                time.sleep(duration / count / 4)
                replace(server)
                time.sleep(max(0.0, began + duration / count - time.monotonic()))
        tally = load.tally
        faults = tally.where(lambda answer: not 200 <= answer.status < 300)
        kept = len(tally.where(lambda answer: answer.retried))
        bars.add("R29", f"failed of {len(tally):,}", faults.kinds or 0, "0", ok=not len(faults))
        bars.at_most("R29", "p99", tally.ms(0.99), 500, "ms")
        bars.note(
            "R29",
            f"p50 {tally.ms(0.5):.0f} ms, slowest {tally.slowest_s * 1000:.0f} ms;"
            f" sent again on a new connection by their client: {kept}",
        )
        bars.exactly("R29", "acknowledged orders lost", lost(stack, tally), 0)
        bars.doing("a request of six seconds meets a deployment")
        with long_request(stack, server, 6) as answers:
            time.sleep(1)
            replace(server)
        bars.exactly("R29", "a request of 6 s in flight", answers[0].status, 201)


def replace(server: Server) -> None:
    """What a deployment tells the server when the new code is in its place."""
    done = server.log.read_text().count("deploy: ")
    os.kill(server.pid, signal.SIGUSR2)
    ended = seconds_until(
        lambda: server.log.read_text().count("deploy: ") >= done + 2 or not is_running(server.pid),
        90,
    )
    if not is_running(server.pid) or ended > 90 or "given up" in server.log.read_text():
        raise RuntimeError("SIGUSR2 deploys nothing")


@contextlib.contextmanager
def long_request(stack: Stack, server: Server, seconds: float) -> Iterator[list[Answer]]:
    """A new order that takes so long, sent at the start; its answer is there after the `with`."""
    request = post(stack.world, keep=False)
    with stack.sql() as connection:
        connection.execute(
            "CREATE OR REPLACE FUNCTION fault_sleep() RETURNS trigger LANGUAGE plpgsql AS"
            f" $$ BEGIN PERFORM pg_sleep({seconds}); RETURN NEW; END $$"
        )
        connection.execute(
            "CREATE TRIGGER fault_sleep BEFORE INSERT ON orders_order FOR EACH ROW"
            f" WHEN (NEW.reference = '{request.mark}') EXECUTE FUNCTION fault_sleep()"
        )
    answers: list[Answer] = []
    try:
        with Load(server.client(60), 1, iter([request])) as load:
            time.sleep(0.5)
            yield answers
        answers += load.tally.answers
    finally:
        with stack.sql() as connection:
            connection.execute("DROP TRIGGER fault_sleep ON orders_order")


def stop(stack: Stack, bars: Bars, duration: float = 5.0) -> None:
    """R30: TERM while a request of so many seconds runs and others keep coming."""
    with stack.server() as server:
        server.ask_all(*reads(stack, 16), at_once=8)
        bars.doing("the server is stopped")
        with (
            long_request(stack, server, duration) as answers,
            Load(server.client(), 20, normal_day(stack.world, one_shot=True)) as load,
        ):
            time.sleep(1)
            began = time.monotonic()
            os.kill(server.pid, signal.SIGTERM)
            code = server.process.wait(60) if server.process else None
            took = time.monotonic() - began
        bars.exactly("R30", f"a request of {duration:.0f} s in flight", answers[0].status, 201)
        bars.at_most("R30", "seconds to the end", took, 30, "s")
        bars.exactly("R30", "exit code", code, 0)
        half = load.tally.where(lambda answer: "middle" in answer.error)
        bars.exactly("R30", "half answers", len(half), 0)
        refused = load.tally.where(lambda answer: answer.sent_at > began)
        bars.note("R30", f"sent after TERM: {refused.kinds}")
        bars.exactly("R30", "acknowledged orders lost", lost(stack, load.tally), 0)


# ------------------------------------------------------------------------------ writers under fire


def writers(stack: Stack, bars: Bars, duration: float = 30.0) -> None:
    """R12: four writers, and every few seconds something breaks that nobody expected."""
    with stack.server() as server:
        with contextlib.ExitStack() as all_writers:
            loads = [
                all_writers.enter_context(Load(server.client(), 5, posts(stack))) for _ in range(4)
            ]
            broken = break_at_random(stack, server, bars, duration)
        tally = Tally([answer for load in loads for answer in load.tally])
        settle = seconds_until(lambda: server.ask_all(*reads(stack, 4)).kinds == "200: 4", 30)
        bars.at_most("R12", "serving again after the last fault", settle, 10, "s")
        judge_writes(stack, bars, tally)
        bars.note("R12", f"{len(tally):,} writes ({tally.kinds}) through {broken}")


def posts(stack: Stack) -> Iterator[Request]:
    while True:
        yield post(stack.world)


def break_at_random(stack: Stack, server: Server, bars: Bars, duration: float) -> str:
    def kill() -> None:
        os.kill(random.choice(server.workers), signal.SIGKILL)

    def restart_valkey() -> None:
        stack.valkey.stop()
        stack.valkey.come_back()

    faults = {
        "worker SIGKILL": kill,
        "PostgreSQL restart": own(stack).restart,
        "Valkey restart": restart_valkey,
    }
    done: list[str] = []
    deadline = time.monotonic() + duration
    while time.monotonic() < deadline:
        time.sleep(random.uniform(2, 5))
        # Each once before any comes again: a short run shall meet them all.
        rest = [name for name in faults if done.count(name) == min(map(done.count, faults))]
        done.append(random.choice(rest))
        bars.doing(done[-1])
        faults[done[-1]]()
    time.sleep(2)
    return ", ".join(f"{done.count(name)} × {name}" for name in faults)


def judge_writes(stack: Stack, bars: Bars, tally: Tally) -> None:
    """Every acknowledged order is there exactly once, every refused one is not."""
    with stack.sql() as connection:
        rows = connection.execute(
            "SELECT reference, count(*) FROM orders_order WHERE reference = ANY(%s) GROUP BY 1",
            [[answer.request.mark for answer in tally]],
        ).fetchall()
    there = dict(rows)
    kinds = {"acknowledged": (1, 1), "refused": (0, 0), "unknown": (0, 1)}
    sorts: dict[str, list[int]] = {kind: [] for kind in kinds}
    for answer in tally:
        kind = {201: "acknowledged", 0: "unknown"}.get(answer.status, "refused")
        sorts[kind].append(there.get(answer.request.mark, 0))
    for kind, (least, most) in kinds.items():
        wrong = sum(not least <= times <= most for times in sorts[kind])
        wanted = "exactly once" if least else f"{'at most once' if most else 'absent'}"
        what = f"{kind} orders ({len(sorts[kind])}) that are not {wanted}"
        bars.exactly("R12", what, wrong, 0)
    refused = tally.where(lambda answer: answer.status >= 400)
    wrong = refused.neither_good_nor_shed
    bars.add(
        "R12", "refusals other than 503 with Retry-After", wrong.kinds or 0, "0", ok=not len(wrong)
    )


# --------------------------------------------------------------------------------------- the clock


def clock(stack: Stack, bars: Bars) -> None:
    """R28: the server's clock is wrong; the database's decides what counts as time."""
    compiler = shutil.which("cc")
    if not compiler:
        bars.note("R28", "not measured: there is no C compiler for shift_clock.c")
        return
    library, source = stack.folder / "shift_clock.so", Path(__file__).with_name("shift_clock.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source], check=True)
    with stack.server() as honest:
        skew(stack, bars, honest, str(library))


def skew(stack: Stack, bars: Bars, honest: Server, library: str) -> None:
    def shifted(seconds: int) -> Any:
        return stack.server(LD_PRELOAD=library, SHIFT_S=str(seconds), ACCESS_TOKEN_MINUTES="5")

    fresh = Client(honest.port, stack.token)
    for offset in (30, -30):
        bars.doing(f"the server's clock {offset:+d} s")
        with shifted(offset) as server:
            mine = server.ask_all(*reads(stack, 5))
            bars.exactly(
                "R28", f"clock {offset:+d} s: a token of a right clock", mine.kinds, "200: 5"
            )
            theirs = Client(honest.port, server.sign_in())
            bars.exactly(
                "R28",
                f"clock {offset:+d} s: its token, elsewhere",
                ask(theirs, *reads(stack, 5)).kinds,
                "200: 5",
            )
    for offset in (600, -600):
        bars.doing(f"the server's clock {offset:+d} s")
        with shifted(offset) as server:
            # Made ten minutes ahead it is not valid yet; made ten minutes ago it has ended.
            theirs = Client(honest.port, server.sign_in())
            bars.exactly(
                "R28",
                f"clock {offset:+d} s: its token, elsewhere",
                ask(theirs, *reads(stack, 5)).kinds,
                "401: 5",
            )
    bars.doing("the clock goes back an hour")
    first = ask(fresh, post(stack.world)).answers[0].json()
    with shifted(-3600) as server:
        stack_token, stack.token = stack.token, server.sign_in()
        try:
            changed = server.ask("PATCH", f"/orders/{first['id']}", {"notes": "later"}).json()
            later = server.ask_all(post(stack.world)).answers[0].json()
            page = server.ask("GET", "/orders?cursor=&per_page=2").json()["data"]
        finally:
            stack.token = stack_token
    bars.exactly("R28", "clock -1h: version after a change", changed["version"], 2)
    bars.exactly(
        "R28", "clock -1h: updated_at went on", changed["updated_at"] > first["updated_at"], True
    )
    newest = [order["id"] for order in page] == [later["id"], first["id"]]
    bars.exactly("R28", "clock -1h: newest first by cursor", newest, True)


PROGRAMS = {
    "writers": writers,
    "worker_killed": worker_killed,
    "clock": clock,
    "deploy": deploy,
    "stop": stop,
}
