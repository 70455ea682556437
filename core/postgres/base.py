"""The engine named by `DATABASES["default"]["ENGINE"] = "core.postgres"`."""

import select
import time
from typing import Any, ClassVar

import psycopg
from django.db.backends.postgresql import base, creation, operations
from psycopg_pool import ConnectionPool, PoolTimeout, TooManyRequests

from core import deadlines
from core.postgres.ownership import is_apart, owner_of
from core.postgres.schema import DatabaseSchemaEditor

CHECK_S = 2.0  # a connection that says nothing for so long is a dead one
LEFT_ALONE_S = 0.3
TRUSTED_S = 5.0


class DatabaseCreation(creation.DatabaseCreation):
    """Makes test databases that belong to the owner, as real ones do."""

    connection: "DatabaseWrapper"

    def _nodb_cursor(self) -> Any:
        return (owner_of(self.connection) if is_apart() else self.connection)._nodb_cursor()


class PreparedCursor(psycopg.Cursor[Any]):
    """A cursor whose statements PostgreSQL plans once per connection, not each time."""

    def execute(self, query: Any, params: Any = None, **kwargs: Any) -> Any:
        return super().execute(query, params, **{"prepare": True, **kwargs})


def prepared_cursor(connection: Any) -> Any:
    """A cursor for statements whose text stays the same; their values are bound by the server.

    The ORM's own statements are not prepared: their text differs with what is asked for, and a plan
    that fits every value of a filter fits none of them well.
    """
    connection.ensure_connection()
    return connection._prepare_cursor(PreparedCursor(connection.connection))


class DatabaseOperations(operations.DatabaseOperations):
    def last_executed_query(self, cursor: Any, sql: Any, params: Any) -> Any:
        """What is shown of a statement; psycopg keeps none whose values the server binds."""
        if isinstance(cursor, PreparedCursor):
            return self.compose_sql(sql, params)
        return super().last_executed_query(cursor, sql, params)


def has_news(connection: psycopg.Connection[Any]) -> bool:
    """Whether the server has sent something unasked: mostly that it has hung up."""
    news = select.poll()
    news.register(connection.fileno(), select.POLLIN)
    return bool(news.poll(0))


class DatabaseWrapper(base.DatabaseWrapper):
    """Django's engine, with a pool that finds out quickly, and connections with a deadline.

    `ConnectionPool.check` throws away one dead connection per attempt and waits 0, 1, 2, 4, 8 and
    16 seconds between attempts. After a restart of PostgreSQL every kept connection is dead at
    once, so the first caller would wait out its whole time-out although the server is back. What
    killed one killed all: drop them together and connect anew.

    To ask the server on every checkout costs a tenth of a short request. A server that stops closes
    its connections, which their sockets know without asking; the server itself is asked where that
    was last done more than TRUSTED_S ago.

    Where one caller has waited in vain, those of the next moment are told at once. Else a database
    that is away would cost each of them the whole wait, one after the other in the same threads.
    """

    creation_class = DatabaseCreation
    ops_class = DatabaseOperations
    SchemaEditorClass = DatabaseSchemaEditor
    # By alias: until when nobody waits for the pool. Shared by the threads, as the pools are.
    _away_until: ClassVar[dict[str, float]] = {}

    @property
    def pool(self) -> ConnectionPool[Any] | None:
        pool: ConnectionPool[Any] | None = super().pool
        # Private in psycopg_pool 3.3.3, hence the exact pin and tests/core/test_postgres.py.
        if pool is not None and pool._check is ConnectionPool.check_connection:

            def check(connection: psycopg.Connection[Any]) -> None:
                now = time.monotonic()
                checked_at = vars(connection).get("checked_at", -TRUSTED_S)
                if now - checked_at < TRUSTED_S and not has_news(connection):
                    return
                try:
                    with deadlines.at_most(CHECK_S, connection):
                        ConnectionPool.check_connection(connection)
                except psycopg.Error:
                    pool.drain()
                    raise
                vars(connection)["checked_at"] = now

            pool._check = check
        return pool

    def get_new_connection(self, conn_params: dict[str, Any]) -> psycopg.Connection[Any]:
        """A connection, which is cut off when the time of the request is over.

        Raises:
            psycopg.OperationalError: there is none, or the time is over already.
        """
        deadlines.check()
        pool = self.pool
        if pool is None:
            connection: psycopg.Connection[Any] = super().get_new_connection(conn_params)
        else:
            if not pool._pool and time.monotonic() < self._away_until.get(self.alias, 0):
                raise TooManyRequests("others have just waited for a connection in vain")
            try:
                connection = super().get_new_connection(conn_params)
            except PoolTimeout:
                self._away_until[self.alias] = time.monotonic() + LEFT_ALONE_S
                raise
        deadlines.watch(connection)
        return connection

    def _close(self) -> None:
        if self.connection is not None:
            deadlines.unwatch(self.connection)
        super()._close()  # type: ignore[misc]

    def warm_pool(self, patience_s: float) -> bool:
        """Open the pool and fill it; False if that takes longer, and then it fills by itself.

        A cold pool counts the first burst of callers as waiting and turns some away.
        """
        pool = self.pool
        if pool is None:
            return True
        pool.open()  # its own `wait` would close it for good when the time is over
        until = time.monotonic() + patience_s
        while pool.get_stats()["pool_available"] < pool.min_size:
            if time.monotonic() > until:
                return False
            time.sleep(0.02)
        return True
