"""Statements of the ORM that are compiled once, for what every request asks.

    row = Prepared(lambda: User.objects.filter(pk=Given("user", UUIDField())).values_list("role"))
    row.first(user=…)

Composing a QuerySet and compiling it costs more than what such a statement does. The text is made
at the first use and prepared once per connection; values are bound by the server.
"""

from collections.abc import Callable
from functools import cached_property
from typing import Any

from django.db import connection, models
from django.db.models import Expression
from psycopg.sql import Literal

from core.postgres.base import prepared_cursor


class Given(Expression):
    """A value that each run of the statement brings under this name."""

    def __init__(self, name: str, output_field: "models.Field[Any, Any]") -> None:
        super().__init__(output_field=output_field)
        self.name = name

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, tuple[str | int, ...]]:
        return f"%({self.name})s", ()


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
    def _text(self) -> str:
        return text_of(self._rows())

    def first(self, **given: Any) -> tuple[Any, ...] | None:
        """The first row, or None; as PostgreSQL sends it, past the converters of model fields."""
        with prepared_cursor(connection) as cursor:
            cursor.execute(self._text, given)
            row: tuple[Any, ...] | None = cursor.fetchone()
        return row
