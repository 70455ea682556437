"""Whether PostgreSQL has room for the connections that the workers may open."""

import psycopg
import structlog
from django.conf import settings

from core.postgres import apart
from core.safety import Unsafe

log = structlog.stdlib.get_logger("core.postgres")

_ROOM = """
SELECT least(
    current_setting('max_connections')::int
        - current_setting('superuser_reserved_connections')::int
        - coalesce(current_setting('reserved_connections', true)::int, 0),
    nullif(rolconnlimit, -1),
    (SELECT nullif(datconnlimit, -1) FROM pg_database WHERE datname = current_database())
)
FROM pg_roles WHERE rolname = current_user
"""


def refuse_too_many(workers: int) -> None:
    """Stop here if the pools of so many workers do not fit, rather than at the busiest hour.

    Says nothing where the database is away: it will be asked again at the next start.

    Raises:
        Unsafe: with the numbers.
    """
    pool = settings.DATABASES["default"]["OPTIONS"].get("pool")
    if pool is None:
        return
    each = pool["max_size"] + 2  # for the health checks, and to hear what the cache forgets
    room = _room()
    if room is None:
        log.warning("database_away", consequence="its max_connections is not checked")
    elif workers * each > room:
        raise Unsafe(
            f"dockside does not start: {workers} workers with up to {each} connections each"
            f" need {workers * each}, and PostgreSQL has room for {room}: lower DB_POOL_SIZE,"
            " DB_POOL_OVERFLOW or WEB_CONCURRENCY, or raise its max_connections"
        )
    elif 2 * workers * each > room:
        log.warning("database_has_no_room_for_a_deploy", needed=2 * workers * each, room=room)


def _room() -> int | None:
    try:
        with apart.connect("room") as own:
            (room,) = own.execute(_ROOM).fetchone() or (None,)
    except psycopg.OperationalError:
        return None
    return room
