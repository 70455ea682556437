"""The words for choosing documents and what was read in them."""

from typing import TYPE_CHECKING, Self

from core.querysets import TenantQuerySet

if TYPE_CHECKING:
    from documents.models import OrderDocument, OrderDocumentText  # noqa: F401
    from documents.search import Search


class OrderDocumentQuerySet(TenantQuerySet["OrderDocument"]):
    terminal_path = "order__terminal"

    def with_reading(self) -> Self:
        """Load how far the reading of each is, without its text: one statement."""
        return self.select_related("text").defer("text__pages")

    def matching(self, search: "Search") -> Self:
        """Documents in whose title, name or pages it stands."""
        return self.filter(search.found("pk"))


class OrderDocumentTextQuerySet(TenantQuerySet["OrderDocumentText"]):
    terminal_path = "document__order__terminal"
