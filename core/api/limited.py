"""Limits at the clients' door: who is counted, and what the answer tells about it."""

from typing import Any

from django.http import HttpRequest, HttpResponseBase

from core import limits
from core.addresses import client_network
from core.limits import Kind


def count(request: Any, kind: Kind | None) -> None:
    """Count a request of DRF's by who sent it, once however often it is tried again.

    Raises:
        RateLimited: it is one too many.
    """
    if kind is None or hasattr(request._request, "limit_windows"):
        return
    user: Any = request.user
    window = limits.use(kind, _caller(request, user), getattr(user, "organization", None))
    request._request.limit_windows = [window]
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
