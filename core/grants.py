"""What the application's role may do with tables that another role owns.

Rows of every table come and go by its hand, but for two kinds: history it adds to and reads, and
which migrations were run it only reads. It alters, empties and drops nothing.
"""

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, connection, transaction
from django.db.migrations.recorder import MigrationRecorder
from psycopg import sql

from core import history
from core.postgres.ownership import is_apart

ROWS = sql.SQL("SELECT, INSERT, UPDATE, DELETE")


def give() -> None:
    """Grant it, as the owner; again is safe. Tables to come are granted as they are made."""
    if not is_apart():
        return
    role = sql.Identifier(settings.DATABASES[DEFAULT_DB_ALIAS]["USER"])
    taken = {model._meta.db_table: "UPDATE, DELETE" for model in history.event_models()}
    taken[MigrationRecorder.Migration._meta.db_table] = "INSERT, UPDATE, DELETE"
    with transaction.atomic(), connection.cursor() as cursor:
        for statement in (
            "GRANT USAGE ON SCHEMA public TO {role}",
            "GRANT {rows} ON ALL TABLES IN SCHEMA public TO {role}",
            "GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO {role}",
            "ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT {rows} ON TABLES TO {role}",
            "ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT USAGE, SELECT ON SEQUENCES TO {role}",
        ):
            cursor.execute(sql.SQL(statement).format(role=role, rows=ROWS))
        present = set(connection.introspection.table_names(cursor))
        for table in sorted(taken.keys() & present):
            cursor.execute(
                sql.SQL("REVOKE {} ON {} FROM {}").format(
                    sql.SQL(taken[table]), sql.Identifier(table), role
                )
            )
