"""One organization sends ten times what it may, and another one notices or does not: R47."""

import contextlib
import multiprocessing
import statistics
import time
from collections import Counter
from collections.abc import Iterator
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event

from benchmarks.faults.break_database import reads
from benchmarks.faults.load import Client, Load, Request, run_load
from benchmarks.faults.report import Bars, percentile
from benchmarks.faults.stack import API, PASSWORD, Server, Stack

# Requests a second that the noisy one may send, and how many times as many it does send.
LIMIT, TIMES = 2, 10
RATE, ROUND_S = 40, 3.0
BLOCK = 2  # rounds of each kind whose times are put together: a p99 wants some hundred of them


def noisy_neighbour(stack: Stack, bars: Bars, count: int = 8) -> None:
    """R47: `count` rounds beside the noise and as many without it, in turn.

    This machine's own noise is told too: what p99 does between rounds that are both quiet.
    """
    with stack.server() as server:
        token = make_noisy(stack, server)
        run_load(server.client(), RATE, 3, quiet(stack))
        times: dict[str, list[list[float]]] = {"alone": [], "again": [], "beside": []}
        told: Counter[int] = Counter()
        for turn in range(count):
            bars.doing(f"round {turn + 1} of {count}")
            kinds = ["alone", "beside", "again"]
            for kind in kinds if turn % 2 else reversed(kinds):
                noise = noise_from(server.port, token, told)
                with noise if kind == "beside" else contextlib.nullcontext():
                    tally = run_load(server.client(), RATE, ROUND_S, quiet(stack))
                if tally.kinds != f"200: {len(tally)}":
                    bars.exactly("R47", "answers to the quiet one", tally.kinds, "200")
                times[kind].append([answer.seconds for answer in tally])
        for share, row in ((0.5, ""), (0.99, "R47")):
            alone, beside = (middle(times[kind], share) for kind in ("alone", "beside"))
            ratio = statistics.median(ratios(times["alone"], times["beside"], share))
            what = f"p{share * 100:.0f} beside the noise, {beside:.0f} ms, to {alone:.0f} ms alone"
            if row:
                bars.at_most(row, what, ratio, 1.2)
            else:
                bars.note(row, f"{what}: {ratio:.2f}")
        still = ratios(times["alone"], times["again"], 0.99)
        bars.note("R47", f"p99 alone to itself: {', '.join(f'{each:.2f}' for each in still)}")
        passed, sent = told[200], sum(told.values())
        # A second's worth may be left over at the beginning of each round.
        bars.at_most("R47", f"passed of {sent:,} sent", passed, LIMIT * (ROUND_S + 3) * count)
        bars.exactly("R47", "neither passed nor 429", sent - passed - told[429], 0)


def make_noisy(stack: Stack, server: Server) -> str:
    """Another organization, which may read LIMIT times a second; a token of its user."""
    with stack.sql() as connection:
        find = "SELECT FROM core_organization WHERE slug = 'noisy'"
        if not connection.execute(find).fetchone():
            stack.manage("create_organization", "noisy", "--name", "Noisy")
            who = ["create_user", "noisy", "--organization", "noisy", "--role", "dispatcher"]
            stack.manage(*who, PASSWORD=PASSWORD)
        connection.execute(
            f"UPDATE core_organization SET limit_read = '{LIMIT}/second' WHERE slug = 'noisy'"
        )
    given = {"username": "noisy", "password": PASSWORD}
    return str(server.ask("POST", "/auth/token", given).json()["access"])


def quiet(stack: Stack) -> Iterator[Request]:
    while True:
        for request in reads(stack, 50):
            yield Request("GET", request.path)
            yield Request("GET", f"{API}/orders?per_page=50")


@contextlib.contextmanager
def noise_from(port: int, token: str, told: Counter[int]) -> Iterator[None]:
    """Within the block a process of its own is loud; `told` gets what it was answered.

    Of its own, for in this one its requests would delay those that are timed.
    """
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    begun, ended = spawn.Event(), spawn.Event()
    process = spawn.Process(target=be_loud, args=[port, token, begun, ended, theirs])
    process.start()
    try:
        begun.wait(30)
        yield
    finally:
        ended.set()
        told.update(ours.recv())
        process.join()


def be_loud(port: int, token: str, begun: Event, ended: Event, pipe: Connection) -> None:
    request = Request("GET", f"{API}/orders")
    with Load(Client(port, token), LIMIT * TIMES, iter(lambda: request, None)) as load:
        time.sleep(1)  # by then what is left of the limit is used up
        begun.set()
        ended.wait(60)
    pipe.send(Counter(answer.status for answer in load.tally))


def ratios(first: list[list[float]], other: list[list[float]], share: float) -> list[float]:
    """Of blocks of rounds that were taken in turn, so that a busy minute counts on both sides."""
    pairs = zip(blocks(first), blocks(other), strict=True)
    return [percentile(b, share) / percentile(a, share) for a, b in pairs]


def middle(rounds: list[list[float]], share: float) -> float:
    """Milliseconds: the median of the blocks."""
    return 1000 * statistics.median(percentile(block, share) for block in blocks(rounds))


def blocks(rounds: list[list[float]]) -> list[list[float]]:
    return [
        [each for one in rounds[at : at + BLOCK] for each in one]
        for at in range(0, len(rounds), BLOCK)
    ]


PROGRAMS = {"noisy_neighbour": noisy_neighbour}
