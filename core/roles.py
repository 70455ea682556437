"""Who may do what: one table, read by the API, the admin, the commands and the description.

Which rows somebody may do it to is another question, and `visible_to` answers it.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from rules.permissions import has_perm, set_perm
from rules.predicates import predicate

from core.models import Role, Scope


class Act(StrEnum):
    """What can be done with a thing, in Django's own words."""

    VIEW = "view"
    ADD = "add"
    CHANGE = "change"
    DELETE = "delete"

    @property
    def scope(self) -> Scope:
        """What an API key needs for it."""
        return Scope.READ if self is Act.VIEW else Scope.WRITE


@dataclass(frozen=True)
class Right:
    """The least role that may, and whether those who are bound to terminals may not."""

    role: Role
    unbound: bool = False


VIEWER, DISPATCHER, ADMIN = Right(Role.VIEWER), Right(Role.DISPATCHER), Right(Role.ADMIN)
# What concerns the whole organization: whoever is bound to some terminals could reach beyond them.
UNBOUND_DISPATCHER = Right(Role.DISPATCHER, unbound=True)
UNBOUND_ADMIN = Right(Role.ADMIN, unbound=True)
NOBODY = None  # but superusers

RANKS = (Role.VIEWER, Role.DISPATCHER, Role.ADMIN)


class Row(NamedTuple):
    """What it takes for each act."""

    view: Right | None
    add: Right | None
    change: Right | None
    delete: Right | None


def kept_by(right: Right, *, view: Right = VIEWER) -> Row:
    return Row(view, right, right, right)


TABLE: dict[str, Row] = {
    "orders.order": kept_by(DISPATCHER),
    "documents.orderdocument": kept_by(DISPATCHER),
    # Written by the reading alone; to change it is to have the document read again.
    "documents.orderdocumenttext": Row(VIEWER, NOBODY, DISPATCHER, NOBODY),
    "fleet.driver": kept_by(DISPATCHER),
    "fleet.truck": kept_by(DISPATCHER),
    "fleet.trailer": kept_by(DISPATCHER),
    "terminals.terminal": kept_by(UNBOUND_DISPATCHER),
    "terminals.terminalstaff": kept_by(UNBOUND_ADMIN, view=UNBOUND_ADMIN),
    "core.user": kept_by(UNBOUND_ADMIN, view=UNBOUND_ADMIN),
    "core.apikey": Row(UNBOUND_ADMIN, UNBOUND_ADMIN, UNBOUND_ADMIN, NOBODY),
    "core.organization": Row(ADMIN, NOBODY, NOBODY, NOBODY),
    "account": Row(VIEWER, NOBODY, NOBODY, NOBODY),  # who am I
}


def right_to(act: Act, resource: str | None) -> Right | None:
    """What the table says; None (nobody) too where it says nothing."""
    row = TABLE.get(resource or "")
    right: Right | None = getattr(row, act) if row else None
    return right


def may(who: Any, act: Act, resource: str | None) -> bool:
    """Whether somebody who is signed in, a user or an API key, may do this at all."""
    return bool(has_perm(f"{resource}.{act}", who))


@predicate
def is_superuser(who: Any) -> bool:
    return bool(who.is_superuser)


@predicate
def is_unbound(who: Any) -> bool:
    return not who.bound_terminal_ids


def has_role(least: Role) -> Any:
    enough = frozenset(RANKS[RANKS.index(least) :])
    return predicate(lambda who: getattr(who, "role", None) in enough, name=f"has_role:{least}")


def has_scope(scope: Scope) -> Any:
    """Users have every scope; an API key has its own, and writing includes reading."""
    enough = frozenset({scope, Scope.WRITE})
    return predicate(
        lambda who: getattr(who, "scope", Scope.WRITE) in enough, name=f"has_scope:{scope}"
    )


def _predicate(right: Right | None, act: Act) -> Any:
    if right is None:
        return is_superuser
    allowed = has_role(right.role) & has_scope(act.scope)
    return is_superuser | (allowed & is_unbound if right.unbound else allowed)


for _resource in TABLE:
    for _act in Act:
        set_perm(f"{_resource}.{_act}", _predicate(right_to(_act, _resource), _act))
