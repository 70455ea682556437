"""How a name and a password are tried, and how often.

Every door tries them through `core.backends`, so none can forget to count. Five failures of a name
from one address lock the two together for a quarter of an hour, and so do many failures of one
address over all names; the owner still gets in from elsewhere. Names nobody has are counted like
any other: what is refused, and when, tells nothing about who exists.
"""

import hashlib
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import structlog
from django.conf import settings

from core import limits, metrics
from core.addresses import client_network
from core.errors import RateLimited
from core.limits import FORGET, Change, Count, Window

log = structlog.stdlib.get_logger("core.sign_in")

AT_ONCE = 5  # tries of one name and address that may be under way besides the failures
UNDER_WAY_S = 30  # a try that nobody ended, since its process did, counts for so long
BUSY_S = 1


@dataclass(frozen=True)
class Lock:
    """So many failures lock: those of a name and an address, or those of an address."""

    name: str
    key: str
    failures: int
    tries: int  # failures and tries under way together
    window_s: int
    renewed: bool  # whether each failure prolongs the memory of those before it

    def failed(self, amount: int) -> Change:
        return Change(f"failed:{self.key}", amount, self.window_s, self.renewed and amount > 0)

    def under_way(self, amount: int) -> Change:
        return Change(f"under-way:{self.key}", amount, UNDER_WAY_S, amount > 0)

    def window(self, failed: Count) -> Window:
        left_s = failed.left_s or float(self.window_s)
        return Window(self.name, self.failures, self.window_s, failed.total, left_s)

    def wait_s(self, failed: Count, under_way: Count) -> int:
        """How long a try that is counted in `under_way` has to wait; 0 lets it through."""
        if failed.total >= self.failures:
            return max(1, self.window(failed).reset_s)
        return BUSY_S if failed.total + under_way.total > self.tries else 0


def locks_of(request: Any, username: str) -> list[Lock]:
    """The lock of the name at this address, and the address's own."""
    address = client_network(request) if request is not None else ""
    both, alone = limits.rate(settings.LIMIT_SIGN_IN), limits.rate(settings.LIMIT_SIGN_IN_ADDRESS)
    return [
        Lock(
            "sign-in",
            _digest(f"{address} {unicodedata.normalize('NFKC', username).casefold()}"),
            both.amount,
            both.amount + AT_ONCE,
            both.get_expiry(),
            renewed=True,
        ),
        # Not renewed: a busy office's now and then must not add up over the day.
        Lock(
            "sign-in-address",
            _digest(address),
            alone.amount,
            alone.amount,
            alone.get_expiry(),
            renewed=False,
        ),
    ]


def _digest(text: str) -> str:
    """What somebody typed as a name may be a password: it is not kept as it is."""
    return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=16).hexdigest()


class Attempt:
    """One try of a name and a password; it fails unless it `succeeded`."""

    succeeded = False


@contextmanager
def attempt(request: Any, username: str) -> Iterator[Attempt]:
    """Hold a place for a try before the password is hashed, so that tries at once count too.

    Leaves on `request` what the headers tell. An exception ends the try without a verdict.

    Raises:
        RateLimited: the name or the address is locked.
    """
    locks = locks_of(request, username)
    told = limits.change(
        *(change for lock in locks for change in (lock.failed(0), lock.under_way(1)))
    )
    pairs = list(zip(locks, told[::2], told[1::2], strict=True))
    _tell(request, [lock.window(failed) for lock, failed, _ in pairs])
    if wait_s := max(lock.wait_s(*counts) for lock, *counts in pairs):
        limits.change(*(lock.under_way(-1) for lock in locks))
        metrics.SIGN_INS.labels("locked").inc()
        log.warning("sign_in_refused", retry_after_s=wait_s)
        raise RateLimited(wait_s)
    tried = Attempt()
    amounts = [0, 0]
    try:
        yield tried
        amounts = [FORGET, 0] if tried.succeeded else [1, 1]
    finally:
        told = limits.change(
            *(lock.failed(amount) for lock, amount in zip(locks, amounts, strict=True)),
            *(lock.under_way(-1) for lock in locks),
        )
        _tell(request, [lock.window(count) for lock, count in zip(locks, told[:2], strict=True)])
    metrics.SIGN_INS.labels("succeeded" if tried.succeeded else "failed").inc()
    if not tried.succeeded:
        log.info("sign_in_failed")


def _tell(request: Any, windows: list[Window]) -> None:
    if request is not None:
        request.limit_windows = windows
