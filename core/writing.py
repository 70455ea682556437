"""Rows are written as they stand in memory, and what the database set comes back: one statement.

Django composes and compiles each INSERT and UPDATE anew, and PostgreSQL plans it anew. Here a
statement is the same text whenever the same columns are written, and prepared once per connection.
No signals are sent: what follows from a change is a trigger's business, or a service's.
"""

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from django.db import connections, models, router
from django.db.models.expressions import DatabaseDefault

from core.postgres.base import prepared_cursor
from core.prepared import untyped

KINDS_KEPT = 500  # as many different sets of columns; more are made anew


def insert(row: models.Model) -> None:
    """Write a new row; what it has no value for, the database sets and tells."""
    given: list[Any] = []
    unset: list[Any] = []
    for field in row._meta.local_concrete_fields:
        is_unset = isinstance(getattr(row, field.attname), DatabaseDefault)
        (unset if is_unset else given).append(field)
    _write(_insert, row, given, unset)
    row._state.adding = False


def update(row: models.Model, names: Iterable[str], *, returning: Iterable[str]) -> None:
    """Write the fields `names` of a row that is there, and read those that are `returning`."""
    of: Any = row._meta.get_field
    _write(_update, row, [of(name) for name in names], [of(name) for name in returning])


def _write(text_of: Any, row: Any, given: list[Any], returned: list[Any]) -> None:
    using = router.db_for_write(type(row), instance=row)
    connection = connections[using]
    kind = (row._meta.db_table, _columns(given), _columns(returned))
    values = {
        field.column: untyped(field.get_db_prep_save(getattr(row, field.attname), connection))
        for field in (row._meta.pk, *given)
    }
    with prepared_cursor(connection) as cursor:
        cursor.execute(text_of(*kind), values)
        _, *told = cursor.fetchone()
    for field, value in zip(returned, told, strict=True):
        setattr(row, field.attname, value)
    row._state.db = using


def _columns(fields: Iterable[Any]) -> tuple[str, ...]:
    return tuple(field.column for field in fields)


@lru_cache(KINDS_KEPT)
def _insert(table: str, given: tuple[str, ...], returned: tuple[str, ...]) -> str:
    places = ", ".join(f"%({name})s" for name in given)
    return f'INSERT INTO "{table}" ({_names(given)}) VALUES ({places}) {_told(returned)}'  # noqa: S608


@lru_cache(KINDS_KEPT)
def _update(table: str, given: tuple[str, ...], returned: tuple[str, ...]) -> str:
    sets = ", ".join(f'"{name}" = %({name})s' for name in given)
    return f'UPDATE "{table}" SET {sets} WHERE "id" = %(id)s {_told(returned)}'  # noqa: S608


def _told(returned: tuple[str, ...]) -> str:
    return f"RETURNING {_names(('id', *returned))}"


def _names(names: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)
