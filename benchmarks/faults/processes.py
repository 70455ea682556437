"""Other processes (Linux): who descends from whom, how large they are, and stopping them."""

import contextlib
import ctypes
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def adopt_orphans() -> None:
    """Become the parent of a grandchild whose own parent ends: somebody has to wait for it."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _parents() -> dict[int, int]:
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                # The name may hold spaces and brackets: what counts begins after the last one.
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if fields[0] != "Z":
                    parents[int(entry.name)] = int(fields[1])
    return parents


def children(pid: int) -> list[int]:
    """The living children of a process, oldest first."""
    return sorted(child for child, parent in _parents().items() if parent == pid)


def descendants(pid: int) -> list[int]:
    """Its children, their children, and so on."""
    found: list[int] = []
    for child in children(pid):
        found += [child, *descendants(child)]
    return found


@contextlib.contextmanager
def held_still(pid: int) -> Iterator[None]:
    """The process and all it started do not run inside the `with`, and do run after it."""
    still: list[int] = []
    try:
        still.append(pid)
        os.kill(pid, signal.SIGSTOP)  # first: it starts no more of them
        for one in descendants(pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(one, signal.SIGSTOP)
                still.append(one)
        yield
    finally:
        for one in reversed(still):
            with contextlib.suppress(ProcessLookupError):
                os.kill(one, signal.SIGCONT)


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES


def open_files(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def seconds_until(condition: Callable[[], bool], patience_s: float, pause_s: float = 0.05) -> float:
    """How long until `condition` held; infinite if it did not within `patience_s`."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > patience_s:
            return float("inf")
        time.sleep(pause_s)
    return time.monotonic() - began
