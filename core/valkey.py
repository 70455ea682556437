"""The way to Valkey, and one breaker for all who go it: the cache and the limits.

Valkey is a help and never a need. `ask` gives its answer, or raises `Away` and the caller goes on
without. Whatever fails costs a caller one time-out at most; then this process leaves Valkey alone,
so that nobody waits for it, and one probe of its own, every few seconds, finds out when it is back.
One that answers late, again and again, is left alone like one that does not answer.

What happens is counted in `stats`, for this process; whoever wants to know adds an observer:

    valkey.stats.observers.append(mine)  # with the methods `hit`, `miss`, `error` and `breaker`
"""

import hashlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

import structlog
from django.conf import settings
from django_redis import get_redis_connection
from redis import Redis
from redis.exceptions import NoScriptError, RedisError

from core import metrics

log = structlog.stdlib.get_logger("core.valkey")

T = TypeVar("T")

LEFT_ALONE_S = 5.0
SLOW_S = 0.1  # a call takes less than a thousandth of a second where all is well
SLOW_IN_A_ROW = 5


class Away(Exception):
    """Valkey has just failed, or is left alone since it did."""


class Observer(Protocol):
    """What `stats` tells of, as it happens, in the thread where it happens."""

    def hit(self, resource: str) -> None: ...
    def miss(self, resource: str) -> None: ...
    def error(self) -> None: ...
    def breaker(self, open: bool) -> None: ...


class Stats:
    """How often what happened in this process, and whether it leaves Valkey alone now."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.hits: Counter[str] = Counter()
        self.misses: Counter[str] = Counter()
        self.errors = 0
        self.is_open = False
        self.observers: list[Observer] = []

    def hit(self, resource: str) -> None:
        """An answer was there."""
        with self._lock:
            self.hits[resource] += 1
        for observer in self.observers:
            observer.hit(resource)

    def miss(self, resource: str) -> None:
        """An answer was not there, and was loaded."""
        with self._lock:
            self.misses[resource] += 1
        for observer in self.observers:
            observer.miss(resource)

    def error(self) -> None:
        """A call failed; those that are not made since the breaker is open do not count."""
        with self._lock:
            self.errors += 1
        for observer in self.observers:
            observer.error()

    def breaker(self, open: bool) -> None:
        """From now on Valkey is left alone, or asked again."""
        self.is_open = open
        for observer in self.observers:
            observer.breaker(open)


stats = Stats()
stats.observers.append(metrics.valkey)
# What is made good before Valkey is asked again: it may have missed something meanwhile.
on_return: list[Callable[[Redis], object]] = []


class Server:
    """One Valkey, and whether this process leaves it alone."""

    def __init__(self, client: Redis) -> None:
        self.client = client
        self.is_away = False
        self._slow = 0
        self._lock = threading.Lock()

    def ask(self, question: Callable[[Redis], T], *, surely: bool = False) -> T:
        """What Valkey says.

        Raises:
            Away: it says nothing. A question that is asked `surely` is then either covered by what
                `on_return` makes good, or was never needed.
        """
        if surely:
            with self._lock:  # not between the making good and the end of the absence
                is_away = self.is_away
        else:
            is_away = self.is_away
        if is_away:
            raise Away
        began = time.monotonic()
        try:
            answer = question(self.client)
        except RedisError as error:
            stats.error()
            self._leave_alone(type(error).__name__)
            raise Away from error
        self._judge(time.monotonic() - began)
        return answer

    def _judge(self, took_s: float) -> None:
        if took_s < SLOW_S:
            self._slow = 0
            return
        self._slow += 1
        if self._slow >= SLOW_IN_A_ROW:
            self._leave_alone("slow")

    def _leave_alone(self, why: str) -> None:
        with self._lock:
            if self.is_away:
                return
            self.is_away = True
        log.warning("valkey_left_alone", why=why)
        stats.breaker(True)
        self._probe_later()

    def _probe_later(self) -> None:
        self._timer = threading.Timer(LEFT_ALONE_S, self._probe)
        self._timer.daemon = True
        self._timer.start()

    def _probe(self) -> None:
        try:
            self.client.ping()  # which may have to connect first
            began = time.monotonic()
            self.client.ping()
            if time.monotonic() - began >= SLOW_S:
                self._probe_later()
                return
            with self._lock:
                for make_good in on_return:
                    make_good(self.client)
                self._slow, self.is_away = 0, False
        except Exception as error:  # noqa: BLE001 - whatever it is, there is another probe
            log.debug("valkey_still_away", kind=type(error).__name__)
            self._probe_later()
        else:
            stats.breaker(False)
            log.info("valkey_asked_again")


_servers: dict[str, Server] = {}


def server() -> Server:
    """The Valkey of the settings."""
    url = str(settings.CACHES["default"].get("LOCATION", ""))
    return _servers.get(url) or _servers.setdefault(url, Server(get_redis_connection()))


def ask(question: Callable[[Redis], T], *, surely: bool = False) -> T:
    """What the Valkey of the settings says; `Server.ask` tells of the rest."""
    return server().ask(question, surely=surely)


class Script:
    """A piece of Lua that Valkey runs as one step, in one call; it is sent whole once."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()

    def __call__(self, keys: Sequence[str], arguments: Sequence[Any]) -> Any:
        """What the script returns.

        Raises:
            Away: Valkey says nothing.
        """
        return ask(lambda client: self.run(client, keys, arguments))

    def run(self, client: Redis, keys: Sequence[str], arguments: Sequence[Any]) -> Any:
        given = [len(keys), *keys, *arguments]
        try:
            return client.evalsha(self._sha, *given)
        except NoScriptError:
            return client.eval(self.text, *given)
