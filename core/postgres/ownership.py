"""Who owns the tables, and who merely works with them.

Two roles: the application connects by DATABASE_URL and owns nothing, so it can neither take down
the wall between organizations nor rewrite history. What changes tables or history (`migrate`,
`flush`, `prune_history`, `erase_driver`) connects by DATABASE_OWNER_URL. Where there is no such
URL the application's role does both.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, connections

if TYPE_CHECKING:
    from core.postgres.base import DatabaseWrapper


def is_apart() -> bool:
    """Whether the owner is a role of its own."""
    return bool(settings.DATABASE_OWNER)


def owner_of(wrapper: "DatabaseWrapper") -> "DatabaseWrapper":
    """A connection of the owner to the database of `wrapper`, not yet opened and never pooled."""
    given = wrapper.settings_dict["OPTIONS"]
    options = {name: value for name, value in given.items() if name != "pool"}
    owners = {**wrapper.settings_dict, **settings.DATABASE_OWNER, "OPTIONS": options}
    return type(wrapper)(owners, alias=wrapper.alias)


@contextmanager
def as_owner() -> Iterator[None]:
    """Within the block this thread talks to the database as the owner of its tables.

    On a connection of its own: a transaction that is open already goes on after the block, and
    what it has not committed is not seen within. Does nothing where the owner is at work already,
    or where there is none apart.
    """
    ours: Any = connections[DEFAULT_DB_ALIAS]
    if not is_apart() or ours.settings_dict["USER"] == settings.DATABASE_OWNER["USER"]:
        yield
        return
    owners = owner_of(ours)
    connections[DEFAULT_DB_ALIAS] = owners
    try:
        yield
    finally:
        connections[DEFAULT_DB_ALIAS] = ours
        owners.close()
