"""A serializer's answer, made by PostgreSQL: rows that never become objects on their way out.

    listed = Rows(OrderOut)
    listed.page(ids)       # orjson.Fragment: [{"id": …}, …], in the order of the ids
    listed.one(sql, given) # (orjson.Fragment: {"id": …},), or None
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
from collections.abc import Collection, Mapping
from functools import cached_property
from typing import Any, ClassVar

import orjson
from django.core.exceptions import FieldDoesNotExist, ImproperlyConfigured
from django.db import connection, models
from django.db.models import Case, Expression, F, Func, TextField, Value, When
from rest_framework import serializers

from core.api.fields import AmountField
from core.postgres.base import prepared_cursor
from core.prepared import text_of

MAX_FIELDS = 49  # PostgreSQL's functions take a hundred arguments


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

    def __init__(self, column: Any, template: str) -> None:
        super().__init__(column)
        self.template = template.replace("%", "%%").replace("{}", "%(expressions)s")


class _Object(Func):
    """The text of a JSON object: its keys, in their order, are written into the statement.

    The values are texts of JSON already. `json_build_object` would find out the type of each value
    anew in each row, and escape each key: it takes three times as long.
    """

    function = "concat"
    output_field = TextField()

    def __init__(self, members: dict[str, Any]) -> None:
        unfit = [name for name in members if not re.fullmatch(r"[a-z][a-z0-9_]*", name)]
        if unfit or len(members) > MAX_FIELDS:
            raise NotCompilable(f"No object of {MAX_FIELDS} plain names: {unfit or len(members)}.")
        super().__init__(*members.values())
        self.keys = list(members)

    def as_sql(self, compiler: Any, connection: Any, **_: Any) -> tuple[str, list[Any]]:  # type: ignore[override]
        parts: list[str] = []
        params: list[Any] = []
        for key, expression in zip(self.keys, self.source_expressions, strict=True):
            sql, more = compiler.compile(expression)
            parts += [f"""'{"," if parts else "{"}"{key}":'""", sql]
            params.extend(more)
        return f"{self.function}({', '.join(parts)}, '}}')", params


_GIVEN = "__ids__"  # where they stand in the text of a statement


class _IsGiven(Func):
    """Whether the column is among the ids that each run of the statement brings."""

    template = f"%(expressions)s = ANY({_GIVEN})"
    output_field = models.BooleanField()
    conditional = True


# Any value as JSON: PostgreSQL writes it as the serializer does, and escapes what has to be.
_ANY = "to_json({})"
_BARE = "{}::text"
_QUOTED = """'"' || {} || '"'"""  # for what holds nothing to be escaped
# Instants and times as Python's `isoformat` writes them: six digits of fraction, or none.
_INSTANT = (
    "CASE WHEN {} = date_trunc('second', {})"
    """ THEN to_char({} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')"""
    """ ELSE to_char({} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') END"""
)
_CLOCK = "CASE WHEN {} = {}::time(0) THEN {}::text ELSE to_char({}, 'HH24:MI:SS.US') END"

# By the function that makes a serializer's value: the columns that it is known for, and the SQL.
FORMS: dict[Any, tuple[tuple[type[models.Field], ...], str]] = {
    serializers.CharField.to_representation: ((models.CharField, models.TextField), _ANY),
    serializers.ChoiceField.to_representation: ((models.CharField,), _ANY),
    serializers.UUIDField.to_representation: ((models.UUIDField,), _QUOTED),
    serializers.IntegerField.to_representation: ((models.IntegerField,), _BARE),
    serializers.BooleanField.to_representation: ((models.BooleanField,), _BARE),
    serializers.DateField.to_representation: ((models.DateField,), _ANY),
    AmountField.to_representation: ((models.DecimalField,), _ANY),
    serializers.DateTimeField.to_representation: (
        (models.DateTimeField,),
        _QUOTED.replace("{}", f"({_INSTANT})"),
    ),
    serializers.TimeField.to_representation: (
        (models.TimeField,),
        _QUOTED.replace("{}", f"({_CLOCK})"),
    ),
}


def _or_null(form: str) -> str:
    return f"coalesce({form}, 'null')"


_OPTIONS = {"format": None, "uuid_format": "hex_verbose"}  # with others a value looks otherwise


# --------------------------------------------------------------------------------------- compiling


def compiled(serializer: serializers.BaseSerializer[Any], prefix: str = "") -> Expression:
    """The SQL expression for the JSON of a row as this serializer shows it, as a text.

    Raises:
        NotCompilable: one of its fields is none that this module knows.
    """
    model: Any = serializer.Meta.model  # type: ignore[attr-defined]
    fields: dict[str, serializers.Field] = serializer.fields  # type: ignore[attr-defined]
    return _Object({name: _member(model, field, prefix) for name, field in fields.items()})


def _member(model: Any, field: serializers.Field, prefix: str) -> Any:
    if isinstance(field, Computed):
        return _Template(field.expression, _or_null(_ANY))
    try:
        column = model._meta.get_field(field.source)
    except FieldDoesNotExist:
        raise _unknown(model, field) from None
    path = f"{prefix}{field.source}"
    if isinstance(field, serializers.ModelSerializer):
        if not column.many_to_one or type(field).to_representation is not _NESTED:
            raise _unknown(model, field)
        return Case(
            When(**{f"{path}__isnull": True}, then=_NULL), default=compiled(field, f"{path}__")
        )
    kinds, form = FORMS.get(type(field).to_representation, ((), ""))
    usual = all(getattr(field, name, usual) == usual for name, usual in _OPTIONS.items())
    if not isinstance(column, kinds) or not usual:
        raise _unknown(model, field)
    # What is joined may be missing even where the column is NOT NULL.
    return _Template(F(path), _or_null(form) if column.null or prefix else form)


_NESTED = serializers.Serializer.to_representation
_NULL = Value("null", output_field=TextField())


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
            cursor.execute(self._page, {"ids": f"{{{','.join(map(str, ids))}}}"})
            (text,) = cursor.fetchone()
        return orjson.Fragment(f"[{text or ''}]")

    def one(self, sought: str, given: Mapping[str, Any]) -> tuple[Any, ...] | None:
        """The row with the id that a statement finds, and before it the columns `beside`.

        None where it finds none. One statement, prepared once for each that is `sought`.
        """
        with prepared_cursor(connection) as cursor:
            cursor.execute(self._one.replace(_GIVEN, f"ARRAY({sought})"), given)
            found = cursor.fetchone()
        return (*found[:-1], orjson.Fragment(found[-1])) if found else None

    @cached_property
    def _page(self) -> str:
        # As one text: to send fifty ids as an array of psycopg's takes ten times as long.
        model: Any = self.serializer.Meta.model
        ids = f"%(ids)s::{model._meta.pk.db_type(connection)}[]"
        rows = self._statement("pk").replace(_GIVEN, ids)
        return (
            f"SELECT string_agg(made, ',' ORDER BY array_position({ids}, id))"  # noqa: S608
            f" FROM ({rows}) AS found (id, made)"
        )

    @cached_property
    def _one(self) -> str:
        return self._statement(*self.beside)

    def _statement(self, *names: str) -> str:
        """Some columns and the JSON of the rows whose ids stand in _GIVEN."""
        model: Any = self.serializer.Meta.model
        row = compiled(self.serializer())
        rows = model._base_manager.filter(_IsGiven(F("pk"))).values_list(*names, row)
        return text_of(rows)
