"""What PostgreSQL refuses, in the words of `core.errors`.

The table is section "Transactions and errors" of docs/reliability.md: by SQLSTATE, never by the
class of the exception (a deadlock and a full pool are both `OperationalError`), and by the name of
the constraint, never by the driver's text, which holds values of other rows.
"""

from functools import cache
from typing import Any

import psycopg
import structlog
from django.apps import apps
from django.db import (
    DatabaseError,
    DataError,
    InterfaceError,
    OperationalError,
    connection,
    models,
)
from django.db.models import ProtectedError, RestrictedError

from core.constraints import Told
from core.errors import (
    Conflict,
    FieldError,
    InUse,
    NotFound,
    Refusal,
    RuleBroken,
    Unavailable,
    UnknownReference,
)

log = structlog.stdlib.get_logger("core.database")

RETRYABLE = frozenset({"40001", "40P01"})  # serialization failure, deadlock
# Full, shut down, starting, cancelled, locked, read-only after a fail-over, schema behind the code.
UNAVAILABLE = frozenset({"57014", "55P03", "25006", "25P03", "42P01", "42703"})
UNAVAILABLE_CLASSES = frozenset({"08", "40", "53", "57", "58"})
ROW_SECURITY = "42501"


def sqlstate(error: BaseException) -> str | None:
    """The SQLSTATE behind a Django database error; None where the connection itself failed."""
    cause = error.__cause__
    return cause.sqlstate if isinstance(cause, psycopg.Error) else None


def is_retryable(error: BaseException) -> bool:
    """Whether the same unit of work may well succeed when it is done again from its start."""
    return sqlstate(error) in RETRYABLE


@cache
def _told() -> dict[str, FieldError]:
    """Every constraint that the models declare, by its name in the database."""
    table: dict[str, FieldError] = {}
    editor: Any = connection.schema_editor(collect_sql=True)
    for model in apps.get_models():
        for constraint in model._meta.constraints:
            if isinstance(constraint, Told):
                table[constraint.name] = constraint.told()
        for field in model._meta.local_fields:
            if isinstance(field, models.ForeignKey) and getattr(field, "db_constraint", True):
                target = field.target_field
                suffix = f"_fk_{target.model._meta.db_table}_{target.column}"
                name = editor._create_index_name(model._meta.db_table, [field.column], suffix)
                table[name] = FieldError(
                    field.attname, "unknown-reference", "There is nothing with this id."
                )
            elif field.unique:
                suffix = "pkey" if field.primary_key else f"{field.column}_key"
                table[f"{model._meta.db_table}_{suffix}"] = FieldError(
                    field.name, "taken", "This is taken already."
                )
    return table


def refusal_of(error: BaseException, *, deleting: bool = False) -> Refusal | None:
    """What `error` means to a caller; None if it is a defect of ours.

    `deleting` says that the unit of work deletes: then a foreign key that stands in the way belongs
    to somebody else. Each refusal is logged once, with SQLSTATE and constraint but without values.
    """
    if isinstance(error, ProtectedError | RestrictedError):  # an IntegrityError without SQLSTATE
        return InUse()
    if not isinstance(error, DatabaseError | InterfaceError):
        return None
    state = sqlstate(error)
    diagnosis = error.__cause__.diag if isinstance(error.__cause__, psycopg.Error) else None
    constraint = diagnosis.constraint_name if diagnosis else None
    refusal = _refusal(error, state, diagnosis, deleting=deleting)
    log.warning(
        "database_refused",
        sqlstate=state,
        constraint=constraint,
        code=refusal.code if refusal else "internal-error",
        kind=type(error.__cause__ or error).__name__,
    )
    return refusal


def _refusal(
    error: BaseException,
    state: str | None,
    diagnosis: psycopg.errors.Diagnostic | None,
    *,
    deleting: bool,
) -> Refusal | None:
    if state is None or diagnosis is None:
        if isinstance(error, DataError):  # psycopg's own: NUL in a text
            return _unacceptable()
        lost = isinstance(error, OperationalError | InterfaceError)
        return Unavailable() if lost else None
    told = _told().get(diagnosis.constraint_name or "")
    if state in {"23505", "23P01"}:
        detail = "A field that must be unique is taken." if told else "It is taken."
        return Conflict(detail, [told] if told else [])
    if state in {"23503", "23001"}:
        primary = diagnosis.message_primary or ""
        if deleting or primary.startswith("update or delete"):
            return InUse()
        return UnknownReference([told.field] if told and told.field else [])
    if state == "23514" and told:
        return RuleBroken([told])
    if state == "23502":
        field = diagnosis.column_name
        return RuleBroken([FieldError(field, "required", "A value is needed.")])
    if state in {
        "23514",
        "22001",
        "22003",
        "22P02",
        "22P05",
        "22021",
        "22007",
        "22008",
    }:
        return _unacceptable()
    if state == ROW_SECURITY:
        return NotFound()
    if state in UNAVAILABLE or state[:2] in UNAVAILABLE_CLASSES:
        return Unavailable()
    return None


def _unacceptable() -> RuleBroken:
    return RuleBroken([FieldError(None, "invalid", "A value is not acceptable.")])
