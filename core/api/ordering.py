"""Sorting: only by what a list offers, nulls last both ways, and `id` settles ties."""

from dataclasses import dataclass, replace
from typing import Any

from django.db import connection
from django.db.models import F
from django.db.models.expressions import OrderBy
from rest_framework.exceptions import ErrorDetail, ValidationError
from rest_framework.filters import BaseFilterBackend


@dataclass(frozen=True)
class Key:
    """One column of a sorting; `nulls_last` matters only where there are nulls."""

    name: str
    descending: bool
    nullable: bool = False
    nulls_last: bool = True

    def backwards(self) -> "Key":
        """The same column, walked the other way."""
        return replace(self, descending=not self.descending, nulls_last=not self.nulls_last)

    def expression(self) -> OrderBy:
        nulls: dict[str, Any] = {}
        if self.nullable:
            nulls = {"nulls_last": True} if self.nulls_last else {"nulls_first": True}
        return OrderBy(F(self.name), descending=self.descending, **nulls)

    def as_sql(self, model: Any) -> str:
        """The same as text, for a statement in which the column has no table."""
        column = connection.ops.quote_name(model._meta.get_field(self.name).column)
        nulls = (" NULLS LAST" if self.nulls_last else " NULLS FIRST") if self.nullable else ""
        return f"{column} {'DESC' if self.descending else 'ASC'}{nulls}"


class StrictOrdering(BaseFilterBackend):
    """`?ordering=eta_date,-created_at`.

    A view names what it offers in `ordering_fields` and its default in `ordering`, the latter
    without `id`, which is added in the direction of the last field.
    """

    parameter = "ordering"

    def keys(self, request: Any, view: Any, model: Any) -> list[Key]:
        """The columns to sort by, `id` last.

        Raises:
            ValidationError: a field that is not offered, or named twice.
        """
        given = request.query_params.getlist(self.parameter)
        names = ",".join(given).split(",") if given else list(view.ordering)
        plain = [name.removeprefix("-") for name in names]
        if len(given) > 1:
            self._refuse("repeated", "Given more than once.")
        if not set(plain) <= set(view.ordering_fields):
            self._refuse("invalid_choice", f"Sorts by {', '.join(view.ordering_fields)}.")
        if len(set(plain)) < len(plain):
            self._refuse("repeated", "A field is named twice.")
        keys = [
            Key(name, given_name.startswith("-"), model._meta.get_field(name).null)
            for name, given_name in zip(plain, names, strict=True)
        ]
        return [*keys, Key("id", keys[-1].descending)]

    def _refuse(self, code: str, message: str) -> None:
        raise ValidationError({self.parameter: [ErrorDetail(message, code=code)]})

    def filter_queryset(self, request: Any, queryset: Any, view: Any) -> Any:
        view.sorting = self.keys(request, view, queryset.model)
        return queryset.order_by(*(key.expression() for key in view.sorting))

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        one = "-?(" + "|".join(view.ordering_fields) + ")"
        return [
            {
                "name": self.parameter,
                "required": False,
                "in": "query",
                "description": (
                    "Fields to sort by, with commas between, `-` for descending:"
                    f" {', '.join(view.ordering_fields)}. Nulls come last, `id` settles ties."
                    f" Default: `{','.join(view.ordering)}`."
                ),
                "schema": {"type": "string", "pattern": f"^{one}(,{one})*$"},
            }
        ]
