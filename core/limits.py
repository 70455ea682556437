"""How often somebody may do something, counted in Valkey for all processes together.

A window is fixed and begins with its first request: exactly N of N+k pass however many come at
once, and its end is known to the millisecond, so that a wait of `Retry-After` always succeeds. (A
sliding window lets nobody send 2 N around an edge, but can only guess when there is room again, and
takes a second question to Valkey to say so.)

Without Valkey (`core.valkey` says when) each process counts for itself.
"""

import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from math import ceil
from typing import Any, NamedTuple

from django.conf import settings
from limits import RateLimitItem, parse

from core import metrics
from core.errors import RateLimited
from core.valkey import Away, Script

PREFIX = "limits"
FORGET = -(2**40)  # added to a count, it ends it
KEPT_IN_MEMORY = 100_000


class Kind(StrEnum):
    """What is counted apart; the organization's and the installation's limits have these names."""

    READ = "read"
    WRITE = "write"
    UPLOAD = "upload"


class Change(NamedTuple):
    """Add `amount` to what is counted under `key`; 0 only looks.

    The window of `window_s` begins with the first, or again with each where it is `renewed`.
    """

    key: str
    amount: int
    window_s: int
    renewed: bool = False


class Count(NamedTuple):
    """What is counted now, and for how long it still is."""

    total: int
    left_s: float


@dataclass(frozen=True)
class Window:
    """How much of a limit is used: what the headers tell."""

    name: str
    quota: int
    window_s: int
    used: int
    left_s: float

    @property
    def is_exceeded(self) -> bool:
        return self.used > self.quota

    @property
    def remaining(self) -> int:
        return max(0, self.quota - self.used)

    @property
    def reset_s(self) -> int:
        """Whole seconds until the quota is there again, never too few."""
        return ceil(self.left_s)


# Changes some counts, and tells all of them and for how long they last.
_CHANGE = Script("""
    local told = {}
    for i, key in ipairs(KEYS) do
        local amount, window, renewed = unpack(ARGV, 3 * i - 2, 3 * i)
        local count = redis.call('INCRBY', key, amount)
        if count <= 0 then
            count = 0
            redis.call('DEL', key)
        elseif renewed == '1' or redis.call('PTTL', key) < 0 then
            redis.call('PEXPIRE', key, window)
        end
        told[2 * i - 1] = count
        told[2 * i] = math.max(0, redis.call('PTTL', key))
    end
    return told
""")


class Memory:
    """The same in this process alone.

    Not the library's own: that one takes a look at each of its keys, in a thread of its own, up to
    a hundred times a second, and knows no two changes at once.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[str, tuple[int, float]] = {}

    def change(self, changes: Iterable[Change]) -> list[Count]:
        with self._lock:
            return [self._change(change, time.monotonic()) for change in changes]

    def _change(self, change: Change, now: float) -> Count:
        count, ends_at = self._counts.get(change.key, (0, 0.0))
        if ends_at <= now:
            count, ends_at = 0, 0.0
        count += change.amount
        if count <= 0:
            self._counts.pop(change.key, None)
            return Count(0, 0.0)
        if change.renewed or not ends_at:
            ends_at = now + change.window_s
        self._counts[change.key] = count, ends_at
        if len(self._counts) > KEPT_IN_MEMORY:
            self._make_room(now)
        return Count(count, ends_at - now)

    def _make_room(self, now: float) -> None:
        """Drop what has ended and, if that is too little, what ends next."""
        live = sorted(
            (item for item in self._counts.items() if item[1][1] > now), key=lambda item: item[1][1]
        )
        self._counts = dict(live[-KEPT_IN_MEMORY // 2 :])


_memory = Memory()


def change(*changes: Change) -> list[Count]:
    """Change and read counts of all processes, all at once, in one round trip to Valkey.

    While Valkey is away, those of this process.
    """
    changes = tuple(each._replace(key=f"{PREFIX}:{each.key}") for each in changes)
    arguments = [
        each
        for change in changes
        for each in (change.amount, change.window_s * 1000, int(change.renewed))
    ]
    try:
        told = _CHANGE([change.key for change in changes], arguments)
    except Away:
        return _memory.change(changes)
    return [Count(told[i], told[i + 1] / 1000) for i in range(0, len(told), 2)]


@cache
def rate(text: str) -> RateLimitItem:
    """`600/minute`, `5/15minutes`.

    Raises:
        ValueError: it is something else.
    """
    item = parse(text)
    if any(separator in text for separator in ",;|") or not (item.amount and item.get_expiry()):
        raise ValueError(f"not a rate: {text}")
    return item


def limit_of(kind: Kind, organization: Any = None) -> RateLimitItem:
    """The organization's own limit, or the installation's."""
    own: str = getattr(organization, f"limit_{kind}", "")
    return rate(own or getattr(settings, f"LIMIT_{kind.upper()}"))


def use(kind: Kind, caller: str, organization: Any = None, *, amount: int = 1) -> Window:
    """Count one request of `caller`, or more; it passes unless the window `is_exceeded`."""
    limit = limit_of(kind, organization)
    quota, window_s = limit.amount, limit.get_expiry()
    # A changed limit begins anew: its window is another one.
    key = f"{kind}:{quota}/{window_s}:{caller}"
    ((used, left_s),) = change(Change(key, amount, window_s))
    return Window(kind, quota, window_s, used, left_s)


def refuse(windows: Iterable[Window]) -> None:
    """Raises `RateLimited` where one of them is exceeded."""
    exceeded = [window for window in windows if window.is_exceeded]
    if exceeded:
        for window in exceeded:
            metrics.LIMITED.labels(window.name).inc()
        raise RateLimited(max(window.reset_s for window in exceeded))
