"""How often somebody may do something, counted in Valkey for all processes together.

A window is fixed and begins with its first request: exactly N of N+k pass however many come at
once, and its end is known to the millisecond, so that a wait of `Retry-After` always succeeds. (A
sliding window lets nobody send 2 N around an edge, but can only guess when there is room again, and
takes a second question to Valkey to say so.)

Without Valkey each process counts for itself. The first failure costs at most half a second; then
Valkey is left alone until it answers a probe, and no request waits for it.
"""

import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from math import ceil
from typing import Any, NamedTuple

import structlog
from django.conf import settings
from limits import RateLimitItem, parse
from limits.storage import RedisStorage
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as Refused
from redis.exceptions import RedisError
from redis.retry import Retry

from core import metrics
from core.errors import RateLimited

log = structlog.stdlib.get_logger("core.limits")

PREFIX = "limits"
PATIENCE_S = 0.25  # for the connection, and again for the answer
PROBED_EVERY_S = 5.0
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


class Valkey(RedisStorage):
    """The library's storage, with one script that changes some counts and tells all of them."""

    SCRIPT = """
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
    """

    def prefixed_key(self, key: str) -> str:
        return f"{PREFIX}:{key}"

    def initialize_storage(self, _uri: str) -> None:
        super().initialize_storage(_uri)
        connection: Any = self.get_connection()
        self._script = connection.register_script(self.SCRIPT)

    def change(self, changes: Sequence[Change]) -> list[Count]:
        arguments = [
            each
            for change in changes
            for each in (change.amount, change.window_s * 1000, int(change.renewed))
        ]
        told = self._script([self.prefixed_key(change.key) for change in changes], arguments)
        return [Count(told[i], told[i + 1] / 1000) for i in range(0, len(told), 2)]


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


class Counters:
    """Counts in Valkey, and in memory for as long as Valkey is away."""

    def __init__(self, url: str) -> None:
        self._memory = Memory()
        self._valkey = Valkey(
            url,
            socket_connect_timeout=PATIENCE_S,
            socket_timeout=PATIENCE_S,
            # Once more at once where a kept connection turns out closed; never after a time-out.
            retry=Retry(NoBackoff(), 1, supported_errors=(Refused,)),  # type: ignore[arg-type]
        )
        self._lock = threading.Lock()
        self._is_away = False

    def change(self, changes: Sequence[Change]) -> list[Count]:
        """Make all `changes` at once, in one round trip; returns the counts in their order."""
        if not self._is_away:
            try:
                return self._valkey.change(changes)
            except RedisError as error:
                self._leave_alone(error)
        return self._memory.change(changes)

    def _leave_alone(self, error: Exception) -> None:
        with self._lock:
            if self._is_away:
                return
            self._is_away = True
        metrics.valkey.error()
        metrics.valkey.breaker(True)
        log.warning("limits_without_valkey", kind=type(error).__name__)
        self._probe_later()

    def _probe_later(self) -> None:
        timer = threading.Timer(PROBED_EVERY_S, self._probe)
        timer.daemon = True
        timer.start()

    def _probe(self) -> None:
        try:
            self._valkey.get_connection().ping()
        except RedisError:
            self._probe_later()
        else:
            self._is_away = False
            metrics.valkey.breaker(False)
            log.info("limits_with_valkey_again")


_making = threading.Lock()  # `cache` would let two threads make one each, and count apart


@cache
def _counters(url: str) -> Counters:
    return Counters(url)


def change(*changes: Change) -> list[Count]:
    """Change and read counts of all processes, in one round trip to Valkey."""
    with _making:
        counters = _counters(str(settings.CACHES["default"]["LOCATION"]))
    return counters.change(changes)


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


def use(kind: Kind, caller: str, organization: Any = None) -> Window:
    """Count one request of `caller`; it passes unless the window `is_exceeded`."""
    limit = limit_of(kind, organization)
    quota, window_s = limit.amount, limit.get_expiry()
    # A changed limit begins anew: its window is another one.
    key = f"{kind}:{quota}/{window_s}:{caller}"
    ((used, left_s),) = change(Change(key, 1, window_s))
    return Window(kind, quota, window_s, used, left_s)


def refuse(windows: Iterable[Window]) -> None:
    """Raises `RateLimited` where one of them is exceeded."""
    exceeded = [window for window in windows if window.is_exceeded]
    if exceeded:
        for window in exceeded:
            metrics.LIMITED.labels(window.name).inc()
        raise RateLimited(max(window.reset_s for window in exceeded))
