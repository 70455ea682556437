"""Pages by number near the beginning, a keyset cursor for walking everything.

The cursor names the last row by its sorting columns, so the next page starts there by index, at any
depth at the cost of the first page, and rows that are added meanwhile neither repeat nor hide any.
"""

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

from django.core import signing
from django.db import models
from django.db.models import Q
from django.utils.http import urlencode
from rest_framework.exceptions import ErrorDetail, ValidationError
from rest_framework.pagination import BasePagination
from rest_framework.response import Response

from core.api.found import MAX_COUNTED, PAGES, Found
from core.api.ordering import Key

MAX_PER_PAGE = 100
DEFAULT_PER_PAGE = 20
CURSOR_FORM = 1  # raise it when the meaning of a cursor changes: older ones are refused then


class RowAfter(models.Func):
    """`(a, b) > (x, y)`, or `<`: a comparison of rows, which one index range answers."""

    output_field = models.BooleanField()
    conditional = True

    def __init__(self, keys: Sequence[Key], values: Sequence[Any], model: Any) -> None:
        fields = [model._meta.get_field(key.name) for key in keys]
        super().__init__(
            *(models.F(key.name) for key in keys),
            *(
                models.Value(value, output_field=field)
                for value, field in zip(values, fields, strict=True)
            ),
        )
        self.sign = "<" if keys[0].descending else ">"

    def as_sql(self, compiler: Any, connection: Any, **_: Any) -> tuple[str, list[Any]]:  # type: ignore[override]
        parts, params = [], []
        for expression in self.source_expressions:
            sql, more = compiler.compile(expression)
            parts.append(sql)
            params.extend(more)
        half = len(parts) // 2
        left, right = ", ".join(parts[:half]), ", ".join(parts[half:])
        return f"({left}) {self.sign} ({right})", params


def rows_after(keys: Sequence[Key], values: Sequence[Any], model: Any) -> list[Q]:
    """Conditions for the rows behind the one with `values`, to be asked one after the other.

    The first column decides how many there are. Where it may be NULL, the rows with a value and
    those without are two ranges of the index, and one condition for both would read from its start.
    A boolean is two ranges too: of a row comparison the planner judges the first column only, and
    takes the larger half of the table for a handful.
    """
    first, value = keys[0], values[0]
    null = Q(**{f"{first.name}__isnull": True})
    if value is None:
        rest = [null & each for each in rows_after(keys[1:], values[1:], model)]
        return rest if first.nulls_last else [*rest, ~null]
    if isinstance(model._meta.get_field(first.name), models.BooleanField):
        equal = Q(**{first.name: value})
        rest = [equal & each for each in rows_after(keys[1:], values[1:], model)]
        return [*rest, _past(first, value)]
    behind = _behind(keys, values, model)
    return [behind, null] if first.nullable and first.nulls_last else [behind]


def _behind(keys: Sequence[Key], values: Sequence[Any], model: Any) -> Q:
    one_way = len({key.descending for key in keys}) == 1
    if one_way and not any(key.nullable for key in keys[1:]):
        return Q(RowAfter(keys, values, model))
    condition, equal = Q(pk__in=[]), Q()
    for key, value in zip(keys, values, strict=True):
        condition |= equal & _past(key, value)
        equal &= Q(**{f"{key.name}__isnull": True}) if value is None else Q(**{key.name: value})
    first = keys[0]
    if values[0] is not None:  # implied by the rest, but only this bounds the index range
        condition &= Q(**{f"{first.name}__{'lte' if first.descending else 'gte'}": values[0]})
    return condition


def _past(key: Key, value: Any) -> Q:
    null = Q(**{f"{key.name}__isnull": True})
    if value is None:
        return Q(pk__in=[]) if key.nulls_last else ~null
    past = Q(**{f"{key.name}__{'lt' if key.descending else 'gt'}": value})
    return past | null if key.nullable and key.nulls_last else past


def _refuse(parameter: str, code: str, message: str) -> ValidationError:
    return ValidationError({parameter: [ErrorDetail(message, code=code)]})


class ContractPagination(BasePagination):
    """Both styles of the contract; which one is asked for shows in the query."""

    parameters = PAGES

    # ------------------------------------------------------------------------------ the request

    def paginate_queryset(self, queryset: Any, request: Any, view: Any = None) -> list[Any]:
        """The page's rows as instances."""
        self._read_request(request)
        if self.cursor is not None:
            return self._walked(queryset, view.sorting)
        start = self._start()
        total = Found(queryset, view.sorting, is_chosen=True).count()
        self._count(total)
        return list(queryset[start : start + self.per_page]) if start < total else []

    def ids(self, request: Any, found: Callable[[], Found]) -> list[Any]:
        """The ids of the page's rows, which are `found`; the parameters of the page come first.

        Nothing is joined for rows that other pages show.
        """
        self._read_request(request)
        if self.cursor is not None:
            these = found()
            names = [key.name for key in these.keys]
            return [row.id for row in self._walked(these.rows, these.keys, names)]
        start = self._start()
        total, ids = self._numbered(found(), start)
        self._count(total)
        return ids

    def _read_request(self, request: Any) -> None:
        self.request = request
        given = request.query_params
        for name in self.parameters:
            if len(given.getlist(name)) > 1:
                raise _refuse(name, "repeated", "Given more than once.")
        self.per_page = self._number("per_page", DEFAULT_PER_PAGE, MAX_PER_PAGE)
        self.cursor: str | None = given.get("cursor")
        if self.cursor is not None and "page" in given:
            raise _refuse("page", "page-or-cursor", "Either a page or a cursor.")

    def _number(self, name: str, default: int, most: int) -> int:
        raw = self.request.query_params.get(name)
        if raw is None:
            return default
        if not (raw.isascii() and raw.isdigit() and len(raw) <= 20 and int(raw) >= 1):
            raise _refuse(name, "invalid", "A whole number from 1 on.")
        if int(raw) > most:
            raise _refuse(name, "max_value", f"At most {most}.")
        return int(raw)

    # --------------------------------------------------------------------------- pages by number

    def _start(self) -> int:
        """How many rows are before the page that is asked for."""
        self.page = self._number("page", 1, 10**20)
        if self.page * self.per_page > MAX_COUNTED:
            raise _refuse(
                "page",
                "too-deep",
                f"Pages are served up to the {MAX_COUNTED:,}th row; walk further with ?cursor=.",
            )
        return (self.page - 1) * self.per_page

    def _numbered(self, found: Found, start: int) -> tuple[int, list[Any]]:
        """How many rows there are, and the ids of those of the page."""
        return found.page(start, self.per_page)

    def _count(self, total: int) -> None:
        """Tell where the page stands among so many."""
        page, exact = self.page, total <= MAX_COUNTED
        total = min(total, MAX_COUNTED)
        more = (page + 1) * self.per_page <= MAX_COUNTED and page * self.per_page < total
        self.envelope: dict[str, Any] = {
            "page": page,
            "per_page": self.per_page,
            "total": total,
            "total_exact": exact,
            "pages": -(-total // self.per_page) if exact else None,
            "next": self._address(page=page + 1) if more else None,
            "previous": self._address(page=page - 1) if page > 1 else None,
        }

    # ----------------------------------------------------------------------------------- cursors

    def _walked(self, queryset: Any, keys: Sequence[Key], names: Sequence[str] = ()) -> list[Any]:
        """The rows behind the cursor; of those with `names`, these columns."""
        backwards, values = False, None
        if self.cursor:
            backwards, values = self._read(self.cursor, keys, queryset.model)
        walked = [key.backwards() for key in keys] if backwards else keys
        queryset = queryset.order_by(*(key.expression() for key in walked))
        wanted = self.per_page + 1
        rows: list[Any] = []
        for condition in rows_after(walked, values, queryset.model) if values else [Q()]:
            some = queryset.filter(condition)
            some = some.values_list(*names, named=True) if names else some
            rows += some[: wanted - len(rows)]
            if len(rows) == wanted:
                break
        more = len(rows) == wanted
        rows = rows[: self.per_page]
        if backwards:
            rows.reverse()
        ahead, behind = (True, more) if backwards else (more, values is not None)
        self.envelope = {
            "next": self._position(rows[-1], keys, False) if rows and ahead else None,
            "previous": self._position(rows[0], keys, True) if rows and behind else None,
        }
        return rows

    def _position(self, row: Any, keys: Sequence[Key], backwards: bool) -> str:
        values = [
            None if getattr(row, key.name) is None else str(getattr(row, key.name)) for key in keys
        ]
        position = [CURSOR_FORM, self._walk(), int(backwards), values]
        return self._address(cursor=signing.dumps(position, salt="cursor", compress=True))

    def _read(self, cursor: str, keys: Sequence[Key], model: Any) -> tuple[bool, list[Any]]:
        try:
            form, walk, backwards, raw = signing.loads(cursor, salt="cursor")
            if form == CURSOR_FORM and walk == self._walk():
                fields = [model._meta.get_field(key.name) for key in keys]
                return bool(backwards), [
                    field.to_python(value) for field, value in zip(fields, raw, strict=True)
                ]
        except (signing.BadSignature, ValueError, TypeError):
            pass
        raise _refuse(
            "cursor",
            "invalid",
            "Not a cursor of this list with these filters; start with ?cursor=.",
        )

    def _walk(self) -> str:
        """What a cursor belongs to: this list, filtered and sorted so, as one tenant sees it."""
        parameters = sorted(
            (name, values)
            for name, values in self.request.query_params.lists()
            if name not in {"cursor", "per_page"}
        )
        owner = getattr(self.request.user, "organization_id", None)
        seen = repr((self.request.path, parameters, str(owner)))
        return hashlib.sha256(seen.encode()).hexdigest()[:16]

    # -------------------------------------------------------------------------------- the answer

    def _address(self, **changes: Any) -> str:
        parameters = {**dict(self.request.query_params.lists()), **changes}
        if self.per_page != DEFAULT_PER_PAGE or "page" in changes:
            parameters["per_page"] = self.per_page
        return f"{self.request.path}?{urlencode(parameters, doseq=True)}"

    def get_paginated_response(self, data: Any) -> Response:
        return Response({"data": data, **self.envelope})

    def get_paginated_response_schema(self, schema: Any) -> dict[str, Any]:
        link = {
            "type": "string",
            "nullable": True,
            "example": "/api/v1/orders?page=2&per_page=20",
        }
        return {
            "type": "object",
            "required": ["data", "next", "previous"],
            "properties": {
                "data": schema,
                "page": {"type": "integer", "minimum": 1},
                "per_page": {"type": "integer", "minimum": 1, "maximum": MAX_PER_PAGE},
                "total": {"type": "integer", "minimum": 0, "maximum": MAX_COUNTED},
                "total_exact": {"type": "boolean"},
                "pages": {"type": "integer", "nullable": True},
                "next": link,
                "previous": link,
            },
        }

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        def parameter(name: str, description: str, schema: dict[str, Any]) -> dict[str, Any]:
            return {
                "name": name,
                "required": False,
                "in": "query",
                "description": description,
                "schema": schema,
            }

        return [
            parameter(
                "page",
                f"Number of the page, from 1, up to the {MAX_COUNTED:,}th row; not with `cursor`.",
                {"type": "integer", "minimum": 1},
            ),
            parameter(
                "per_page",
                "Rows per page.",
                {
                    "type": "integer",
                    "minimum": 1,
                    "maximum": MAX_PER_PAGE,
                    "default": DEFAULT_PER_PAGE,
                },
            ),
            parameter(
                "cursor",
                "Empty to begin a walk over everything; then what `next` or `previous` says.",
                {"type": "string"},
            ),
        ]
