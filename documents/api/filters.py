"""What documents can be asked for."""

from typing import Any

from django_filters import rest_framework as filters

from core.api.filters import IdFilter, InstantFilter, ManyIdsFilter, PartFilter, StrictFilterSet
from documents.models import DocumentType, OrderDocument, ReadingStatus
from documents.search import search_for
from orders.api.filters import OrderFilter


class OfOrderFilter(StrictFilterSet):
    """Among the documents of one order."""

    type = filters.MultipleChoiceFilter(choices=DocumentType.choices, distinct=False)
    status = filters.MultipleChoiceFilter(
        choices=ReadingStatus.choices,
        field_name="text__status",
        distinct=False,
        help_text="How far the reading of its text is.",
    )
    q = PartFilter(
        method="filter_q",
        help_text="Words in title, name or text, as typed or by their stem; and numbers, also with"
        " one character wrong. The best come first, unless `ordering` or `cursor` is given.",
    )

    def filter_q(self, documents: Any, _name: str, value: str) -> Any:
        return documents.matching(search_for(value))

    class Meta:
        model = OrderDocument
        fields: list[str] = []


class DocumentFilter(OfOrderFilter):
    """Among those of all orders that one may see."""

    order_id = IdFilter(field_name="order_id")
    terminal_id = ManyIdsFilter(field_name="order__terminal_id")
    created_at_from = InstantFilter(field_name="created_at", lookup_expr="gte")
    created_at_until = InstantFilter(field_name="created_at", lookup_expr="lte")


def offer_to_orders() -> None:
    """Have the list of orders search in documents; `orders` itself knows of none."""
    filters_of_orders: Any = OrderFilter
    offered = filters_of_orders.base_filters
    offered["q_documents"] = PartFilter(
        method=_found_in_documents,
        help_text="Search in documents: words or a number in a document of the order, as `q` of"
        " `/documents` has it.",
    )


def _found_in_documents(orders: Any, _name: str, value: str) -> Any:
    return orders.filter(search_for(value).found("pk", "order_id"))
