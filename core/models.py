"""Organizations, users, and what every row of the house has in common."""

from collections.abc import Iterable
from typing import Any, ClassVar

import pgtrigger
from django.contrib.auth.models import AbstractUser, UserManager
from django.db import connections, models, router
from django.db.models import Q, sql
from django.db.models.functions import Now

from core.constraints import Rule, Unique
from core.fields import LineField
from core.ids import new_id
from core.querysets import TenantQuerySet


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

    def save_changes(self, names: Iterable[str]) -> None:
        """Write only the columns of the fields `names`, and read back what the database set.

        One statement, `UPDATE … RETURNING`; the caller holds the row.
        """
        using = router.db_for_write(type(self), instance=self)
        fields: list[Any] = [self._meta.get_field(name) for name in names]
        returned: list[Any] = [self._meta.get_field(name) for name in self.kept_by_database]
        query: Any = type(self)._base_manager.filter(pk=self.pk).query.chain(sql.UpdateQuery)
        query.add_update_fields([(field, None, getattr(self, field.attname)) for field in fields])
        connection = connections[using]
        statement, params = query.get_compiler(connection=connection).as_sql()
        columns = ", ".join(connection.ops.quote_name(field.column) for field in returned)
        with connection.cursor() as cursor:
            cursor.execute(f"{statement} RETURNING {columns}", params)
            for field, value in zip(returned, cursor.fetchone(), strict=True):
                setattr(self, field.attname, value)


class Organization(TimestampedModel):
    """The company that runs terminals with Dockside: the tenant."""

    slug = models.SlugField(max_length=50)
    name = LineField(max_length=120)

    class Meta(TimestampedModel.Meta):
        constraints = [
            Unique(fields=["slug"], name="core_organization_slug_unique", field="slug"),
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


class User(AbstractUser):
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

    objects: ClassVar[UserManager] = UserManager()

    class Meta:
        constraints = [
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
