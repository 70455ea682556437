"""Finding documents by what stands in them: words in full text, and numbers that were misread.

Words are looked for by their Norwegian stems and as they are written, all of them in one document,
with quotes and minus signs as on the web. What looks like a number (see `documents_marks` in the
migration) is also found where one character is another one, wherever it stands, and by a part of
it. Letters that are read for digits, as O for 0, do not count as others at all.

The database's functions `documents_by_…` find, each by an index. Behind row-level security only
functions that cannot tell of a row reach one: `@@` and `LIKE` are marked so (core/embedded.py),
operators of similarity are not.

A search comes to one of two ends. What at most FEW documents have is known by their ids before
anything else is asked. What more have is a *common* search: a set in the database, with which the
list is compared row by row in the order in which it is shown, until a page is full.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from uuid import UUID

from django.contrib.postgres.fields import ArrayField
from django.db import connection
from django.db.models import BooleanField, F, Func, UUIDField, Value
from django.db.models.expressions import RawSQL

_DIGIT = re.compile(r"[0-9]")
FEW = 1_000  # documents: what is ranked, one by one
SHORTEST_MISREAD = 5  # of four characters with one unknown, there is too little left
FEWEST_DIGITS = 3
LONGEST_MARK = 40
MOST_MARKS = 4
MOST_OF_NUMBERS = 10_000

_UNDERSTAND = """
    WITH asked AS (
        SELECT place, websearch_to_tsquery('dockside_norwegian', words)
                      || websearch_to_tsquery('dockside_simple', words) AS query
          FROM unnest(%s::text[]) WITH ORDINALITY AS each (words, place)
    ),
    number AS (
        SELECT place, btrim(marks) AS mark,
               array_to_string(tsvector_to_array(documents_keys(marks)), '|') AS keys
          FROM unnest(%s::text[]) WITH ORDINALITY AS each (typed, place),
               LATERAL (SELECT documents_marks(typed) AS marks) AS made
    )
    SELECT (SELECT array_agg(CASE WHEN querytree(query) IN ('', 'T') THEN '' ELSE query::text END
                             ORDER BY place) FROM asked),
           (SELECT coalesce(array_agg(mark ORDER BY place), '{}') FROM number),
           (SELECT coalesce(array_agg(coalesce(keys, '') ORDER BY place), '{}') FROM number)
"""


_RANKED = """
    SELECT document_id FROM documents_documentsearch
     WHERE document_id = ANY(%s)
     ORDER BY ts_rank(words, %s::tsquery)
              + (SELECT count(*) FROM unnest(%s::text[]) AS exact WHERE strpos(marks, exact) > 0)
              DESC, document_id DESC
"""
Statement = tuple[str, list[Any]]  # with its parameters


class AnyOf(Func):
    """Whether a column is one of some ids that are known: one look into its index for each."""

    template = "%(expressions)s)"
    arg_joiner = " = ANY("
    output_field = BooleanField()
    conditional = True

    def __init__(self, name: str, ids: list[UUID]) -> None:
        super().__init__(F(name), Value(ids, output_field=ArrayField(UUIDField())))


class OneOf(Func):
    """Whether a column is in a large set that SQL finds, kept in a hash table.

    CASE, because of `IN` alone the planner makes a join, of all rows with all that were found.
    """

    output_field = BooleanField()
    conditional = True

    def __init__(self, name: str, found: Statement) -> None:
        super().__init__(F(name), RawSQL(*found))  # noqa: S611 - of ours, with parameters

    def as_sql(self, compiler: Any, connection: Any, **_: Any) -> tuple[str, Any]:  # type: ignore[override]
        column, found = self.source_expressions
        sql, params = compiler.compile(column)
        found_sql, found_params = compiler.compile(found)
        return f"CASE WHEN {sql} IN {found_sql} THEN true ELSE false END", [*params, *found_params]


@dataclass(frozen=True)
class Way:
    """One way to understand what was typed: numbers in their bare form, all of them needed.

    `keys` has the keys of each for the index, `beside` is the other words as a query, or None.
    """

    marks: tuple[str, ...]
    keys: str
    beside: str | None

    def statements(self, column: str, most: int | None, *, exact: bool = False) -> list[Statement]:
        patterns = [_pattern(mark, exact=exact) for mark in self.marks]
        numbers = f"SELECT {column} FROM documents_by_numbers(%s::tsquery, %s, %s::tsquery, %s)"  # noqa: S608
        found: list[Statement] = [(numbers, [self.keys, patterns, self.beside, most])]
        if not exact and len(self.marks) == 1 and len(self.marks[0]) >= SHORTEST_MISREAD:
            part = f"SELECT {column} FROM documents_by_part(%s, %s::tsquery, %s)"  # noqa: S608
            found.append((part, [f"%{self.marks[0]}%", self.beside, most]))
        return found


@dataclass(frozen=True)
class Search:
    """What somebody typed: its words as a query, or "", and the ways to understand its numbers."""

    words: str
    asked: str
    ways: tuple[Way, ...] = ()

    @property
    def marks(self) -> list[str]:
        return list(dict.fromkeys(mark for way in self.ways for mark in way.marks))

    def found(self, name: str, column: str = "document_id") -> AnyOf | OneOf:
        """Whether the column `name` is of what is found; asks for it.

        `column` is `order_id` where the orders of the documents are meant. What more than FEW
        documents have as it was typed is found as it was typed only.
        """
        as_typed, numbers = self._as_typed(column, FEW + 1), self._numbers(column, FEW + 1)
        ids: dict[UUID, None] = {}
        for asked in (as_typed, numbers):
            if asked:
                ids |= dict.fromkeys(_ids(*_either(asked)))
            if len(ids) > FEW:
                common = self._as_typed(column, None)
                common += self._numbers(column, MOST_OF_NUMBERS) if asked is numbers else []
                return OneOf(name, _either(common))
        return AnyOf(name, list(ids))

    def first(self) -> list[UUID]:
        """Of a common search, documents with it in title or name or with its very number.

        The newest FEW of them.
        """
        asked = [_by("heading", self.asked, "document_id", None)] if self.asked else []
        for way in self.ways:
            asked += way.statements("document_id", None, exact=True)
        sql, params = _either(asked)
        return _ids(f"{sql} ORDER BY document_id DESC LIMIT {FEW}", params)

    def best(self, documents: list[UUID]) -> list[UUID]:
        """These documents, those that fit best first, and of those that fit alike the newest."""
        exact = [f" {mark} " for mark in self.marks]
        return _ids(_RANKED, [documents, self.asked, exact])

    def _as_typed(self, column: str, most: int | None) -> list[Statement]:
        return [_by("words", self.asked, column, most)] if self.asked else []

    def _numbers(self, column: str, most: int | None) -> list[Statement]:
        return [each for way in self.ways for each in way.statements(column, most)]


def _by(what: str, asked: str, column: str, most: int | None) -> Statement:
    return f"SELECT {column} FROM documents_by_{what}(%s::tsquery, %s)", [asked, most]  # noqa: S608


def _either(statements: list[Statement]) -> Statement:
    """What any of them finds, as one statement."""
    return (
        " UNION ".join(sql for sql, _ in statements),
        [each for _, params in statements for each in params],
    )


def _ids(sql: str, params: list[Any]) -> list[UUID]:
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        return [row[0] for row in cursor.fetchall()]


def _pattern(mark: str, *, exact: bool = False) -> str:
    """A regular expression of PostgreSQL for the marks of a document that has this one.

    Or has it with one character wrong, or as a part of another one.
    """
    if exact or len(mark) < SHORTEST_MISREAD:
        return f" {mark} "
    ways = [mark]
    if is_misread(mark):
        ways += [f"{mark[:at]}[^ ]{mark[at + 1 :]}" for at in range(len(mark))]
    return f" ({'|'.join(ways)}) |{mark}"


def is_misread(mark: str) -> bool:
    """Whether it is looked for with a character wrong: a number, no word with a digit in it."""
    return len(mark) >= SHORTEST_MISREAD and len(_DIGIT.findall(mark)) >= FEWEST_DIGITS


@lru_cache(maxsize=256)  # one request asks more than once
def search_for(words: str) -> Search:
    """Understand what was typed; one statement.

    What is typed with gaps may be one number: "DK 12 345", or a number beside a word: "CMR 204518".
    What only says what must not be there finds nothing.
    """
    typed = words.split()
    numbers = [each for each in typed if _DIGIT.search(each)][:MOST_MARKS]
    rest = [each for each in typed if not _DIGIT.search(each)]
    plain = [_plain(each) for each in numbers]
    whole = _plain(words)
    if numbers and 1 < len(typed) <= 3 and len(whole) <= 16 and all(len(w) <= 4 for w in rest):
        plain.append(whole)
    with connection.cursor() as cursor:
        cursor.execute(_UNDERSTAND, [[words, " ".join(rest)], plain])
        (asked, beside), marks, keys = cursor.fetchone()
    known = [
        (mark, f"({key})") if _is_number(each, mark) else None
        for each, mark, key in zip(plain, marks, keys, strict=True)
    ]
    ways = []
    if found := [each for each in known[: len(numbers)] if each]:
        of_marks, of_keys = zip(*found, strict=True)
        ways.append(Way(of_marks, " & ".join(of_keys), beside or None))
    if len(known) > len(numbers) and (each := known[-1]):
        ways.append(Way((each[0],), each[1], None))
    return Search(words, asked, tuple(ways))


def _is_number(typed: str, mark: str) -> bool:
    """A word with a digit or two is found by its letters, as every word is.

    Letters that are read for digits make no number of a word, unless they are much of it.
    """
    digits = len(_DIGIT.findall(mark))
    real = len(_DIGIT.findall(typed))
    return digits >= FEWEST_DIGITS and (real >= FEWEST_DIGITS or 3 * digits >= len(mark))


def _plain(number: str) -> str:
    return re.sub(r"[\W_]", "", number)[:LONGEST_MARK]
