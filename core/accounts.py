"""Who is there: organizations, and the users who sign in.

A taken slug or user name comes out of the write itself, as everywhere.
"""

from collections.abc import Mapping
from typing import Any

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import models

from core import services
from core.constraints import keep_rules
from core.errors import Conflict, FieldError, RuleBroken
from core.models import Organization, User


def create_organization(slug: str, name: str) -> Organization:
    """Make an organization.

    Raises:
        RuleBroken: the slug or the name is not acceptable.
    """
    organization = Organization(slug=slug, name=name)
    _keep_rules(organization)
    organization.save(force_insert=True)
    return organization


def create_user(username: str, values: Mapping[str, Any], *, password: str) -> User:
    """Make a user of the admin and the API; `values` are columns such as `organization`, `role`.

    Raises:
        RuleBroken: the name, the password or one of the values is not acceptable.
    """
    user = User(username=username, is_staff=True, **values)
    _set_password(user, password)
    _keep_rules(user)
    user.save(force_insert=True)
    return user


def change_user(user: User, values: Mapping[str, Any], *, password: str | None = None) -> list[str]:
    """Change a user that the caller holds; returns the names of what differed.

    Without a `password` the present one stays. A password that is the present one is no change:
    writing it again would end every token of the user.

    Raises:
        Conflict: the user belongs to another organization; nobody is moved.
        RuleBroken: as for `create_user`.
    """
    organization = values.get("organization", user.organization)
    if user.organization_id and organization != user.organization:
        raise Conflict(f"{user.username} is a user of another organization.")
    changed = services.assign(user, {"is_staff": True, **values})
    if password is not None and not user.check_password(password):
        _set_password(user, password)
        changed.append("password")
    if changed:
        _keep_rules(user)
        user.save(update_fields=changed)
    return changed


def _set_password(user: User, password: str) -> None:
    try:
        validate_password(password, user)
    except ValidationError as error:
        raise RuleBroken(FieldError("password", "weak", told) for told in error.messages) from None
    user.set_password(password)


def _keep_rules(instance: models.Model) -> None:
    """Judge single fields (form, length) as well as the rules of the row."""
    try:
        instance.full_clean(validate_unique=False, validate_constraints=False)
    except ValidationError as error:
        raise RuleBroken(
            FieldError(name, "invalid", told)
            for name, messages in error.message_dict.items()
            for told in messages
        ) from None
    keep_rules(instance)
