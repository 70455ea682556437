"""Statements of the ORM that are compiled once, for what every request asks.

    row = Prepared(lambda: User.objects.filter(pk=Given("user", UUIDField())).values_list("role"))
    row.first(user=…)

Composing a QuerySet and compiling it costs more than what such a statement does. The text is made
at the first use and prepared once per connection; values are bound by the server.
"""

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, time
from decimal import Decimal
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from django.db import connection, models
from django.db.models import Expression
from django.db.models.query import get_related_populators
from psycopg.sql import Literal

from core.postgres.base import prepared_cursor

if TYPE_CHECKING:
    from core.models import Principal

_SCALARS = (int, Decimal, uuid.UUID, date, time)


def untyped(value: Any) -> Any:
    """`value` as a text, which PostgreSQL reads as what the statement needs there; None stays.

    A statement is prepared for the types of its values: small numbers and large ones, or a day and
    none, would each be another statement.
    """
    return str(value) if isinstance(value, _SCALARS) else value


class Given(Expression):
    """A value that each run of the statement brings under this name."""

    def __init__(self, name: str, output_field: "models.Field[Any, Any]") -> None:
        super().__init__(output_field=output_field)
        self.name = name

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, tuple[str | int, ...]]:
        return f"%({self.name})s", ()


class GivenMany(Given):
    """Some values, as `pk__in=GivenMany("ids", UUIDField())` takes them."""

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, tuple[str | int, ...]]:
        kind = self.output_field.db_type(connection)
        return f"(SELECT unnest(%({self.name})s::{kind}[]))", ()


def text_of(rows: Any) -> str:
    """The SQL of a QuerySet: what is `Given` stays open, every other value is part of the text."""
    sql, params = rows.query.sql_with_params()
    first, *others = str(sql).split("%s")
    literals = (Literal(value).as_string().replace("%", "%%") for value in params)
    return first + "".join(literal + part for literal, part in zip(literals, others, strict=True))


class Prepared:
    """The statement of a QuerySet of `values_list`, whichever values are `Given`."""

    def __init__(self, rows: Callable[[], Any]) -> None:
        self._rows = rows

    @cached_property
    def text(self) -> str:
        """The SQL, in which what is `Given` stands by its name."""
        return text_of(self._rows())

    def first(self, **given: Any) -> tuple[Any, ...] | None:
        """The first row, or None; as PostgreSQL sends it, past the converters of model fields."""
        with prepared_cursor(connection) as cursor:
            cursor.execute(self.text, given)
            row: tuple[Any, ...] | None = cursor.fetchone()
        return row

    def all(self, **given: Any) -> list[tuple[Any, ...]]:
        """Every row, as PostgreSQL sends it."""
        with prepared_cursor(connection) as cursor:
            cursor.execute(self.text, given)
            rows: list[tuple[Any, ...]] = cursor.fetchall()
        return rows


class PreparedOne(Prepared):
    """The statement of a QuerySet of instances, joined with what they refer to."""

    def one(self, **given: Any) -> Any | None:
        """The first row as an instance, what it is joined with at hand; None where there is none.

        Its values are as PostgreSQL sends them, past the converters of model fields.
        """
        row = self.first(**given)
        return None if row is None else self._made(row)

    def each(self, **given: Any) -> list[Any]:
        """Every row as an instance, as `one` makes it."""
        return [self._made(row) for row in self.all(**given)]

    def _made(self, row: tuple[Any, ...]) -> Any:
        model, columns, names, joined = self._shape
        made = model.from_db(connection.alias, names, row[columns])
        for populator in joined:
            populator.populate(row, made)
        return made

    @cached_property
    def _shape(self) -> tuple[Any, slice, list[str], list[Any]]:
        """How instances are made of the columns: as Django's `ModelIterable` does."""
        compiler: Any = self._rows().query.get_compiler(connection.alias)
        compiler.pre_sql_setup()
        select, told = compiler.select, compiler.klass_info
        columns = slice(told["select_fields"][0], told["select_fields"][-1] + 1)
        names = [column.target.attname for column, *_ in select[columns]]
        # The type stubs are those of a later Django.
        joined: Any = get_related_populators(told, select, connection.alias)  # type: ignore[call-arg]
        return told["model"], columns, names, joined


@dataclass(frozen=True)
class Whoever:
    """Stands for the caller where `visible_to` becomes part of a prepared statement."""

    is_superuser: bool
    is_bound: bool

    organization_id: ClassVar[Given] = Given("organization_id", models.UUIDField())

    @property
    def bound_terminal_ids(self) -> Any:
        return GivenMany("terminal_ids", models.UUIDField()) if self.is_bound else ()


class PreparedFor:
    """The statement of a QuerySet that depends on who asks, which the function is given."""

    def __init__(self, rows: Callable[[Whoever], Any]) -> None:
        self._rows = rows
        self._prepared: dict[Whoever, PreparedOne] = {}

    def all(self, who: "Principal", **given: Any) -> list[tuple[Any, ...]]:
        """Every row of `values_list` that `who` sees, as PostgreSQL sends it."""
        prepared, theirs = self._for(who)
        return prepared.all(**theirs, **given)

    def one(self, who: "Principal", **given: Any) -> Any | None:
        """The first instance that `who` sees, as `PreparedOne` makes it, or None."""
        prepared, theirs = self._for(who)
        return prepared.one(**theirs, **given)

    def statement(self, who: "Principal", **given: Any) -> tuple[str, dict[str, Any]]:
        """The SQL for `who`, and the values that it takes: a part of a larger statement."""
        prepared, theirs = self._for(who)
        return prepared.text, theirs | given

    def _for(self, who: "Principal") -> tuple[PreparedOne, dict[str, Any]]:
        bound = [] if who.is_superuser else list(who.bound_terminal_ids)
        kind = Whoever(who.is_superuser, bool(bound))
        if kind not in self._prepared:
            self._prepared[kind] = PreparedOne(lambda: self._rows(kind))
        return self._prepared[kind], {"organization_id": who.organization_id, "terminal_ids": bound}
