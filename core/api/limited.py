"""Limits at the clients' door: who is counted, and what the answer tells about it.

A refusal must be cheap, or whoever is refused most costs the others most. To know who it is takes a
connection and a transaction; so what was refused a moment ago is refused again, for a second at
most, by its credentials alone.
"""

import time
from dataclasses import replace
from hashlib import blake2b
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponseBase

from core import limits
from core.addresses import client_network
from core.limits import Kind

REMEMBERED_S = 1.0  # so soon a limit that was raised holds for somebody who has used it up
KEPT = 10_000

# What was refused, until when (monotonic), as whom. Each access is one operation of the dictionary.
_refused: dict[bytes, tuple[limits.Window, float, Any]] = {}


def refuse_again(request: Any, kind: Kind | None) -> None:
    """Refuse without a look at the database what was refused just now, in this process.

    Raises:
        RateLimited: as it did then.
    """
    key = _credentials(request, kind)
    window, refused_at, user = _refused.get(key, (None, 0.0, None))
    if window is None:
        return
    age = time.monotonic() - refused_at
    if age >= min(REMEMBERED_S, window.left_s):
        _refused.pop(key, None)
        return
    window = replace(window, left_s=window.left_s - age)
    request._request.limit_windows = [window]
    request._request.user = user  # for the log
    limits.refuse([window])


def _remember(request: Any, window: limits.Window, user: Any) -> None:
    if len(_refused) >= KEPT:
        _refused.clear()
    _refused[_credentials(request, Kind(window.name))] = window, time.monotonic(), user


def _credentials(request: Any, kind: Kind | None) -> bytes:
    """What a request says of who it is: unread, and not kept in words."""
    given = (
        request.META.get("HTTP_AUTHORIZATION", ""),
        request.COOKIES.get(settings.SESSION_COOKIE_NAME, ""),
    )
    caller = given if any(given) else client_network(request._request)
    return blake2b(repr((limits.PREFIX, kind, caller)).encode(), digest_size=16).digest()


def count(request: Any, kind: Kind | None) -> None:
    """Count a request of DRF's by who sent it, once however often it is tried again.

    Raises:
        RateLimited: it is one too many.
    """
    if kind is None or hasattr(request._request, "limit_windows"):
        return
    _use(request, kind, 1)


def count_more(request: Any, kind: Kind, amount: int) -> None:
    """Count what a request, which has counted as one, does beyond that: all of it fits, or none.

    What is more than the whole limit counts as that: it passes when nothing has been used.

    Raises:
        RateLimited: it does not fit.
    """
    quota = limits.limit_of(kind, getattr(request.user, "organization", None)).amount
    if amount := min(amount, quota - 1):
        _use(request, kind, amount)


def _use(request: Any, kind: Kind, amount: int) -> None:
    user: Any = request.user
    home = getattr(user, "organization", None)
    window = limits.use(kind, _caller(request, user), home, amount=amount)
    request._request.limit_windows = [window]
    if window.is_exceeded:
        _remember(request, window, user)
    limits.refuse([window])


def _caller(request: Any, user: Any) -> str:
    """A user and an API key by their ids, everybody else by the address."""
    if user and user.is_authenticated:
        return f"{user._meta.model_name}:{user.pk}"
    return f"address:{client_network(request._request)}"


def tell(request: HttpRequest, response: HttpResponseBase) -> None:
    """Write what was counted into the answer, as draft-ietf-httpapi-ratelimit-headers says."""
    windows: list[limits.Window] = getattr(request, "limit_windows", [])
    if windows:
        response["RateLimit-Policy"] = ", ".join(
            f'"{window.name}";q={window.quota};w={window.window_s}' for window in windows
        )
        response["RateLimit"] = ", ".join(
            f'"{window.name}";r={window.remaining};t={window.reset_s}' for window in windows
        )
