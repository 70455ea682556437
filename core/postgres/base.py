"""The engine named by `DATABASES["default"]["ENGINE"] = "core.postgres"`."""

from typing import Any

import psycopg
from django.db.backends.postgresql import base, creation
from psycopg_pool import ConnectionPool

from core.postgres.ownership import is_apart, owner_of


class DatabaseCreation(creation.DatabaseCreation):
    """Makes test databases that belong to the owner, as real ones do."""

    connection: "DatabaseWrapper"

    def _nodb_cursor(self) -> Any:
        return (owner_of(self.connection) if is_apart() else self.connection)._nodb_cursor()


class DatabaseWrapper(base.DatabaseWrapper):
    """Drain the pool as soon as one of its connections turns out dead.

    `ConnectionPool.check` throws away one dead connection per attempt and waits 0, 1, 2, 4, 8 and
    16 seconds between attempts. After a restart of PostgreSQL every kept connection is dead at
    once, so the first caller would wait out its whole time-out although the server is back. What
    killed one killed all: drop them together and connect anew.
    """

    creation_class = DatabaseCreation

    @property
    def pool(self) -> ConnectionPool[Any] | None:
        pool: ConnectionPool[Any] | None = super().pool
        # Private in psycopg_pool 3.3.3, hence the exact pin and tests/core/test_postgres.py.
        if pool is not None and pool._check is ConnectionPool.check_connection:

            def check(connection: psycopg.Connection[Any]) -> None:
                try:
                    ConnectionPool.check_connection(connection)
                except psycopg.Error:
                    pool.drain()
                    raise

            pool._check = check
        return pool
