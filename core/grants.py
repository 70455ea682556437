"""What the application's role may do with tables that another role owns.

Rows of every table come and go by its hand, but for two kinds: history it adds to and reads, and
which migrations were run it only reads. It alters, empties and drops nothing, nor does it make
temporary tables: one would stand before the real one for whoever has the connection next.
"""

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, connection, transaction
from django.db.migrations.recorder import MigrationRecorder
from psycopg import sql

from core import history
from core.postgres.ownership import is_apart

ROWS = sql.SQL("SELECT, INSERT, UPDATE, DELETE")

OWN_DATABASE = """
    SELECT datname FROM pg_database
    WHERE datname = current_database() AND pg_has_role(datdba, 'USAGE')
"""


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
        cursor.execute(OWN_DATABASE)
        for (name,) in cursor.fetchall():  # none where the database belongs to somebody else
            revoked = sql.SQL("REVOKE TEMPORARY ON DATABASE {} FROM PUBLIC")
            cursor.execute(revoked.format(sql.Identifier(name)))
        present = set(connection.introspection.table_names(cursor))
        for table in sorted(taken.keys() & present):
            cursor.execute(
                sql.SQL("REVOKE {} ON {} FROM {}").format(
                    sql.SQL(taken[table]), sql.Identifier(table), role
                )
            )
