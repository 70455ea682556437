"""How a migration changes tables that people work with: briefly, or beside them.

A statement that needs a table to itself waits for whoever reads it, and everybody who comes later
waits behind it. So it gives up soon (`impatient`, which `migrate` tries again and again). What does
not keep anybody waiting, such as an index built concurrently, may wait as long as it must.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connection, models
from django.db.backends.postgresql import schema

LOCK_TIMEOUT_MS = 300  # what a request notices of a migration, at most

_STANDS_IN_NOBODYS_WAY = re.compile(
    r"\s*(CREATE\s+(UNIQUE\s+)?INDEX\s+CONCURRENTLY|DROP\s+INDEX\s+CONCURRENTLY"
    r"|REINDEX\s.*CONCURRENTLY|ALTER\s+TABLE\s+\S+\s+VALIDATE\s+CONSTRAINT)\b",
    re.IGNORECASE,
)
_INVALID = """
SELECT FROM pg_index WHERE indexrelid = to_regclass(%s) AND NOT indisvalid
"""


@contextmanager
def impatient() -> Iterator[None]:
    """Within the block no statement waits longer than LOCK_TIMEOUT_MS for a lock."""
    with connection.cursor() as cursor:
        cursor.execute(f"SET lock_timeout = {LOCK_TIMEOUT_MS}")
    try:
        yield
    finally:
        if connection.is_usable():
            with connection.cursor() as cursor:
                cursor.execute("RESET lock_timeout")  # to what the session began with


class DatabaseSchemaEditor(schema.DatabaseSchemaEditor):
    """Lets what nobody waits for take its time, and finishes what was broken off."""

    def execute(self, sql: Any, params: Any = ()) -> None:
        waits = _STANDS_IN_NOBODYS_WAY.match(str(sql))
        if not waits or self.collect_sql or self.connection.in_atomic_block:
            super().execute(sql, params)
            return
        with self.connection.cursor() as cursor:
            cursor.execute("SELECT current_setting('lock_timeout')")
            (before,) = cursor.fetchone()
            cursor.execute("SET lock_timeout = 0")
            try:
                super().execute(sql, params)
            finally:
                cursor.execute("SELECT set_config('lock_timeout', %s, false)", [before])

    def add_index(
        self, model: type[models.Model], index: models.Index, concurrently: bool = False
    ) -> None:
        """As Django's; one that was broken off half built, and serves nobody, is built anew."""
        if concurrently and not self.collect_sql:
            name = self.quote_name(index.name)
            with self.connection.cursor() as cursor:
                cursor.execute(_INVALID, [name])
                if cursor.rowcount:
                    self.execute(f"DROP INDEX CONCURRENTLY {name}")
        super().add_index(model, index, concurrently=concurrently)
