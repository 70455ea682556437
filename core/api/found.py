"""Which rows a list is asked for, as statements that are worked out once for each question.

Programs ask for the same lists all day. To judge the parameters, compose a QuerySet and compile it
takes longer than PostgreSQL needs to answer; so what came of it is remembered, under everything
that it depends on: the list, the parameters, and who asks, as far as `visible_to` looks at that.
Only a `timeless` filter may be among the parameters. Which rows there are is asked anew each time.
"""

from collections.abc import Callable, Hashable, Sequence
from typing import Any

from django.core.exceptions import EmptyResultSet
from django.db import connection

from core.api.filters import StrictFilterSet
from core.api.ordering import Key, StrictOrdering

MAX_COUNTED = 10_000
FEW = 500  # rows that are sooner sorted than found in order
REMEMBERED = 500  # questions, of each process
LONGEST = 1_000  # characters of a question that is remembered

CURSOR = "cursor"
PAGES = ("page", "per_page", CURSOR)


class Found:
    """The rows of a QuerySet in an order.

    `is_chosen` says that filters choose them: there may be a handful of them among a million.
    `rows` is the QuerySet, or None where the statements are remembered: it is ten times their size.
    """

    def __init__(self, rows: Any, keys: Sequence[Key], *, is_chosen: bool) -> None:
        self.rows, self.keys, self._is_chosen = rows, keys, is_chosen
        self._order = ", ".join(key.as_sql(rows.model) for key in keys)
        found = rows.order_by().values_list(*(key.name for key in keys))
        try:
            self._sql, self._params = found.query.sql_with_params()
        except EmptyResultSet:
            self._sql, self._params = "", ()

    def count(self) -> int:
        """How many rows there are, counting no further than one beyond MAX_COUNTED."""
        if not self._sql:
            return 0
        (total,) = self._first(f"SELECT {self._total}", times=1)
        return int(total)

    def page(self, start: int, count: int) -> tuple[int, list[str]]:
        """How many rows there are, as `count` says, and the ids of `count` of them from `start`.

        Asked for the first rows in some order, the planner may read all rows in that order, in the
        hope of meeting enough that pass the filters: endless where only a handful does. So a few
        rows are all found before they are sorted, and only more than that are looked for in order.
        The planner does not look into a subquery with an OFFSET.
        """
        if not self._sql:
            return 0, []
        some = f"ORDER BY {self._order} LIMIT {count} OFFSET {start}"
        in_order = f"ARRAY(SELECT id FROM ({self._sql}) AS found {some})::text"  # noqa: S608
        if not self._is_chosen:
            total, ids = self._first(f"SELECT {self._total}, {in_order}", times=2)
            return total, _listed(ids)
        total, ids = self._first(
            f"WITH counted AS MATERIALIZED (SELECT {self._total} AS total)"  # noqa: S608
            f" SELECT total, CASE WHEN total <= {FEW} THEN"
            f" ARRAY(SELECT id FROM ({self._sql} OFFSET 0) AS few {some})::text END FROM counted",
            times=2,
        )
        if start >= total:
            return total, []
        if ids is None:
            (ids,) = self._first(f"SELECT {in_order}", times=1)
        return total, _listed(ids)

    @property
    def _total(self) -> str:
        return f"(SELECT count(*) FROM ({self._sql} LIMIT {MAX_COUNTED + 1}) AS counted)"  # noqa: S608

    def _first(self, sql: str, *, times: int) -> Any:
        """The first row of a statement in which the QuerySet's own stands so many times."""
        with connection.cursor() as cursor:
            cursor.execute(sql, self._params * times)
            return cursor.fetchone()


def _listed(ids: str) -> list[str]:
    """An array of UUIDs as PostgreSQL writes it."""
    return ids[1:-1].split(",") if len(ids) > 2 else []


_remembered: dict[Hashable, Found] = {}


def remembered(view: Any, composed: Callable[[], Found]) -> Found:
    """What the view's request asks for: as it was `composed` last time, if that is still known."""
    question = _question(view)
    if question is None:
        return composed()
    found = _remembered.get(question)
    if found is None:
        found = composed()
        found.rows = None
        if len(_remembered) >= REMEMBERED:
            _remembered.clear()
        _remembered[question] = found
    return found


def _question(view: Any) -> Hashable | None:
    """What the statements depend on; None where it is more than the question."""
    who, given = view.request.user, view.request.query_params
    filters: type[StrictFilterSet] | None = view.filterset_class
    timeless = filters.timeless() if filters else frozenset()
    is_long = len(view.request.META.get("QUERY_STRING", "")) > LONGEST
    if view.kwargs or is_long or CURSOR in given:  # whose walk goes on from the QuerySet
        return None
    asked = {name: tuple(values) for name, values in given.lists() if name not in PAGES}
    if not timeless.issuperset(asked.keys() - {StrictOrdering.parameter}):
        return None
    bound = tuple(getattr(who, "bound_terminal_ids", ()))
    seen_by = (who.is_superuser, getattr(who, "organization_id", None), bound)
    return type(view), seen_by, tuple(sorted(asked.items()))
