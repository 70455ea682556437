"""A connection beside the pool, for what must not wait, or listens all its life."""

from typing import Any

import psycopg
from django.db import connection

OURS = ("pool", "context", "cursor_factory")  # of Django's parameters: psycopg knows none of them


def connect(name: str, **changes: Any) -> psycopg.Connection[Any]:
    """A new connection to the application's database, in autocommit; `changes` are libpq's.

    PostgreSQL shows it as `dockside-<name>`. It gives up connecting after two seconds.

    Raises:
        psycopg.OperationalError: the database does not let us in.
    """
    given = connection.get_connection_params()
    wanted = {**given, "connect_timeout": 2, "application_name": f"dockside-{name}", **changes}
    return psycopg.connect(
        **{key: value for key, value in wanted.items() if key not in OURS}, autocommit=True
    )
