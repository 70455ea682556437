"""What documents can be asked for."""

from django_filters import rest_framework as filters

from core.api.filters import IdFilter, InstantFilter, ManyIdsFilter, StrictFilterSet
from documents.models import DocumentType, OrderDocument, ReadingStatus


class OfOrderFilter(StrictFilterSet):
    """Among the documents of one order."""

    type = filters.MultipleChoiceFilter(choices=DocumentType.choices, distinct=False)
    status = filters.MultipleChoiceFilter(
        choices=ReadingStatus.choices,
        field_name="text__status",
        distinct=False,
        help_text="How far the reading of its text is.",
    )

    class Meta:
        model = OrderDocument
        fields: list[str] = []


class DocumentFilter(OfOrderFilter):
    """Among those of all orders that one may see."""

    order_id = IdFilter(field_name="order_id")
    terminal_id = ManyIdsFilter(field_name="order__terminal_id")
    created_at_from = InstantFilter(field_name="created_at", lookup_expr="gte")
    created_at_until = InstantFilter(field_name="created_at", lookup_expr="lte")
