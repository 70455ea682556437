"""A search's order, and what it tells of each document."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db.models import F
from django.db.models.expressions import OrderBy

from core.api.ordering import Key, StrictOrdering
from core.api.pagination import ContractPagination
from documents.search import Search, search_for, snippets

RANK = "rank"
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


@dataclass(frozen=True)
class Relevance(Key):
    """How well a document fits a search, which `BestFirst` has annotated; no column."""

    def expression(self) -> OrderBy:
        return OrderBy(F(RANK), descending=True, nulls_last=True)

    def as_sql(self, model: Any) -> str:
        return f'"{RANK}" DESC NULLS LAST'


def searched(request: Any) -> Search | None:
    """What is searched for, if anything is."""
    words = request.query_params.get("q", "").strip()
    return search_for(words) if words else None


class BestFirst(StrictOrdering):
    """Sorting as everywhere; a search without one, and without a cursor, shows the best first."""

    def filter_queryset(self, request: Any, queryset: Any, view: Any) -> Any:
        given = request.query_params
        if self.parameter in given or "cursor" in given or not (search := searched(request)):
            return super().filter_queryset(request, queryset, view)
        view.sorting = [Relevance(RANK, descending=True), Key("id", descending=True)]
        ranked = queryset.annotate(**{RANK: search.rank("search__")})
        return ranked.order_by(*(key.expression() for key in view.sorting))


class SearchPages(ContractPagination):
    """Pages that tell in a search where it stands."""

    def get_paginated_response_schema(self, schema: Any) -> dict[str, Any]:
        described = super().get_paginated_response_schema(schema)
        described["properties"]["snippets"] = _SNIPPETS
        return described


def told(ids: list[UUID], search: Search) -> dict[str, Any]:
    """The snippets of these documents, as JSON has them."""
    return {
        str(document): [{"page": each.page, "parts": each.parts} for each in lines]
        for document, lines in snippets(ids, search).items()
    }
