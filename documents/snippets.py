"""Where in a document it stands what was searched for: lines of its pages, for people to read."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from uuid import UUID

from django.db import connection

from documents.search import Search, is_misread

SNIPPETS = 2  # of one document
# What is looked through for a snippet; the document is found by all that it has.
PAGES, CHARACTERS = 200, 20_000  # characters of a page
_BEGIN, _END = "\x02", "\x03"
_AROUND = 60  # characters before and behind a number

# The words of one page that the query has, marked. A page is looked at if it has any of them, and
# parsed only if their letters stand in it at all: a stem is the beginning of its words.
_HEADLINES = f"""
    SELECT read.document_id, found.number, found.line
      FROM documents_orderdocumenttext AS read,
           LATERAL (
               SELECT number, line
                 FROM unnest(read.pages[1:{PAGES}]) WITH ORDINALITY AS each (page, number),
                      (SELECT replace((%s)::tsquery::text, '&', '|')::tsquery AS anything) AS asked,
                      LATERAL (
                          SELECT CASE WHEN lower(unaccent(left(page, {CHARACTERS}))) LIKE ANY (%s)
                                 THEN ts_headline(
                                     'dockside_norwegian', left(page, {CHARACTERS}), anything,
                                     'StartSel={_BEGIN}, StopSel={_END}, MaxWords=18, MinWords=8'
                                 ) END AS line
                      ) AS made
                WHERE strpos(line, '{_BEGIN}') > 0
                LIMIT {SNIPPETS}
           ) AS found
     WHERE read.document_id = ANY(%s)
     ORDER BY read.document_id, found.number
"""  # noqa: S608 - names and numbers of ours


@dataclass(frozen=True)
class Snippet:
    """A line of a page, in parts of which every other one is what was looked for."""

    page: int
    parts: list[str]


def snippets(documents: Iterable[UUID], search: Search) -> dict[UUID, list[Snippet]]:
    """Where in each document it stands, by page; documents found by title or name have none."""
    wanted = list(documents)
    found: dict[UUID, list[Snippet]] = {each: [] for each in wanted}
    if not wanted:
        return found
    with connection.cursor() as cursor:
        if search.asked:
            cursor.execute(_HEADLINES, [search.asked, _letters(search.asked), wanted])
            for document, number, line in cursor.fetchall():
                found[document].append(Snippet(number, _parts(line)))
        without = [each for each in wanted if not found[each]]
        if search.marks and without:
            cursor.execute(
                f"SELECT document_id, ARRAY(SELECT left(page, {CHARACTERS})"  # noqa: S608
                f" FROM unnest(pages[1:{PAGES}]) WITH ORDINALITY AS each (page, n) ORDER BY n)"
                " FROM documents_orderdocumenttext WHERE document_id = ANY(%s)",
                [without],
            )
            for document, pages in cursor.fetchall():
                found[document] = list(islice(_numbers(pages, search.marks), SNIPPETS))
    return found


def _letters(query: str) -> list[str]:
    """The words of a query as patterns: `'laks' & 'til':*` is %laks% and %til%."""
    words = re.findall(r"'((?:[^']|'')+)'", query)
    plain = (re.sub(r"([\\%_])", r"\\\1", word.replace("''", "'")) for word in words)
    return [f"%{word}%" for word in dict.fromkeys(plain)]


def _parts(line: str) -> list[str]:
    return re.split(f"[{_BEGIN}{_END}]", line.replace("\n", " "))


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
                flat = (part.replace("\n", " ") for part in (before, match[0], behind))
                yield Snippet(number, list(flat))


def _spaced(mark: str) -> str:
    characters = [f"[{_ALIKE.get(each, re.escape(each))}]" for each in mark]
    places = range(len(mark)) if is_misread(mark) else []
    gap = "[ ./-]?"
    variants = [characters, *([*characters[:n], r"\w", *characters[n + 1 :]] for n in places)]
    return "|".join(gap.join(variant) for variant in variants)
