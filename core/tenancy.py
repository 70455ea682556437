"""Whose rows the database shows: row-level security, set for a transaction and never longer.

Every table with rows of an organization has a policy (`core.row_security`) that compares
`organization_id` with the setting `dockside.organization`. It is transaction-local: a pooled
connection cannot carry it to the next caller, and where nobody has set it there are no rows.

Work over all organizations, a superuser's or a command's, goes through `everyone`, and says why.
Who does it goes along in the same statement, for `core.history`.
"""

import logging
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import structlog
from django.db import connection, transaction
from django.db.transaction import TransactionManagementError

from core import history
from core.postgres.base import prepared_cursor

log = structlog.stdlib.get_logger("core.tenancy")

_SETTINGS = ("dockside.organization", "dockside.everyone", history.SETTING)
_SET = "SELECT {}, {}".format(
    ", ".join(f"current_setting('{name}', true)" for name in _SETTINGS),
    ", ".join(f"set_config('{name}', %s, true)" for name in _SETTINGS),
)


def _set(organization: str, everyone: str, source: str | None = None) -> list[str]:
    """Set all three, and return what they were; the `source` is the present one unless given."""
    if not connection.in_atomic_block:
        raise TransactionManagementError("A tenant is set within a transaction only.")
    with prepared_cursor(connection) as cursor:
        given = history.setting() if source is None else source
        cursor.execute(_SET, [organization, everyone, given])
        before = cursor.fetchone()
    return [value or "" for value in before[: len(_SETTINGS)]]


def _restore(before: list[str]) -> None:
    if not connection.needs_rollback:  # a rollback brings it back by itself
        _set(*before)


def enter(organization_id: uuid.UUID | str | None) -> None:
    """From here to the end of the transaction, only this organization's rows exist; None: none do.

    Raises:
        TransactionManagementError: there is no transaction.
    """
    _set(str(organization_id or ""), "")


def enter_everyone(why: str) -> None:
    """From here to the end of the transaction the rows of all organizations exist; logged."""
    _set("", "on")
    # To find out who somebody is happens at each request; it is no news.
    (log.debug if why == "sign-in" else log.info)("tenant_wall_lifted", why=why)


def enter_for(user: Any) -> None:
    """From here to the end of the transaction, what `user` may see exists: a superuser sees all.

    It is `user` who writes from here on.
    """
    history.acts(history.actor_of(user))
    if user.is_superuser:
        enter_everyone("superuser")
    else:
        enter(user.organization_id)


def sign(user: Any) -> None:
    """From here on it is `user` who writes; no statement if that is known.

    For who was let in by its organization alone (`enter`), before anybody knew the name.
    """
    if history.acts(history.actor_of(user)):
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config(%s, %s, true)", [history.SETTING, history.setting()])


@contextmanager
def unit_of_work() -> Iterator[None]:
    """A transaction that leaves the tenant as it was, also where it is part of a larger one."""
    nested = connection.in_atomic_block
    with transaction.atomic():
        before = _set("", "") if nested else None
        yield
        if before:
            _restore(before)


@contextmanager
def within(organization_id: uuid.UUID) -> Iterator[None]:
    """A transaction in which only this organization's rows exist."""
    with transaction.atomic():
        before = _set(str(organization_id), "")
        yield
        _restore(before)


@contextmanager
def everyone(why: str, *, level: int = logging.DEBUG) -> Iterator[None]:
    """A transaction in which the rows of all organizations exist.

    `why` goes to the log, by default on the level DEBUG: standard error is where a command refuses.
    """
    with transaction.atomic():
        before = _set("", "on")
        log.log(level, "tenant_wall_lifted", why=why)
        yield
        _restore(before)
