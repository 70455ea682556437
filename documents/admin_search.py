"""The admin's page over all documents: searched, with the lines found, leading to the orders."""

from typing import Any

from django.contrib import messages
from django.contrib.admin.views.main import ChangeList
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe
from unfold.contrib.filters.admin import MultipleChoicesDropdownFilter
from unfold.decorators import action, display

from core.admin import TenantAdmin
from documents.models import OrderDocument, ReadingStatus
from documents.ranking import best
from documents.reading import services as reading
from documents.search import Search, search_for
from documents.snippets import snippets

STATUS_COLOURS = {
    ReadingStatus.PENDING.label: "info",
    ReadingStatus.RUNNING.label: "info",
    ReadingStatus.DONE.label: "success",
    ReadingStatus.FAILED.label: "danger",
    ReadingStatus.SKIPPED.label: "warning",
}


def asked(words: str) -> Search | None:
    words = words.replace("\0", "").strip()[:200]
    return search_for(words) if words else None


class DocumentChangeList(ChangeList):
    """The best come first in a search, and each document knows where it stands in it."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        if search := asked(self.query):
            if "o" not in self.params:
                rows: Any = self.queryset
                start = (self.page_num - 1) * self.list_per_page
                ids = best(rows, search, start, self.list_per_page, total=self.paginator.count)
                found = rows.in_bulk(ids)
                self.result_list = [found[each] for each in ids]
            page = {document.pk: document for document in self.result_list}
            for key, lines in snippets(page, search).items():
                page[key].lines = lines


class DocumentSearchAdmin(TenantAdmin):
    """The list of all documents; `documents.admin` says what becomes of a single one."""

    list_display = ["name", "of_order", "kind", "reading", "lines"]
    list_filter = [
        ("type", MultipleChoicesDropdownFilter),
        ("text__status", MultipleChoicesDropdownFilter),
    ]
    list_select_related = ["order", "organization"]
    list_display_links = None
    search_fields = ["title"]
    search_help_text = "Words of title, name or text; a number, also with one character wrong"
    ordering = ["-created_at"]
    actions = ["read_again"]

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).with_reading()  # type: ignore[attr-defined]

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return DocumentChangeList

    def get_search_results(
        self, request: HttpRequest, queryset: Any, search_term: str
    ) -> tuple[QuerySet, bool]:
        search = asked(search_term)
        return (queryset.matching(search) if search else queryset), False

    @display(description="Document", ordering="title")
    def name(self, document: OrderDocument) -> str:
        return str(document)

    @display(description="Order")
    def of_order(self, document: OrderDocument) -> SafeString:
        address = reverse("admin:orders_order_change", args=[document.order_id])
        return format_html('<a class="font-medium" href="{}">{}</a>', address, document.order)

    @display(description="Type", ordering="type")
    def kind(self, document: OrderDocument) -> str:
        return str(document.get_type_display())

    @display(description="Text", label=STATUS_COLOURS)
    def reading(self, document: OrderDocument) -> str:
        return str(document.text.get_status_display())

    @display(description="Found")
    def lines(self, document: OrderDocument) -> SafeString | str:
        """Where it stands; without a search, why there is no text."""
        found = getattr(document, "lines", [])
        if not found:
            return document.text.error
        return format_html_join(
            mark_safe("<br>"),
            "page {}: {}",
            ((line.page, _marked(line.parts)) for line in found),
        )

    @action(description="Read again", permissions=["change"])
    def read_again(self, request: HttpRequest, queryset: Any) -> None:
        documents = list(queryset.order_by("pk"))
        for document in documents:
            reading.ask_again(document)
        self.message_user(request, f"To be read again: {len(documents)}.", messages.SUCCESS)


def _marked(parts: list[str]) -> SafeString:
    """Every other part is what was searched for."""
    return format_html_join(
        "",
        "{}",
        (
            (format_html("<mark>{}</mark>", part) if place % 2 else part,)
            for place, part in enumerate(parts)
        ),
    )
