"""Makes the triggers of the library deaf to what a session says.

As pgtrigger makes them, whoever can run SQL can also run it unrecorded: the setting
`pgtrigger.ignore` names triggers that shall do nothing, and a temporary table with the name of an
event table takes the events in. Neither is of use here, so both ends. Each trigger is the quicker
for it: to read a setting that is not there costs a subtransaction.
"""

from django.db import connection, transaction
from psycopg import sql

# pgtrigger writes its own version again with each trigger that a migration makes.
_IGNORED = "_pgtrigger_should_ignore"
_NEVER = "SELECT false"
_HEEDS = f"SELECT FROM pg_proc WHERE oid = to_regproc('public.{_IGNORED}') AND prosrc <> '{_NEVER}'"
_HEED_NOTHING = f"""
CREATE OR REPLACE FUNCTION public.{_IGNORED}(trigger_name name) RETURNS boolean
LANGUAGE sql IMMUTABLE AS '{_NEVER}'
"""
# Functions that write into tables by their bare names, and look for them wherever a session says.
_LOST = r"""
SELECT proname FROM pg_proc
WHERE pronamespace = 'public'::regnamespace AND prorettype = 'trigger'::regtype
  AND proname LIKE 'pgtrigger\_%' AND prosrc ~ 'INSERT INTO' AND proconfig IS NULL
ORDER BY proname
"""
_LOOK_HERE = "ALTER FUNCTION public.{}() SET search_path = public, pg_temp"


def harden() -> None:
    """Do so with all that are there, as their owner; again is safe. No table is locked."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(_HEEDS)
        if cursor.rowcount:
            cursor.execute(_HEED_NOTHING)
        cursor.execute(_LOST)
        for (name,) in cursor.fetchall():
            cursor.execute(sql.SQL(_LOOK_HERE).format(sql.Identifier(name)))
