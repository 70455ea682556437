"""What an order tells of its documents; `orders` leaves room for it and knows nothing more."""

from typing import Any

from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import Func, IntegerField, JSONField, OuterRef, Subquery, UUIDField
from drf_spectacular.utils import extend_schema_field

from core.api.rows import compiled
from core.prepared import Given, PreparedOne
from documents.api.serializers import OrderDocumentOut
from documents.models import OrderDocument
from orders.api.serializers import Documents, DocumentsCount
from orders.models import Order

SHOWN = 100  # of the newest; the rest is for GET /orders/{id}/documents


class Counted(Subquery):
    """How many rows there are, without grouping them for it."""

    template = "(SELECT count(*) FROM (%(subquery)s) AS counted)"
    output_field = IntegerField()


class Listed(Func):
    """An array of PostgreSQL, of texts of JSON, as one of JSON."""

    template = "('[' || array_to_string(%(expressions)s, ',') || ']')::json"
    output_field = JSONField()


def tell() -> None:
    """Fill in what the serializers of orders leave open; before the first request."""
    mine = OrderDocument.objects.filter(order=OuterRef("pk"))
    newest = mine.order_by("-created_at", "-pk").values(made=compiled(OrderDocumentOut()))
    counted: Any = DocumentsCount
    shown: Any = Documents
    counted.expression = Counted(mine.order_by().values("pk"))
    counted.value_of = staticmethod(_count)
    shown.expression = Listed(ArraySubquery(newest[:SHOWN]))
    shown.value_of = staticmethod(_documents)
    extend_schema_field(OrderDocumentOut(many=True))(Documents)


def _count(order: Order) -> int:
    """By a look at the documents that are shown, or at all where there are more."""
    found = len(_newest(order))
    return _of(order).count() if found == SHOWN else found


def _documents(order: Order) -> Any:
    return OrderDocumentOut(_newest(order), many=True).data


def _of(order: Order) -> Any:
    """Its documents; of an order as it was, those which had come by then and are still there."""
    rows = OrderDocument.objects.filter(order_id=order.pk)
    return rows.filter(created_at__lte=order.seen_at) if order.seen_at else rows


def _first(rows: Any) -> Any:
    return rows.with_reading().order_by("-created_at", "-pk")[:SHOWN]


# Each change of an order is answered with it.
_NOW = PreparedOne(
    lambda: _first(OrderDocument.objects.filter(order_id=Given("order", UUIDField())))
)


def _newest(order: Any) -> list[OrderDocument]:
    """Those that are shown; looked up once for one answer, and not at all of a new order."""
    if order.is_just_made:
        return []
    if "newest_documents" not in order.__dict__:
        is_now = order.seen_at is None
        order.newest_documents = _NOW.each(order=order.pk) if is_now else list(_first(_of(order)))
    found: list[OrderDocument] = order.newest_documents
    return found
