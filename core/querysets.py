"""Words that every QuerySet of ours knows."""

from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

from django.contrib.auth.models import AnonymousUser
from django.contrib.postgres.aggregates import ArrayAgg
from django.contrib.postgres.expressions import ArraySubquery
from django.db import models
from django.db.models import Q

from core import cache

if TYPE_CHECKING:
    from core.models import ApiKey, Principal, TokenFamily  # noqa: F401

M = TypeVar("M", bound=models.Model, covariant=True)
Q_ = TypeVar("Q_", bound=models.QuerySet)


class Joined(models.Func):
    """Texts that are never NULL, one behind the other.

    Django's `Concat` takes precautions against NULL, and PostgreSQL would not use an index that has
    them for rows behind row-level security: COALESCE counts as something that could tell a secret.
    """

    template = "(%(expressions)s)"
    arg_joiner = " || "
    output_field = models.TextField()


class Among(models.Func):
    """Whether the column `name` is the key of a row of `rows`: `name = ANY (ARRAY(…))`.

    With `key`, whether it is that column of a row.

    Like `__in`, but the rows are looked up once, before all else, and then by index: the planner
    never joins a whole table with what it takes for many rows.
    """

    template = "%(expressions)s)"
    arg_joiner = " = ANY("
    output_field = models.BooleanField()
    conditional = True

    def __init__(self, name: str, rows: models.QuerySet[Any], *, key: str = "pk") -> None:
        super().__init__(models.F(name), ArraySubquery(rows.order_by().values(key)))


class TenantQuerySet(models.QuerySet[M]):
    """Rows that belong to one organization each."""

    # Where a row names its terminal, if it belongs to one: those who are bound to terminals see
    # only the rows of theirs.
    terminal_path: ClassVar[str | None] = None

    def visible_to(self, who: "Principal | AnonymousUser") -> Self:
        """Rows of the organization of `who`, at its terminals where it is bound to some.

        Every row for a superuser; none for nobody.
        """
        if who.is_superuser:
            return self
        organization_id: Any = getattr(who, "organization_id", None)
        if not organization_id:
            return self.none()
        rows = self.filter(organization_id=organization_id)
        if self.terminal_path and (bound := who.bound_terminal_ids):  # type: ignore[union-attr]
            rows = rows.filter(**{f"{self.terminal_path}__in": bound})
        return rows

    def locked(self) -> Self:
        """Hold the rows until the transaction ends, in the order of their keys.

        Only the rows themselves are held, not what they are joined with.
        """
        return self.select_for_update(of=("self",)).order_by("pk")


class ReferenceQuerySet(TenantQuerySet[M]):
    """Rows that are read through `core.cache`: whatever changes some lets it forget all of them.

    Of one row `ReferenceModel` knows whose it is; here it may be anybody's.
    """

    def update(self, **values: Any) -> int:
        changed = super().update(**values)
        self._forget()
        return changed

    def delete(self) -> tuple[int, dict[str, int]]:
        deleted = super().delete()
        self._forget()
        return deleted

    def bulk_create(self, objs: Any, *args: Any, **options: Any) -> list[Any]:
        made = super().bulk_create(objs, *args, **options)
        self._forget()
        return made

    update.alters_data = delete.alters_data = bulk_create.alters_data = True  # type: ignore[attr-defined]
    delete.queryset_only = True  # type: ignore[attr-defined]

    def _forget(self) -> None:
        model: Any = self.model
        cache.forget(model.cached_as)


class ApiKeyQuerySet(TenantQuerySet["ApiKey"]):
    def usable(self, now: datetime) -> Self:
        """Neither revoked nor expired."""
        lasting = Q(expires_at__isnull=True) | Q(expires_at__gt=now)
        return self.filter(lasting, revoked_at__isnull=True)


class TokenFamilyQuerySet(models.QuerySet["TokenFamily"]):
    def live(self) -> Self:
        """Neither signed out nor ended because a used token came again."""
        return self.filter(revoked_at__isnull=True)


def with_bound_terminals(rows: Q_) -> Q_:
    """Users or keys, each with its `bound_terminal_ids`: no statement of their own."""
    ids = ArrayAgg(
        "terminal_links__terminal_id", filter=Q(terminal_links__isnull=False), default=[]
    )
    return rows.annotate(bound_terminal_ids=ids)
