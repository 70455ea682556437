"""`python -m benchmarks.faults NAME… | all`: exit code 1 where a bar is missed."""

import argparse
import inspect
import signal
import sys
import traceback
from collections.abc import Callable
from typing import Any

from benchmarks.faults import (
    break_cache,
    break_database,
    break_jobs,
    break_limit,
    break_load,
    break_migration,
    break_server,
)
from benchmarks.faults.processes import adopt_orphans
from benchmarks.faults.report import Bars
from benchmarks.faults.stack import stack

PROGRAMS: dict[str, Callable[..., None]] = {
    **break_cache.PROGRAMS,
    **break_database.PROGRAMS,
    **break_server.PROGRAMS,
    **break_load.PROGRAMS,
    **break_limit.PROGRAMS,
    **break_migration.PROGRAMS,
    **break_jobs.PROGRAMS,
}
LONG = {
    "soak",
    "memory",
    "migrate_under_load",
    "jobs_killed",
}  # minutes each: `all` leaves them out


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser("benchmarks.faults", description=__doc__)
    parser.add_argument(
        "names",
        nargs="+",
        metavar="NAME",
        choices=[*PROGRAMS, "all"],
        help=", ".join([*PROGRAMS, "all"]),
    )
    parser.add_argument("--duration", type=float, help="seconds of load, for what has a duration")
    parser.add_argument("--count", type=int, help="requests or rounds, for what counts them")
    parser.add_argument("--orders", type=int, default=1000, help="orders that there are (1000)")
    parser.add_argument(
        "--database",
        default="",
        metavar="URL",
        help="a migrated database of yours, for what leaves its server alone",
    )
    parser.add_argument("--keep-logs", metavar="FILE", help="append what the servers logged")
    options = parser.parse_args(arguments)
    names = [name for name in PROGRAMS if name not in LONG] if "all" in options.names else []
    names += [name for name in options.names if name not in {*names, "all"}]

    # What was started shall end with us, however we end.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    adopt_orphans()
    failed = 0
    with stack(options.database, options.orders) as parts:
        for name in names:
            failed += run(name, parts, options)
        if options.keep_logs:
            with open(options.keep_logs, "ab") as kept:
                for log in sorted(parts.folder.glob("*.log")):
                    kept.write(log.read_bytes())
    print(f"{failed} bars missed" if failed else "every bar is met")
    return 1 if failed else 0


def run(name: str, parts: Any, options: argparse.Namespace) -> int:
    """Run one program; how many bars it missed. One that breaks off has missed one more."""
    program, bars = PROGRAMS[name], Bars(name)
    known = inspect.signature(program).parameters
    given = {word: getattr(options, word) for word in ("duration", "count")}
    given = {word: value for word, value in given.items() if value is not None and word in known}
    try:
        program(parts, bars, **given)
    except Exception as error:
        traceback.print_exc()
        bars.add("", f"broke off: {type(error).__name__}: {error}"[:58], "", "", ok=False)
    return bars.failed


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
