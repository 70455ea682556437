"""What a server that others can reach must not be: judged before it answers its first request.

`script/server` on 127.0.0.1 without TLS is for whoever sits at this machine, and just works.
"""

import re
from collections.abc import Iterable, Sequence
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import Error, Tags, register
from django.core.exceptions import ImproperlyConfigured

YEAR_S = 31_536_000
SHORTEST_KEY = 32
LOCAL = "127.0.0.1:8000"
_OBVIOUS = re.compile(
    r"change.?me|default|django-insecure|dockside|example|only.for.tests|password|secret"
    r"|0123456|1234567|abcdef(?=g)|qwerty",
    re.IGNORECASE,
)


class Unsafe(ImproperlyConfigured):
    """The server does not start. Its text has a line for each reason, led by the variable."""


def is_loopback(address: str) -> bool:
    """Whether a server at `address` (`host:port`) is reached from its own machine alone."""
    host = urlsplit(f"//{address}").hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def is_served_to_others(addresses: Iterable[str]) -> bool:
    return bool(settings.HTTPS) or not all(map(is_loopback, addresses))


def dangers() -> list[str]:
    """Why these settings may not serve others: one line each, led by the variable to change."""
    found = []
    if problem := _problem_of_key(settings.SECRET_KEY):
        found.append(f"SECRET_KEY {problem}")
    found += [
        f"SECRET_KEY_FALLBACKS: one of them {problem}"
        for problem in map(_problem_of_key, getattr(settings, "SECRET_KEY_FALLBACKS", []))
        if problem
    ]
    hosts = [host.strip() for host in settings.ALLOWED_HOSTS]
    if not any(hosts):
        found.append("ALLOWED_HOSTS is empty: name the hosts to serve")
    if "*" in hosts:
        found.append("ALLOWED_HOSTS holds *: name the hosts to serve")
    if settings.DEBUG:
        found.append("DEBUG is on: its pages show settings and source to whoever asks")
    if settings.HTTPS:
        found += [f"HTTPS is on, but {what}" for what in _gaps_in_tls()]
    return found


def _problem_of_key(key: str) -> str | None:
    if len(key.strip()) < SHORTEST_KEY:
        return f"is shorter than {SHORTEST_KEY} characters"
    repeats = (key + key).find(key, 1) < len(key)
    if repeats or len(set(key)) < 10 or _OBVIOUS.search(key):
        return "can be guessed: take a random one"
    return None


def _gaps_in_tls() -> list[str]:
    wanted: dict[str, Any] = {
        "SESSION_COOKIE_SECURE": settings.SESSION_COOKIE_SECURE,
        "CSRF_COOKIE_SECURE": settings.CSRF_COOKIE_SECURE,
        "SECURE_SSL_REDIRECT": settings.SECURE_SSL_REDIRECT,
        "SECURE_HSTS_SECONDS of a year": settings.SECURE_HSTS_SECONDS >= YEAR_S,
    }
    gaps = [f"{name} is missing" for name, is_there in wanted.items() if not is_there]
    if any(origin.startswith("http://") for origin in settings.CSRF_TRUSTED_ORIGINS):
        gaps.append("CSRF_TRUSTED_ORIGINS trusts one without TLS")
    return gaps


def refuse_unsafe(addresses: Sequence[str] = ()) -> None:
    """Stop here rather than serve others unsafely; `addresses` besides BIND are served too.

    Raises:
        Unsafe: with its reasons.
    """
    if is_served_to_others([settings.BIND or LOCAL, *addresses]) and (found := dangers()):
        raise Unsafe("\n".join(f"dockside does not start: {line}" for line in found))


@register(Tags.security, deploy=True)
def settings_are_safe(app_configs: Any, **kwargs: Any) -> list[Error]:
    """For `manage.py check --deploy`."""
    return [Error(line, id=f"dockside.E{number:03}") for number, line in enumerate(dangers(), 1)]
