"""Finding documents by what stands in them: words in full text, and numbers that were misread.

Words are looked for by their Norwegian stems and as they are written, all of them in one document,
with quotes and minus signs as on the web. What looks like a number (see `documents_marks` in the
migration) is also found where one character is another one, wherever it stands: that is asked as
one pattern for each place, which a trigram index answers. Letters that are read for digits, as O
for 0, do not count as others at all.

Behind row-level security only functions that cannot tell of a row reach an index: `@@` and `LIKE`
are marked so (core/embedded.py), operators of similarity are not.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from uuid import UUID

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.search import SearchQuery, SearchRank
from django.db import connection
from django.db.models import (
    BooleanField,
    Case,
    F,
    FloatField,
    Func,
    Q,
    TextField,
    Value,
    When,
)

_DIGIT = re.compile(r"[0-9]")
CONFIGURATIONS = ("dockside_norwegian", "dockside_simple")
SHORTEST_MISREAD = 5  # of four characters with one unknown, there is too little left
FEWEST_DIGITS = 3
LONGEST_MARK = 40
MOST_MARKS = 4
SNIPPETS = 2  # of one document
PAGES_SEARCHED = 200  # for a snippet; the document is found by all of them
_BEGIN, _END = "\x02", "\x03"
_AROUND = 60  # characters before and behind a number

# The words of one page that the query has, marked. A page is looked at if it has any of them.
_HEADLINES = f"""
    SELECT read.document_id, found.number, found.line
      FROM documents_orderdocumenttext AS read,
           LATERAL (
               SELECT number, ts_headline(
                          'dockside_norwegian', page, asked.anything,
                          'StartSel={_BEGIN}, StopSel={_END}, MaxWords=18, MinWords=8'
                      ) AS line
                 FROM unnest(read.pages[1:{PAGES_SEARCHED}]) WITH ORDINALITY AS each (page, number),
                      (SELECT replace((%s)::tsquery::text, '&', '|')::tsquery AS anything) AS asked
                WHERE to_tsvector('dockside_norwegian', page)
                      || to_tsvector('dockside_simple', page) @@ asked.anything
                LIMIT {SNIPPETS}
           ) AS found
     WHERE read.document_id = ANY(%s)
     ORDER BY read.document_id, found.number
"""  # noqa: S608 - names and numbers of ours
_QUERY = " || ".join(f"websearch_to_tsquery('{name}', %s)" for name in CONFIGURATIONS)


class LikeAny(Func):
    """`LIKE` with any of some patterns of ours: one look into the index for all of them."""

    template = "%(expressions)s)"
    arg_joiner = " LIKE ANY("
    output_field = BooleanField()
    conditional = True


@dataclass(frozen=True)
class Snippet:
    """A line of a page, in parts of which every other one is what was looked for."""

    page: int
    parts: list[str]


@dataclass(frozen=True)
class Search:
    """What somebody typed, and the ways to understand the numbers in it.

    Each way is numbers in their bare form, all of which are needed, and the words beside them.
    """

    words: str
    ways: tuple[tuple[tuple[str, ...], str], ...] = ()

    @property
    def query(self) -> Any:
        return _query(self.words)

    @property
    def marks(self) -> list[str]:
        return list(dict.fromkeys(mark for marks, _ in self.ways for mark in marks))

    @property
    def condition(self) -> Q:
        """Of a row of `DocumentSearch`."""
        found = Q(words=self.query)
        for marks, rest in self.ways:
            needed = Q(words=_query(rest)) if rest else Q()
            for mark in marks:
                needed &= _like(mark)
            found |= needed
        return found

    def rank(self, path: str = "") -> Any:
        """How well it fits, as an expression; `path` leads to the row of `DocumentSearch`."""
        rank: Any = SearchRank(F(f"{path}words"), self.query)
        for mark in self.marks:
            exact = When(Q(**{f"{path}marks__contains": f" {mark} "}), then=Value(1.0))
            rank = rank + Case(exact, default=Value(0.0), output_field=FloatField())
        return rank


def _query(words: str) -> Any:
    norwegian, simple = (
        SearchQuery(words, config=name, search_type="websearch") for name in CONFIGURATIONS
    )
    return norwegian | simple


def search_for(words: str) -> Search:
    """Understand what was typed; one statement if there is a digit in it.

    What is typed with gaps may be one number: "DK 12 345", or a number beside a word: "CMR 204518".
    """
    typed = words.split()
    numbers = [each for each in typed if _DIGIT.search(each)][:MOST_MARKS]
    rest = [each for each in typed if not _DIGIT.search(each)]
    if not numbers:
        return Search(words)
    asked = [_plain(each) for each in numbers]
    whole = _plain(words)
    if 1 < len(typed) <= 3 and len(whole) <= 16 and all(len(each) <= 4 for each in rest):
        asked.append(whole)
    bare = _bare(tuple(asked))
    found = [mark for mark in bare[: len(numbers)] if mark]
    ways = [(tuple(found), " ".join(rest))] if found else []
    if len(bare) > len(numbers) and bare[-1]:
        ways.append(((bare[-1],), ""))
    return Search(words, tuple(ways))


def _plain(number: str) -> str:
    return re.sub(r"[\W_]", "", number)[:LONGEST_MARK]


@lru_cache(maxsize=256)  # one request asks more than once
def _bare(numbers: tuple[str, ...]) -> list[str]:
    """Each in the form of `marks`, as the database makes them; empty for what is no number."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT btrim(documents_marks(number))"
            " FROM unnest(%s::text[]) WITH ORDINALITY AS each (number, place) ORDER BY place",
            [list(numbers)],
        )
        bare = [str(row[0]) for row in cursor.fetchall()]
    # A word with a digit or two is found by its letters, as every word is.
    return [mark if len(_DIGIT.findall(mark)) >= FEWEST_DIGITS else "" for mark in bare]


def _like(mark: str) -> Q:
    """Rows with this number, or a part of it that is long enough, or with one character wrong."""
    if len(mark) < SHORTEST_MISREAD:
        patterns = [f"% {mark} %"]
    else:
        patterns = [f"%{mark}%"]
    if _is_misread(mark):
        patterns += [f"% {mark[:at]}_{mark[at + 1 :]} %" for at in range(len(mark))]
    return Q(LikeAny(F("marks"), Value(patterns, output_field=ArrayField(TextField()))))


def _is_misread(mark: str) -> bool:
    """Whether it is looked for with a character wrong: a number, no word with a digit in it."""
    return len(mark) >= SHORTEST_MISREAD and len(_DIGIT.findall(mark)) >= FEWEST_DIGITS


# ---------------------------------------------------------------------------------------- snippets


def snippets(documents: Iterable[UUID], search: Search) -> dict[UUID, list[Snippet]]:
    """Where in each document it stands, by page; documents found by title or name have none."""
    wanted = list(documents)
    found: dict[UUID, list[Snippet]] = {each: [] for each in wanted}
    if not wanted:
        return found
    with connection.cursor() as cursor:
        # The query first: a snippet is looked for with what the words come to, not word by word.
        cursor.execute(f"SELECT ({_QUERY})::text", [search.words] * 2)
        cursor.execute(_HEADLINES, [cursor.fetchone()[0], wanted])
        for document, number, line in cursor.fetchall():
            if _BEGIN in line:
                found[document].append(Snippet(number, _parts(line)))
        without = [each for each in wanted if not found[each]]
        if search.marks and without:
            cursor.execute(
                f"SELECT document_id, pages[1:{PAGES_SEARCHED}]"  # noqa: S608 - a number of ours
                " FROM documents_orderdocumenttext WHERE document_id = ANY(%s)",
                [without],
            )
            for document, pages in cursor.fetchall():
                found[document] = list(_numbers(pages, search.marks))[:SNIPPETS]
    return found


def _parts(line: str) -> list[str]:
    return re.split(f"[{_BEGIN}{_END}]", " ".join(line.split(" ")).replace("\n", " "))


_ALIKE = {"0": "0OQ", "1": "1IL", "5": "5S", "8": "8B", "2": "2Z"}


def _numbers(pages: list[str], marks: Iterable[str]) -> Iterator[Snippet]:
    """Where a number stands, with at most one character wrong and with gaps."""
    patterns = [re.compile(_spaced(mark), re.IGNORECASE) for mark in marks]
    for number, page in enumerate(pages, 1):
        for pattern in patterns:
            if match := pattern.search(page):
                start, end = match.span()
                before = page[max(0, start - _AROUND) : start]
                behind = page[end : end + _AROUND]
                flat = (" ".join(part.split("\n")) for part in (before, match[0], behind))
                yield Snippet(number, list(flat))


def _spaced(mark: str) -> str:
    characters = [f"[{_ALIKE.get(each, re.escape(each))}]" for each in mark]
    places = range(len(mark)) if _is_misread(mark) else []
    gap = "[ ./-]?"
    variants = [characters, *([*characters[:n], r"\w", *characters[n + 1 :]] for n in places)]
    return "|".join(gap.join(variant) for variant in variants)
