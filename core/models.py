"""Organizations, users, and what every row of the house has in common."""

import uuid
from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any, ClassVar, TypeAlias

import pgtrigger
from django.contrib.auth.models import AbstractUser, UserManager
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.functional import cached_property

from core import cache, cache_listener, history, writing
from core.constraints import Rule, Unique, referable
from core.fields import LineField, RateField
from core.ids import new_id
from core.querysets import (
    ApiKeyQuerySet,
    ReferenceQuerySet,
    TenantQuerySet,
    TokenFamilyQuerySet,
)
from core.rates import EXAMPLE, NOT_A_RATE, RATE

HOW_TO_LIMIT = f"{EXAMPLE}, for each user and key; empty: as everywhere in this installation."


class TimestampedModel(models.Model):
    """A row with a UUIDv7, and two instants (UTC) that the database's own clock sets."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    updated_at = models.DateTimeField(db_default=Now(), editable=False)

    # What the database sets by itself at each change, and `save_changes` reads back.
    kept_by_database: ClassVar[tuple[str, ...]] = ("updated_at",)

    class Meta:
        abstract = True
        triggers: ClassVar[list[pgtrigger.Trigger]] = [
            # Later than any earlier value even if the clock was set back: nobody who asks for
            # "changed since" may miss a change.
            pgtrigger.Trigger(
                name="touch",
                operation=pgtrigger.Update,
                when=pgtrigger.Before,
                condition=pgtrigger.AnyChange(),
                func="NEW.updated_at = greatest(clock_timestamp(),"
                " OLD.updated_at + interval '1 microsecond'); RETURN NEW;",
            )
        ]

    def save_new(self) -> None:
        """Write this row, which is new, and read back what the database set: one statement."""
        writing.insert(self)

    def save_changes(self, names: Iterable[str]) -> None:
        """Write only the columns of the fields `names`, and read back what the database set.

        One statement, `UPDATE … RETURNING`; the caller holds the row.
        """
        writing.update(self, names, returning=self.kept_by_database)


@history.tracked()
class Organization(TimestampedModel):
    """The company that runs terminals with Dockside: the tenant."""

    slug = models.SlugField(max_length=50)
    name = LineField(max_length=120)
    # How often each of its users and keys may do what: `600/minute`; empty is as the installation.
    limit_read = RateField(max_length=32, blank=True, default="", help_text=HOW_TO_LIMIT)
    limit_write = RateField(max_length=32, blank=True, default="", help_text=HOW_TO_LIMIT)
    limit_upload = RateField(max_length=32, blank=True, default="", help_text=HOW_TO_LIMIT)
    require_two_factor = models.BooleanField(
        "two-factor sign-in",
        default=False,
        db_default=False,
        help_text="To sign in to the admin, a code from an authenticator app is needed too.",
    )

    class Meta(TimestampedModel.Meta):
        constraints = [
            Unique(fields=["slug"], name="core_organization_slug_unique", field="slug"),
            *(
                Rule(
                    name=f"core_organization_{name}_is_rate",
                    condition=Q(**{name: ""}) | Q(**{f"{name}__regex": RATE}),
                    field=name,
                    code="invalid",
                    message=NOT_A_RATE,
                )
                for name in ("limit_read", "limit_write", "limit_upload")
            ),
            Rule(
                name="core_organization_name_not_empty",
                condition=~Q(name=""),
                field="name",
                code="required",
                message="An organization has a name.",
            ),
        ]

    def __str__(self) -> str:
        return self.name


class Role(models.TextChoices):
    ADMIN = "admin"
    DISPATCHER = "dispatcher"
    VIEWER = "viewer"


class Scope(models.TextChoices):
    """What an API key is for; writing includes reading."""

    READ = "read"
    WRITE = "write"


class BoundToTerminals:
    """Somebody who may be bound to terminals: `terminals` are which; none means all."""

    @cached_property
    def bound_terminal_ids(self) -> Collection[uuid.UUID]:
        """Their ids; `with_bound_terminals` loads them together with the row."""
        return list(self.terminals.values_list("pk", flat=True))  # type: ignore[attr-defined]


@history.tracked(exclude=["password", "last_login"])
class User(BoundToTerminals, AbstractUser):
    """Somebody who signs in: of one organization with one role, or a superuser of the installation.

    The terminals a user is bound to are `terminals`; none means all of the organization's.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    organization = models.ForeignKey(
        Organization,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="users",
    )
    role = models.CharField(max_length=16, choices=Role.choices, default=Role.VIEWER)
    # For people and for history; what is asked for at sign-in are the devices themselves.
    two_factor_since = models.DateTimeField("second step since", null=True, editable=False)

    objects: ClassVar[UserManager] = UserManager()

    class Meta:
        constraints = [
            referable("core_user"),
            Rule(
                name="core_user_has_organization_unless_superuser",
                condition=Q(is_superuser=True) | Q(organization__isnull=False),
                field="organization",
                code="required",
                message="Everyone but a superuser belongs to an organization.",
            ),
            Rule(
                name="core_user_role_known",
                condition=Q(role__in=Role.values),
                field="role",
                code="invalid_choice",
                message="No such role.",
            ),
        ]


class TenantModel(TimestampedModel):
    """A row that belongs to one organization."""

    # No index of its own: each table has one that is led by the organization.
    organization = models.ForeignKey(
        Organization,
        on_delete=models.PROTECT,
        db_index=False,
        editable=False,
        related_name="%(class)ss",
    )

    objects = TenantQuerySet.as_manager()

    class Meta(TimestampedModel.Meta):
        abstract = True


class ReferenceModel(TenantModel):
    """A row that is looked up all day: the API reads it through `core.cache`, as `cached_as`.

    Whatever changes rows through Django lets the cache forget on commit; the trigger tells of any
    other change.
    """

    cached_as: ClassVar[str]

    objects: ClassVar[ReferenceQuerySet] = ReferenceQuerySet.as_manager()  # type: ignore[assignment]

    class Meta(TenantModel.Meta):
        abstract = True
        triggers: ClassVar[list[pgtrigger.Trigger]] = [
            *TenantModel.Meta.triggers,
            pgtrigger.Trigger(
                name="tell_cache",
                level=pgtrigger.Statement,
                when=pgtrigger.After,
                operation=pgtrigger.Insert
                | pgtrigger.Update
                | pgtrigger.Delete
                | pgtrigger.Truncate,
                func=cache_listener.TELL,
            ),
        ]

    def save(self, *args: Any, **options: Any) -> None:
        super().save(*args, **options)
        self._forget()

    def save_new(self) -> None:
        super().save_new()
        self._forget()

    def save_changes(self, names: Iterable[str]) -> None:
        super().save_changes(names)
        self._forget()

    def delete(self, *args: Any, **options: Any) -> tuple[int, dict[str, int]]:
        deleted = super().delete(*args, **options)
        self._forget()
        return deleted

    def _forget(self) -> None:
        cache.forget(self.cached_as, self.organization_id)


@history.tracked(exclude=["hashed_key", "last_used_at", "updated_at"])
class ApiKey(BoundToTerminals, TenantModel):
    """What a program signs in with: of one organization, with a scope, for as long as it is usable.

    The key itself is shown once, when it is made, and kept as a hash only; `prefix` is its first
    part, by which it is found and which people may see. The terminals a key is bound to are
    `terminals`; none means all of the organization's. `last_used_at` is right to the minute.
    """

    Scope = Scope

    name = LineField(max_length=120)
    prefix = models.CharField(max_length=16, editable=False)
    hashed_key = models.CharField(max_length=150, editable=False)
    scope = models.CharField(max_length=8, choices=Scope.choices, default=Scope.READ)
    expires_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, editable=False)
    revoked_at = models.DateTimeField(null=True, editable=False)
    replaces = models.ForeignKey(
        "self",
        on_delete=models.SET_NULL,
        db_index=False,
        null=True,
        editable=False,
        related_name="replaced_by",
    )
    created_by = models.ForeignKey(
        User,
        on_delete=models.SET_NULL,
        db_index=False,
        null=True,
        editable=False,
        related_name="made_keys",
    )

    objects: ClassVar[ApiKeyQuerySet] = ApiKeyQuerySet.as_manager()  # type: ignore[assignment]

    # What services and `visible_to` ask of whoever acts, a user or a key.
    is_authenticated = is_active = True
    is_anonymous = is_superuser = is_staff = False

    class Meta(TenantModel.Meta):
        verbose_name = "API key"
        constraints = [
            referable("core_apikey"),
            Unique(fields=["prefix"], name="core_apikey_prefix_unique", field="prefix"),
            Rule(
                name="core_apikey_name_not_empty",
                condition=~Q(name=""),
                field="name",
                code="required",
                message="A key has a name.",
            ),
            Rule(
                name="core_apikey_scope_known",
                condition=Q(scope__in=Scope.values),
                field="scope",
                code="invalid_choice",
                message="No such scope.",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix})"

    @property
    def role(self) -> Role:
        """A key does what a dispatcher does, or a viewer; it never looks after people and keys."""
        return Role.DISPATCHER if self.scope == Scope.WRITE else Role.VIEWER

    def state(self, now: datetime) -> str:
        """In one word: is it usable, and if not, why."""
        if self.revoked_at:
            return "revoked"
        return "expired" if self.expires_at and self.expires_at <= now else "usable"


class TokenFamily(TimestampedModel):
    """One sign-in to the API, and the refresh tokens that followed from it.

    It belongs to the organization of its user: the wall is the user's own. `updated_at` tells when
    it was last refreshed, `expires_at` when its newest refresh token ends.
    """

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="token_families")
    current_jti = models.CharField(max_length=32)
    expires_at = models.DateTimeField()
    revoked_at = models.DateTimeField(null=True)

    objects: ClassVar[TokenFamilyQuerySet] = TokenFamilyQuerySet.as_manager()  # type: ignore[assignment]

    class Meta(TimestampedModel.Meta):
        verbose_name_plural = "token families"
        indexes = [
            # Which ones to forget.
            models.Index(fields=["expires_at"], name="core_tokenfamily_by_expiry"),
        ]

    def __str__(self) -> str:
        return f"{self.user} since {self.created_at:%Y-%m-%d %H:%M}"


Principal: TypeAlias = User | ApiKey
