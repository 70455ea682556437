"""Who is signed in to the API: the refresh tokens that followed from one sign-in are one family.

Of each family only the newest refresh token is good. An older one that comes again was copied, by
a thief or from the rightful owner: nobody can tell which, so the whole family ends.
"""

import uuid
from datetime import datetime

import structlog
from django.utils import timezone

from core.models import TokenFamily, User

log = structlog.stdlib.get_logger("core.token_families")


class TokenReused(Exception):
    """A refresh token came again after it had been exchanged for a newer one."""

    def __init__(self, family_id: uuid.UUID) -> None:
        super().__init__()
        self.family_id = family_id


def begin(user: User, jti: str, *, expires_at: datetime) -> TokenFamily:
    """`user` has signed in; `jti` is the id of the first refresh token."""
    return TokenFamily.objects.create(user=user, current_jti=jti, expires_at=expires_at)


def go_on(family_id: uuid.UUID, *, used: str, newer: str, expires_at: datetime) -> None:
    """Exchange the refresh token `used` for `newer`; of two at once, one comes first.

    Raises:
        TokenFamily.DoesNotExist: it was signed out.
        TokenReused: `used` is not the newest.
    """
    family = TokenFamily.objects.select_for_update().live().get(pk=family_id)
    if family.current_jti != used:
        raise TokenReused(family_id)
    family.current_jti, family.expires_at = newer, expires_at
    family.save_changes(["current_jti", "expires_at"])


def end(family_id: uuid.UUID) -> None:
    """Sign out: no token of the family, access tokens included, is good from here on."""
    TokenFamily.objects.live().filter(pk=family_id).update(revoked_at=timezone.now())


def forget(*, before: datetime) -> int:
    """Delete the families whose newest refresh token ended before that; returns how many."""
    count, _ = TokenFamily.objects.filter(expires_at__lt=before).delete()
    return count
