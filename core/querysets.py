"""Words that every QuerySet of ours knows."""

from typing import TYPE_CHECKING, Any, Self, TypeVar

from django.contrib.auth.models import AnonymousUser
from django.contrib.postgres.expressions import ArraySubquery
from django.db import models

if TYPE_CHECKING:
    from core.models import User

M = TypeVar("M", bound=models.Model, covariant=True)


class Among(models.Func):
    """Whether the column `name` is the key of a row of `rows`: `name = ANY (ARRAY(…))`.

    Like `__in`, but the rows are looked up once, before all else, and then by index: the planner
    never joins a whole table with what it takes for many rows.
    """

    template = "%(expressions)s)"
    arg_joiner = " = ANY("
    output_field = models.BooleanField()
    conditional = True

    def __init__(self, name: str, rows: models.QuerySet[Any]) -> None:
        super().__init__(models.F(name), ArraySubquery(rows.order_by().values("pk")))


class TenantQuerySet(models.QuerySet[M]):
    """Rows that belong to one organization each."""

    def visible_to(self, user: "User | AnonymousUser") -> Self:
        """Rows of the user's organization; every row for a superuser; none for nobody."""
        if user.is_superuser:
            return self
        organization_id: Any = getattr(user, "organization_id", None)
        return self.filter(organization_id=organization_id) if organization_id else self.none()

    def locked(self) -> Self:
        """Hold the rows until the transaction ends, in the order of their keys.

        Only the rows themselves are held, not what they are joined with.
        """
        return self.select_for_update(of=("self",)).order_by("pk")
