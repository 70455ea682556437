"""The documents on the page of their order: rows, and where new files are dropped.

The page's script uploads to the API, one file at a time; without scripts the same form goes to
`documents.admin_upload`. Files and thumbnails are the API's as well, which knows the session.
"""

from typing import Any

from django.conf import settings
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.forms import Script
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import reverse

from core.admin import user_of
from core.api.errors import BodyTooLarge
from core.roles import Act, may
from documents.admin_search import STATUS_COLOURS
from documents.files.types import BY_EXTENSION
from documents.models import DocumentType, OrderDocument, ReadingStatus
from documents.reading.services import WAITS
from orders.admin import OrderAdmin, on_clock_of
from orders.models import Order

SHOWN = 100  # of the newest; the rest is on the page that searches
RESOURCE = "documents.orderdocument"
TO_RETRY = {ReadingStatus.FAILED, ReadingStatus.SKIPPED}


def place_of(order_id: Any) -> str:
    """Where an order's documents are shown."""
    return reverse("admin:orders_order_change", args=[order_id]) + "#documents"


def shown(request: HttpRequest, order: Order) -> dict[str, Any]:
    """What the rows are made of: one statement, however many there are."""
    mine: Any = OrderDocument.objects.visible_to(user_of(request)).filter(order=order)
    documents = list(mine.with_reading().order_by("-created_at", "-pk")[: SHOWN + 1])
    may_change = may(request.user, Act.CHANGE, RESOURCE)
    for document in documents:
        status = document.text.status
        document.uploaded = on_clock_of(order, document.created_at)
        document.colour = STATUS_COLOURS[document.text.get_status_display()]
        document.may_be_read_again = may_change and status in TO_RETRY
    return {
        "order": order,
        "documents": documents[:SHOWN],
        "are_more": len(documents) > SHOWN,
        "are_waiting": any(each.text.status in WAITS for each in documents[:SHOWN]),
        "may_change_documents": may_change,
        "may_delete_documents": may(request.user, Act.DELETE, RESOURCE),
    }


def offered(request: HttpRequest) -> dict[str, Any]:
    """What the form for new files is made of."""
    limit = settings.MAX_FILE_BYTES
    return {
        "may_add_documents": may(request.user, Act.ADD, RESOURCE),
        "document_types": DocumentType.choices,
        "endings": [f".{each}" for each in BY_EXTENSION],
        "max_files": settings.MAX_UPLOAD_FILES,
        "max_file_bytes": limit,
        "too_large": str(BodyTooLarge(limit, "A file").detail),
    }


def rows(request: HttpRequest, order_id: Any) -> HttpResponse:
    """The documents of an order as they stand on its page, to take their place there."""
    if not may(request.user, Act.VIEW, RESOURCE):
        raise PermissionDenied
    seen: Any = Order.objects.visible_to(user_of(request))
    order = get_object_or_404(seen.select_related("terminal"), pk=order_id)
    return TemplateResponse(request, "documents/admin/rows.html", shown(request, order))


admin.site.unregister(Order)


@admin.register(Order)
class OrderWithDocumentsAdmin(OrderAdmin):
    """The page of an order, with its documents below."""

    change_form_outer_after_template = "documents/admin/of_order.html"

    class Media:
        css = {"all": ["documents/of_order.css"]}
        js = [Script("documents/of_order.js", type="module")]

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        order = context["original"]
        if order and may(request.user, Act.VIEW, RESOURCE):
            context |= shown(request, order) | offered(request)
        return super().render_change_form(request, context, *args, **kwargs)
