"""API keys: made, found, replaced and withdrawn.

Of djangorestframework-api-key the generator and the hash are used. Its model is not: there the hash
is part of the primary key, which goes into addresses, logs and history, and a key knows neither an
organization nor a successor.
"""

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any

import structlog
from django.db import DatabaseError, InterfaceError
from django.utils import timezone
from rest_framework_api_key.crypto import KeyGenerator

from core import services, tenancy
from core.constraints import keep_rules
from core.errors import Conflict, FieldError, RuleBroken, UnknownReference
from core.models import ApiKey, Organization, TenantModel, User
from core.querysets import with_bound_terminals

log = structlog.stdlib.get_logger("core.keys")

NOTED_EVERY = timedelta(minutes=1)


class _Generator(KeyGenerator):
    """190 bits after a prefix by which people, and scanners for leaked secrets, know our keys."""

    def get_prefix(self) -> str:
        return f"dk_{super().get_prefix()}"


_generator = _Generator()


def create_key(
    organization: Organization,
    name: str,
    *,
    scope: str,
    terminals: Collection[TenantModel] = (),
    expires_at: datetime | None = None,
    by: User | None = None,
) -> tuple[ApiKey, str]:
    """Make a key; returns it, and its text, which nobody can find out later.

    Raises:
        RuleBroken: the name or the scope is not acceptable, or it would have expired already.
        UnknownReference: a terminal is another organization's.
    """
    if expires_at and expires_at <= timezone.now():
        raise RuleBroken([FieldError("expires_at", "in-past", "This is over already.")])
    key = ApiKey(
        organization=organization, name=name, scope=scope, expires_at=expires_at, created_by=by
    )
    return _made(key, terminals)


def rotate_key(key: ApiKey, *, overlap: timedelta, by: User | None = None) -> tuple[ApiKey, str]:
    """Make the successor of a key that the caller holds; the old one lasts for the `overlap`.

    The successor has the same name, scope and terminals, and lasts as long as the old one was
    meant to last, from now on.

    Raises:
        Conflict: the key is not usable any more, or has a successor already.
    """
    now = timezone.now()
    if key.state(now) != "usable":
        raise Conflict(f"{key} is {key.state(now)}: make a new key instead.")
    if key.replaced_by.filter(revoked_at=None).exists():
        raise Conflict(f"{key} has a successor already.")
    lifetime = key.expires_at - key.created_at if key.expires_at else None
    successor = ApiKey(
        organization_id=key.organization_id,
        name=key.name,
        scope=key.scope,
        expires_at=now + lifetime if lifetime else None,
        replaces=key,
        created_by=by,
    )
    made = _made(successor, list(key.terminals.all()))
    end = now + overlap
    services.update(key, {"expires_at": min(key.expires_at, end) if key.expires_at else end})
    return made


def revoke_key(key: ApiKey) -> bool:
    """Withdraw a key that the caller holds, from its next request on; whether it was not before."""
    if key.revoked_at:
        return False
    services.update(key, {"revoked_at": timezone.now()})
    return True


def find_key(given: str) -> ApiKey | None:
    """The usable key with this text, over all organizations."""
    prefix, _, _ = given.partition(".")
    usable = ApiKey.objects.usable(timezone.now()).select_related("organization")
    key = with_bound_terminals(usable).filter(prefix=prefix).first()
    return key if key and _generator.verify(given, key.hashed_key) else None


def note_use(who: Any) -> None:
    """Remember that a key is in use, in a transaction of its own; of others than keys, nothing.

    At most once a minute, nobody waits for anybody, and no request fails because of it.
    """
    now = timezone.now()
    if not isinstance(who, ApiKey) or (who.last_used_at and now - who.last_used_at < NOTED_EVERY):
        return
    who.last_used_at = now  # it may be asked about again (core.api.limited)
    free = ApiKey.objects.filter(pk=who.pk).select_for_update(skip_locked=True)
    try:
        with tenancy.within(who.organization_id):
            ApiKey.objects.filter(pk__in=free.values("pk")).update(last_used_at=now)
    except (DatabaseError, InterfaceError):
        log.warning("key_use_not_noted", prefix=who.prefix)


def _made(key: ApiKey, terminals: Collection[TenantModel]) -> tuple[ApiKey, str]:
    if any(terminal.organization_id != key.organization_id for terminal in terminals):
        raise UnknownReference(["terminals"])
    text, key.prefix, key.hashed_key = _generator.generate()
    keep_rules(key)
    key.save(force_insert=True)
    bound: Any = key.terminals
    bound.set(terminals, through_defaults={"organization_id": key.organization_id})
    return key, text
