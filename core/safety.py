"""What a server that others can reach must not be: judged before it answers its first request.

`script/server` on 127.0.0.1 without TLS is for whoever sits at this machine, and just works.
"""

import logging
import re
from collections.abc import Iterable, Sequence
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

import psycopg
from django.conf import settings
from django.core.checks import Error, Tags, Warning, register
from django.core.exceptions import ImproperlyConfigured
from django.db import DEFAULT_DB_ALIAS

from core.postgres import apart

log = logging.getLogger("core.safety")

YEAR_S = 31_536_000
SHORTEST_KEY = 32
LOCAL = "127.0.0.1:8000"
_OBVIOUS = re.compile(
    r"change.?me|default|django-insecure|dockside|example|only.for.tests|password|secret"
    r"|0123456|1234567|abcdef(?=g)|qwerty",
    re.IGNORECASE,
)

# A role that is a member of the owner's can become it.
_POWERS = """
    SELECT rolsuper OR rolbypassrls,
           EXISTS (SELECT FROM pg_class WHERE relrowsecurity
                   AND pg_has_role(current_user, relowner, 'MEMBER'))
    FROM pg_roles WHERE rolname = current_user
"""


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
    if (
        settings.METRICS_BIND
        and not settings.METRICS_TOKEN
        and not is_loopback(settings.METRICS_BIND)
    ):
        found.append("METRICS_BIND is reached from elsewhere: set METRICS_TOKEN too")
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


def powers_of_role() -> tuple[str | None, str | None]:
    """What the application's role could do to the wall between organizations, as two lines or none.

    The first is that it stands above the wall, the second that it could take it down. Asked on a
    connection of its own; a database that does not answer is left to the health checks.
    """
    try:
        with apart.connect("safety") as asked:
            above, owns = asked.execute(_POWERS).fetchone() or (False, False)
    except psycopg.OperationalError:
        return None, None
    if above:
        return (
            "DATABASE_URL names a role that bypasses row-level security: every organization's rows"
            " are open to it; take one without SUPERUSER and BYPASSRLS"
        ), None
    return None, (
        "DATABASE_URL names a role that owns the tables and could take their walls down: let"
        " another one own them, and name it in DATABASE_OWNER_URL"
    ) if owns else None


def refuse_unsafe(addresses: Sequence[str] = ()) -> None:
    """Stop here rather than serve others unsafely; `addresses` besides BIND are served too.

    Raises:
        Unsafe: with its reasons.
    """
    served = [settings.BIND or LOCAL, *filter(None, [settings.METRICS_BIND]), *addresses]
    if is_served_to_others(served) and (found := dangers()):
        raise _refusal(found)


def refuse_unsafe_role(addresses: Sequence[str] = ()) -> None:
    """The same for the role that works with the database; says what is merely unwise.

    Raises:
        Unsafe: it bypasses row-level security, and others are served.
    """
    above, owns = powers_of_role()
    if above and is_served_to_others([settings.BIND or LOCAL, *addresses]):
        raise _refusal([above])
    if warning := above or owns:
        log.warning(warning)


def _refusal(lines: Iterable[str]) -> Unsafe:
    return Unsafe("\n".join(f"dockside does not start: {line}" for line in lines))


@register(Tags.security, deploy=True)
def settings_are_safe(app_configs: Any, **kwargs: Any) -> list[Error]:
    """For `manage.py check --deploy`."""
    return [Error(line, id=f"dockside.E{number:03}") for number, line in enumerate(dangers(), 1)]


@register(Tags.database)
def role_is_safe(app_configs: Any, databases: Any = None, **kwargs: Any) -> list[Warning]:
    """For `manage.py migrate` and `manage.py check --database default`."""
    lines = powers_of_role() if DEFAULT_DB_ALIAS in (databases or []) else ()
    return [
        Warning(line, id=f"dockside.W{number:03}") for number, line in enumerate(lines, 1) if line
    ]
