"""What one organization at ten times its limit costs another one that asks at an even pace.

    python -m core.embedded --for-tests python benchmarks/noisy_neighbour.py [--rounds N]

Or with DATABASE_URL, DATABASE_OWNER_URL, REDIS_URL and SECRET_KEY of servers that are there.

Makes a scratch database and starts gunicorn in front of it, as in production. The quiet one sends
its requests by the clock, whether or not the last was answered, and counts from the moment at which
each was due (open loop: a server that stalls cannot hide it). In every second round the noisy one
sends ten times what it may. Told are p50 and p99 of the quiet one over all rounds of each kind, the
ratios of neighbouring rounds, and what became of the noise. Ends with 1 if p99 rises by more than a
fifth, or the limit did not hold.
"""

import argparse
import asyncio
import os
import re
import socket
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

import httpx
import psycopg
from psycopg import sql

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
BAR = 1.2
# Requests a second that the noisy one may send, and how many times as many it does send.
LIMIT, TIMES = 2, 10
URLS = [name for name in ("DATABASE_OWNER_URL", "DATABASE_URL") if os.environ.get(name)]


def seed() -> tuple[str, str]:
    """Two organizations with orders; returns a token of the quiet one and of the noisy one."""
    import django
    from django.core.management import call_command

    django.setup()
    from core import tenancy
    from core.api.authentication import tokens_for
    from core.models import Organization, User
    from orders.models import Order
    from terminals.models import Terminal

    call_command("migrate", verbosity=0)
    tokens = []
    with tenancy.everyone("benchmark"):
        for slug, limit in (("quiet", ""), ("noisy", f"{LIMIT}/second")):
            home = Organization.objects.create(slug=slug, name=slug, limit_read=limit)
            terminal = Terminal.objects.create(organization=home, name="Quay", account_code="Q")
            Order.objects.bulk_create(
                Order(
                    organization=home,
                    terminal=terminal,
                    reference=f"R-{n}",
                    service="cross_dock",
                    eta_date="2026-11-23",
                    etd_date="2026-11-24",
                    pallets=n % 33,
                )
                for n in range(2_000)
            )
            user = User.objects.create(username=slug, organization=home, role="dispatcher")
            tokens.append(str(tokens_for(user).access_token))
    quiet, noisy = tokens
    return quiet, noisy


@contextmanager
def scratch_database() -> Iterator[None]:
    """The environment names a database that is there for the block alone."""
    name = f"dockside_bench_{os.getpid()}"
    given = {url: os.environ[url] for url in URLS}
    with psycopg.connect(given[URLS[0]], autocommit=True) as server:
        server.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        try:
            for url, value in given.items():
                os.environ[url] = re.sub(r"/[^/?]*(\?.*)?$", rf"/{name}\1", value)
            yield
        finally:
            from django.db import connections

            connections.close_all()  # the owner may not end what is the application's
            server.execute(sql.SQL("DROP DATABASE {}").format(sql.Identifier(name)))


@contextmanager
def serving() -> Iterator[str]:
    """gunicorn with production's settings; yields its address."""
    command = [sys.executable, "-m", "gunicorn", "-c", "config/gunicorn.py", "config.wsgi"]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        number = listener.fileno()
        process = subprocess.Popen(
            [*command, "-b", f"fd://{number}"],
            cwd=ROOT,
            pass_fds=[number],
            stderr=subprocess.DEVNULL,
        )
        try:
            yield "http://{}:{}".format(*listener.getsockname())
        finally:
            process.terminate()
            process.wait(40)


async def send(
    client: httpx.AsyncClient, path: str, per_second: float, seconds: float, spent: list[float]
) -> Counter[int]:
    """Ask by the clock; `spent` takes the milliseconds from when each request was due."""
    statuses: Counter[int] = Counter()
    began = time.perf_counter()

    async def one(due: float) -> None:
        answer = await client.get(path)
        spent.append((time.perf_counter() - due) * 1000)
        statuses[answer.status_code] += 1

    async with asyncio.TaskGroup() as group:
        for number in range(int(per_second * seconds)):
            due = began + number / per_second
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            group.create_task(one(due))
    return statuses


def percentile(values: list[float], share: int) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[share - 1]


async def measure(url: str, quiet: str, noisy: str, given: argparse.Namespace) -> int:
    def client(token: str) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            base_url=f"{url}/api/v1",
            headers={"Authorization": f"Bearer {token}"},
            timeout=30,
            limits=httpx.Limits(
                max_connections=64, max_keepalive_connections=64, keepalive_expiry=2
            ),  # before the server ends it
        )

    rounds: dict[bool, list[list[float]]] = {False: [], True: []}
    noise: Counter[int] = Counter()
    loud_s = 0.0
    async with client(quiet) as calm, client(noisy) as loud:
        await send(calm, "/orders", given.rate, 3, [])  # everything is loaded, every plan made
        for turn in range(given.rounds):
            for is_loud in (False, True) if turn % 2 else (True, False):
                spent: list[float] = []
                began = time.perf_counter()
                async with asyncio.TaskGroup() as group:
                    asked = group.create_task(
                        send(calm, "/orders", given.rate, given.seconds, spent)
                    )
                    if is_loud:
                        sent = group.create_task(
                            send(loud, "/orders", LIMIT * TIMES, given.seconds, [])
                        )
                assert set(asked.result()) == {200}, asked.result()
                if is_loud:
                    noise += sent.result()
                    loud_s += time.perf_counter() - began
                rounds[is_loud].append(spent)
    return tell(rounds, noise, LIMIT * (loud_s + given.rounds))


def tell(rounds: dict[bool, list[list[float]]], noise: Counter[int], most: float) -> int:
    """Print it all; `most` is how much of the noise may pass."""
    print(f"{'':6}{'alone':>10}{'beside':>10}{'ratio':>8}{'rounds':>8}{'bar':>6}")
    ratios = {}
    for share in (50, 99):
        alone, beside = (percentile([*chain(*rounds[loud])], share) for loud in (False, True))
        # Of neighbouring rounds, so that a busy minute counts on both sides.
        pairs = [
            percentile(b, share) / percentile(a, share)
            for a, b in zip(rounds[False], rounds[True], strict=True)
        ]
        ratios[share] = beside / alone
        middle = statistics.median(pairs)
        bar = BAR if share == 99 else ""
        print(f"p{share:<5}{alone:8.1f}ms{beside:8.1f}ms{ratios[share]:8.2f}{middle:8.2f}{bar:>6}")
    print(f"noise: {noise[200]} passed, {noise[429]} refused, {sum(noise.values())} sent")
    held = noise[200] <= most and set(noise) <= {200, 429}
    return int(ratios[99] > BAR or not held)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=10, help="of each kind")
    parser.add_argument("--seconds", type=int, default=6, help="of a round")
    parser.add_argument("--rate", type=float, default=10, help="the quiet one's, a second")
    given = parser.parse_args()
    os.environ |= {"DJANGO_SETTINGS_MODULE": "config.settings", "LOG_LEVEL": "ERROR"}
    with scratch_database():
        quiet, noisy = seed()
        with serving() as url:
            return asyncio.run(measure(url, quiet, noisy, given))


if __name__ == "__main__":
    sys.exit(main())
