"""Found documents by page, those that fit best first.

As long as they are FEW all of them are compared. Of more, those with it in title or name, or with
the very number, come first (the newest FEW of these), and behind them all others, the newest first:
how often a common word stands in a text tells nothing that were worth unpacking all of them.
"""

from typing import TYPE_CHECKING
from uuid import UUID

from documents.search import FEW, AnyOf

if TYPE_CHECKING:
    from documents.querysets import OrderDocumentQuerySet
    from documents.search import Search


def best(
    rows: "OrderDocumentQuerySet", search: "Search", start: int, count: int, *, total: int
) -> list[UUID]:
    """The ids of `count` of the rows that `search` found, from the one at `start` on.

    `total` is how many there are, counted beyond FEW at least.
    """
    ids = rows.order_by().values_list("pk", flat=True)
    if total <= FEW:
        return search.best(list(ids))[start : start + count]
    first = search.best(list(ids.filter(AnyOf("pk", search.first()))))
    page = first[start : start + count]
    if len(page) < count:
        others = ids.exclude(AnyOf("pk", first)).order_by("-created_at", "-pk")
        begin = max(0, start - len(first))
        page += others[begin : begin + count - len(page)]
    return page
