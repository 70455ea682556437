"""How a row is made, changed and deleted when nothing else hangs on it.

Each is part of the caller's transaction. What the database alone can see, a taken name or a
foreign key that vanished meanwhile, comes out of the write itself, so that a look beforehand and a
lost race cannot differ.
"""

from collections.abc import Mapping
from typing import Any, TypeVar

from django.db import models
from django.db.models import ProtectedError

from core.constraints import keep_rules
from core.errors import InUse, NotAllowed
from core.models import Principal, TenantModel, TimestampedModel

M = TypeVar("M", bound=TimestampedModel)


def home_of(who: Principal) -> Any:
    """The id of the organization in which `who` makes new rows.

    Raises:
        NotAllowed: a superuser belongs to none.
    """
    if who.organization_id is None:
        raise NotAllowed("You belong to no organization, so nothing of its can be made by you.")
    return who.organization_id


def create(model: type[TenantModel], values: Mapping[str, Any], *, by: Principal) -> Any:
    """Make a row of the organization of `by` from `values`; returns it as stored.

    Raises:
        RuleBroken: the values break a rule of the model.
    """
    instance = model(organization_id=home_of(by), **values)
    keep_rules(instance)
    instance.save_new()
    return instance


def assign(instance: models.Model, values: Mapping[str, Any]) -> list[str]:
    """Set `values` on `instance`; returns the names of those that differ from what was there."""
    changed = [name for name, value in values.items() if getattr(instance, name) != value]
    for name in changed:
        setattr(instance, name, values[name])
    return changed


def update(instance: M, values: Mapping[str, Any]) -> M:
    """Change a row that the caller holds; writes nothing where `values` change nothing.

    Raises:
        RuleBroken: the row would break a rule of its model.
    """
    changed = assign(instance, values)
    if changed:
        keep_rules(instance)
        instance.save_changes(changed)
    return instance


def delete(instance: models.Model) -> None:
    """Delete a row that the caller holds.

    Raises:
        InUse: others point to it.
    """
    try:
        instance.delete()
    except ProtectedError:
        raise InUse from None
