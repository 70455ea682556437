"""A search's order, and what it tells of each document."""

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from core.api.found import Found
from core.api.ordering import StrictOrdering
from core.api.pagination import ContractPagination
from documents.ranking import best
from documents.search import Search, search_for
from documents.snippets import snippets

_SNIPPETS: dict[str, Any] = {
    "type": "object",
    "description": "In a search only: where it stands in each document, by the document's id. A"
    " document that is found by title or name has none.",
    "additionalProperties": {
        "type": "array",
        "items": {
            "type": "object",
            "required": ["page", "parts"],
            "properties": {
                "page": {"type": "integer", "minimum": 1},
                "parts": {
                    "type": "array",
                    "items": {"type": "string"},
                    "description": "A line of the page in parts; the second, the fourth and so on"
                    " are what was searched for.",
                },
            },
        },
    },
}


def searched(request: Any) -> Search | None:
    """What is searched for, if anything is."""
    words = request.query_params.get("q", "").strip()
    return search_for(words) if words else None


class SearchPages(ContractPagination):
    """Pages that tell in a search where it stands, and without `ordering` have the best first."""

    def _numbered(self, found: Found, start: int) -> tuple[int, list[Any]]:
        search = searched(self.request)
        if search is None or StrictOrdering.parameter in self.request.query_params:
            return super()._numbered(found, start)
        total = found.count()
        if start >= total:
            return total, []
        return total, best(found.rows, search, start, self.per_page, total=total)

    def get_paginated_response_schema(self, schema: Any) -> dict[str, Any]:
        described = super().get_paginated_response_schema(schema)
        described["properties"]["snippets"] = _SNIPPETS
        return described


def told(ids: Iterable[Any], search: Search) -> dict[str, Any]:
    """The snippets of the documents with these ids, as JSON has them."""
    found = snippets([UUID(str(each)) for each in ids], search)
    return {
        str(document): [{"page": each.page, "parts": each.parts} for each in lines]
        for document, lines in found.items()
    }
