"""A serializer's answer, made by PostgreSQL: rows that never become objects on their way out.

    listed = Rows(OrderOut)
    listed.page(ids)       # orjson.Fragment: [{"id": …}, …], in the order of the ids
    listed.one(queryset)   # (orjson.Fragment: {"id": …},), or None
    listed.of(order)       # {"id": …}: of an instance that is at hand, by the serializer itself

The serializer stays the one declaration: `Rows` compiles its fields into one SQL expression, and
the JSON text that PostgreSQL makes of it goes into the answer as it is. What a serializer's own
`data` would say is what comes out, value for value; a property test holds the two together.

Which rows, and in which order, is the caller's: it finds their ids (a QuerySet's business, with
filters, visibility and pages) and the related tables are looked up for these alone. The statement
is the same text for each page, so PostgreSQL prepares it once per connection.

What can be compiled:

- a field whose `to_representation` stands in FORMS, over a column of the model;
- a nested serializer over a foreign key, of such fields;
- a `Computed`, whose value is no column, and which says its SQL itself.

Anything else raises `NotCompilable` when the `Rows` is made, which is when its view is imported: a
process that could only answer slowly, or otherwise than described, does not start.
"""

import re
from collections.abc import Callable, Collection
from functools import cached_property
from typing import Any, ClassVar

import orjson
from django.core.exceptions import EmptyResultSet, FieldDoesNotExist, ImproperlyConfigured
from django.db import connection, models
from django.db.models import Case, Expression, F, Func, TextField, When
from django.db.models.functions import Cast
from rest_framework import serializers

from core.api.fields import AmountField
from core.postgres.base import prepared_cursor
from core.prepared import text_of

MAX_FIELDS = 50  # PostgreSQL's functions take a hundred arguments


class NotCompilable(ImproperlyConfigured):
    """A serializer has a field that is neither a column, nor a nested one, nor computed."""


class Computed(serializers.Field):
    """A value that is no column: `expression` makes it in SQL, `value_of` of an instance.

    A subclass names both; they say the same. An app that comes later may fill in the two of a class
    of an earlier one, before the first request.
    """

    expression: ClassVar[Expression | F]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "read_only": True, "source": "*"})

    @classmethod
    def value_of(cls, instance: Any) -> Any:
        raise NotImplementedError

    def to_representation(self, value: Any) -> Any:
        return self.value_of(value)


# ------------------------------------------------------------------------------------- expressions


class _Template(Func):
    """An expression written out: `{}` is the column."""

    output_field = TextField()

    def __init__(self, column: Expression, template: str) -> None:
        super().__init__(column)
        self.template = template.replace("%", "%%").replace("{}", "%(expressions)s")


class _Object(Func):
    """`json_build_object`, its keys written into the statement; they keep their order."""

    function = "json_build_object"
    output_field = models.JSONField()

    def __init__(self, members: dict[str, Any]) -> None:
        unfit = [name for name in members if not re.fullmatch(r"[a-z][a-z0-9_]*", name)]
        if unfit or len(members) > MAX_FIELDS:
            raise NotCompilable(f"No object of {MAX_FIELDS} plain names: {unfit or len(members)}.")
        super().__init__(*members.values())
        self.keys = list(members)

    def as_sql(self, compiler: Any, connection: Any, **_: Any) -> tuple[str, list[Any]]:  # type: ignore[override]
        parts, params = [], []
        for key, expression in zip(self.keys, self.source_expressions, strict=True):
            sql, more = compiler.compile(expression)
            parts.append(f"'{key}', {sql}")
            params.extend(more)
        return f"{self.function}({', '.join(parts)})", params


_GIVEN = "__ids__"  # where they stand in the text of a statement


class _IsGiven(Func):
    """Whether the column is among the ids that each run of the statement brings."""

    template = f"%(expressions)s = ANY({_GIVEN})"
    output_field = models.BooleanField()
    conditional = True


# Instants and times as Python's `isoformat` writes them: six digits of fraction, or none.
_INSTANT = (
    "CASE WHEN {} = date_trunc('second', {})"
    """ THEN to_char({} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')"""
    """ ELSE to_char({} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') END"""
)
_CLOCK = "CASE WHEN {} = {}::time(0) THEN {}::text ELSE to_char({}, 'HH24:MI:SS.US') END"


def _plain(column: Expression) -> Any:
    return column  # JSON of PostgreSQL writes it as the serializer does


# By the function that makes a serializer's value: the columns that it is known for, and the SQL.
FORMS: dict[Any, tuple[tuple[type[models.Field], ...], Callable[[Any], Any]]] = {
    serializers.CharField.to_representation: ((models.CharField, models.TextField), _plain),
    serializers.ChoiceField.to_representation: ((models.CharField,), _plain),
    serializers.UUIDField.to_representation: ((models.UUIDField,), _plain),
    serializers.IntegerField.to_representation: ((models.IntegerField,), _plain),
    serializers.BooleanField.to_representation: ((models.BooleanField,), _plain),
    serializers.DateField.to_representation: ((models.DateField,), _plain),
    AmountField.to_representation: ((models.DecimalField,), _plain),
    serializers.DateTimeField.to_representation: (
        (models.DateTimeField,),
        lambda column: _Template(column, _INSTANT),
    ),
    serializers.TimeField.to_representation: (
        (models.TimeField,),
        lambda column: _Template(column, _CLOCK),
    ),
}
_OPTIONS = {"format": None, "uuid_format": "hex_verbose"}  # with others a value looks otherwise


# --------------------------------------------------------------------------------------- compiling


def compiled(serializer: serializers.BaseSerializer[Any], prefix: str = "") -> Expression:
    """The SQL expression for the JSON of a row as this serializer shows it.

    Raises:
        NotCompilable: one of its fields is none that this module knows.
    """
    model: Any = serializer.Meta.model  # type: ignore[attr-defined]
    fields: dict[str, serializers.Field] = serializer.fields  # type: ignore[attr-defined]
    return _Object({name: _member(model, field, prefix) for name, field in fields.items()})


def _member(model: Any, field: serializers.Field, prefix: str) -> Any:
    if isinstance(field, Computed):
        return field.expression
    try:
        column = model._meta.get_field(field.source)
    except FieldDoesNotExist:
        raise _unknown(model, field) from None
    path = f"{prefix}{field.source}"
    if isinstance(field, serializers.ModelSerializer):
        if not column.many_to_one or type(field).to_representation is not _NESTED:
            raise _unknown(model, field)
        return Case(
            When(**{f"{path}__isnull": True}, then=None), default=compiled(field, f"{path}__")
        )
    kinds, form = FORMS.get(type(field).to_representation, ((), _plain))
    usual = all(getattr(field, name, usual) == usual for name, usual in _OPTIONS.items())
    if not isinstance(column, kinds) or not usual:
        raise _unknown(model, field)
    return form(F(path))


_NESTED = serializers.Serializer.to_representation


def _unknown(model: Any, field: serializers.Field) -> NotCompilable:
    return NotCompilable(
        f"{type(field.parent).__name__}.{field.field_name} is not to be had from"
        f" {model._meta.label} by SQL: make it a column, a brief or a Computed."
    )


class Rows:
    """The rows of a ModelSerializer as JSON; `beside` are columns that `one` returns with it.

    Raises:
        NotCompilable: the serializer has a field that cannot be made by SQL.
    """

    def __init__(
        self, serializer: type[serializers.ModelSerializer[Any]], *, beside: Collection[str] = ()
    ) -> None:
        self.serializer, self.beside = serializer, list(beside)
        self._reference = serializer()
        compiled(self._reference)

    def of(self, instance: Any) -> Any:
        """The same of an instance that is at hand, by the serializer; no statement.

        One serializer does for all: making its fields costs ten times what they are made for.
        """
        return self._reference.to_representation(instance)

    def page(self, ids: Collection[Any]) -> orjson.Fragment:
        """An array of the rows with these ids, in their order; one statement, none for no ids."""
        if not ids:
            return orjson.Fragment(b"[]")
        with prepared_cursor(connection) as cursor:
            cursor.execute(self._page, {"ids": list(ids)})
            (text,) = cursor.fetchone()
        return orjson.Fragment(f"[{text or ''}]")

    def one(self, rows: Any) -> tuple[Any, ...] | None:
        """The one row of a QuerySet, and before it the columns `beside`; None where there is none.

        One statement, prepared once for each form that the QuerySet can have.
        """
        try:
            sought, params = rows.order_by().values("pk").query.sql_with_params()
        except EmptyResultSet:
            return None
        with prepared_cursor(connection) as cursor:
            cursor.execute(self._one.replace(_GIVEN, f"ARRAY({sought})"), params)
            found = cursor.fetchone()
        return (*found[:-1], orjson.Fragment(found[-1])) if found else None

    @cached_property
    def _page(self) -> str:
        rows = self._statement("pk").replace(_GIVEN, "%(ids)s")
        return (
            "SELECT string_agg(made, ',' ORDER BY array_position(%(ids)s, id))"  # noqa: S608
            f" FROM ({rows}) AS found (id, made)"
        )

    @cached_property
    def _one(self) -> str:
        return self._statement(*self.beside)

    def _statement(self, *names: str) -> str:
        """Some columns and the JSON of the rows whose ids stand in _GIVEN."""
        model: Any = self.serializer.Meta.model
        row = Cast(compiled(self.serializer()), TextField())
        rows = model._base_manager.filter(_IsGiven(F("pk"))).values_list(*names, row)
        return text_of(rows)
