"""Rounds of requests, what they cost, and how sure that is."""

import json
import math
import os
import statistics
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks import serving
from benchmarks.serving import Machine, Server

Request = tuple[str, str, Any]
"""Method, path, and the body or None."""


@dataclass(frozen=True)
class Round:
    """What one round of one operation told."""

    per_second: float
    p50_ms: float
    p99_ms: float
    server_cpu_ms: float  # of the web server's worker, per request
    postgres_cpu_ms: float  # of all of PostgreSQL, per request


def measure(
    on: Machine,
    server: Server,
    token: str,
    requests: Sequence[Request],
    *,
    seconds: float,
    connections: int,
) -> Round:
    """Ask for some seconds, from a process of its own that keeps off the server's core.

    Raises:
        SystemExit: an answer was no success.
    """
    job = {
        "port": server.port,
        "token": token,
        "requests": requests,
        "seconds": seconds,
        "connections": connections,
    }
    client = [sys.executable, "-P", str(serving.ROOT / "benchmarks" / "load.py")]
    workers = server.workers
    before = used(on, workers)
    done = subprocess.run(
        client,
        input=json.dumps(job).encode(),
        stdout=subprocess.PIPE,
        check=True,
        preexec_fn=lambda: os.sched_setaffinity(0, serving.OTHER_CORES),
    )
    after = used(on, workers)
    told = json.loads(done.stdout)
    if told["failures"]:
        raise SystemExit(f"{server.name}: {requests[0][:2]} answered {told['failures']}")
    return round_of(told, before, after)


def used(on: Machine, workers: Iterable[int]) -> tuple[float, float]:
    """CPU seconds so far: of the workers, and of PostgreSQL."""
    return (
        sum(map(serving.cpu_seconds, workers)),
        serving.cpu_seconds(on.postmaster, with_children=True),
    )


def round_of(
    told: dict[str, Any], before: tuple[float, float], after: tuple[float, float]
) -> Round:
    server, postgres = (
        1000 * (now - then) / told["count"] for then, now in zip(before, after, strict=True)
    )
    latencies = sorted(told["latencies"])
    return Round(
        told["count"] / told["seconds"],
        statistics.median(latencies),
        latencies[min(len(latencies) - 1, len(latencies) * 99 // 100)],
        server,
        postgres,
    )


# ---------------------------------------------------------------------------- what it amounts to


@dataclass(frozen=True)
class Ratio:
    """How many times one is the other: the median over the rounds, and the middle half of them."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, above: Iterable[float], below: Iterable[float]) -> "Ratio":
        """Of neighbouring rounds, so that a busy minute counts on both sides."""
        pairs = [a / b if b else math.inf for a, b in zip(above, below, strict=True)]
        if len(pairs) == 1:
            return cls(pairs[0], pairs[0], pairs[0])
        low, median, high = statistics.quantiles(pairs, n=4, method="inclusive")
        return cls(low, median, high)

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.low:.2f}–{self.high:.2f})"


@dataclass(frozen=True)
class Bar:
    """What a ratio has to be."""

    what: str
    ratio: Ratio
    at_least: float | None = None
    at_most: float | None = None
    by_cpu: Ratio | None = None  # by the worker's CPU time, which a busy machine moves less

    @property
    def holds(self) -> bool:
        high_enough = self.at_least is None or self.ratio.median >= self.at_least
        return high_enough and (self.at_most is None or self.ratio.median <= self.at_most)

    @property
    def wanted(self) -> str:
        return f"≥ {self.at_least:g}" if self.at_most is None else f"≤ {self.at_most:g}"


def spread(values: Sequence[float], digits: int = 0) -> str:
    """The median, with the least and the most."""
    middle = statistics.median(values)
    return f"{middle:.{digits}f} ({min(values):.{digits}f}–{max(values):.{digits}f})"


def table(title: str, *columns: str) -> Table:
    made = Table(title, box=box.MARKDOWN)
    for column in columns:
        made.add_column(column, justify="right", no_wrap=True)
    return made


def judge(console: Console, bars: Sequence[Bar]) -> int:
    """Print the ratios against their bars; returns the exit code."""
    told = table(
        "ratio of the same round, middle half of the rounds", "bar", "measured", "", "by CPU"
    )
    for bar in bars:
        told.add_row(
            bar.what,
            bar.wanted,
            str(bar.ratio),
            "holds" if bar.holds else "NOT",
            str(bar.by_cpu or "–"),
        )
    console.print(told)
    return 0 if all(bar.holds for bar in bars) else 1


def console() -> Console:
    return Console(width=140)


def machine_line(arguments: Any) -> str:
    """What was measured where, for the README."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        "unknown CPU",
    )
    given = ", ".join(f"{name} {value}" for name, value in sorted(vars(arguments).items()))
    return f"{len(serving.CORES)} cores ({model}), Python {sys.version.split()[0]}; {given}"
