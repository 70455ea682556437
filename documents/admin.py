"""The dispatchers' door to documents: found in one list, shown below their order, and changed."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path
from unfold.decorators import display

from core.forms import ServiceForm
from documents import admin_of_order, services
from documents.admin_of_order import place_of
from documents.admin_search import DocumentSearchAdmin
from documents.models import OrderDocument
from documents.reading import services as reading
from orders.admin import on_clock_of

FACTS = [
    ("of_order", "file_name"),
    ("content_type", "size_bytes", "page_count"),
    ("uploaded_by_name", "uploaded"),
    ("reading", "reason"),
]


class DocumentForm(ServiceForm):
    # The version that the form was opened with; what the reading adds does not count.
    seen_version = forms.IntegerField(required=False, widget=forms.HiddenInput)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.initial["seen_version"] = self.instance.version


@admin.register(OrderDocument)
class DocumentAdmin(DocumentSearchAdmin):
    """A document's own page, which leads back to its order."""

    form = DocumentForm
    fieldsets = [
        (None, {"fields": ["type", "title", "seen_version"]}),
        ("File", {"fields": FACTS}),
    ]
    readonly_fields = [name for row in FACTS for name in row]

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Files are uploaded where they belong: on the page of their order."""
        return False

    def get_actions(self, request: HttpRequest) -> Any:
        """None are deleted in bulk: each after a look at it."""
        actions = super().get_actions(request)
        actions.pop("delete_selected", None)
        return actions

    @display(description="Uploaded at")
    def uploaded(self, document: OrderDocument) -> str:
        return on_clock_of(document.order, document.created_at)

    @display(description="What is missing")
    def reason(self, document: OrderDocument) -> str:
        return document.text.error

    def update(self, request: HttpRequest, obj: Any, form: ServiceForm) -> OrderDocument:
        return services.update_document(
            self.hold(request, obj),
            form.columns(),
            expected=[form.cleaned_data["seen_version"] or 0],
        )

    def delete(self, held: OrderDocument) -> None:
        services.delete_document(held)

    def response_post_save_change(self, request: HttpRequest, obj: Any) -> HttpResponseRedirect:
        return HttpResponseRedirect(place_of(obj.order_id))

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        super().delete_model(request, obj)
        request.place = place_of(obj.order_id)  # type: ignore[attr-defined]

    def response_delete(self, request: HttpRequest, *args: Any) -> HttpResponse:
        super().response_delete(request, *args)
        return HttpResponseRedirect(request.place)  # type: ignore[attr-defined]

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view
        return [
            path("of/<uuid:order_id>/", view(admin_of_order.rows), name="documents-of"),
            path("<uuid:document_id>/again/", view(self.again), name="document-again"),
            *super().get_urls(),
        ]

    def again(self, request: HttpRequest, document_id: Any) -> HttpResponse:
        """Have a document read again, and go back to its order."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not self.has_change_permission(request):
            raise PermissionDenied
        document = get_object_or_404(self.get_queryset(request).locked(), pk=document_id)
        reading.ask_again(document)
        self.message_user(request, f"To be read again: {document}.", messages.SUCCESS)
        return HttpResponseRedirect(place_of(document.order_id))
