"""Documents of orders over REST."""

from collections.abc import Sequence
from typing import Any

from django.core.exceptions import ValidationError
from drf_spectacular.utils import extend_schema
from rest_framework.response import Response

from core import text as texts
from core.api.conditions import etag, expected_versions
from core.api.views import ContractViewSet
from core.errors import NotFound
from documents import services
from documents.api import downloads, schema
from documents.api.filters import DocumentFilter, OfOrderFilter
from documents.api.reading import ReadingMixin
from documents.api.relevance import SearchPages, searched, told
from documents.api.serializers import OrderDocumentInput, OrderDocumentOut
from documents.api.uploads import UploadMixin
from documents.models import OrderDocument
from documents.querysets import OrderDocumentQuerySet
from orders.models import Order


class DocumentViewSet(ContractViewSet):
    """The documents of all orders that one may see."""

    resource = "documents.orderdocument"
    queryset = OrderDocument.objects.all()
    serializer_class = OrderDocumentOut
    filterset_class = DocumentFilter
    ordering_fields = ("created_at",)
    ordering = ("-created_at",)
    pagination_class = SearchPages

    def get_queryset(self) -> Any:
        return OrderDocument.objects.visible_to(self.request.user).with_reading()

    def beside(self, ids: Sequence[Any]) -> dict[str, Any]:
        """In a search, the lines where it stands, by the ids of the documents."""
        search = searched(self.request)
        return {"snippets": told(ids, search)} if search else {}

    @extend_schema(tags=["documents"], summary="List documents of all orders")
    def list(self, request: Any, *args: Any, **kwargs: Any) -> Response:
        return super().list(request)


@schema.of_order
class OrderDocumentViewSet(UploadMixin, ReadingMixin, DocumentViewSet):
    """The documents of one order."""

    filterset_class = OfOrderFilter

    def get_queryset(self) -> OrderDocumentQuerySet:
        try:
            of_order = texts.identifier(self.kwargs["id"])
        except ValidationError:
            raise NotFound from None
        rows: OrderDocumentQuerySet = super().get_queryset()
        return rows.filter(order_id=of_order)

    def order(self) -> Order:
        """The order that the address names.

        Raises:
            NotFound: there is none that the caller can see.
        """
        order: Order = super()._one(Order.objects.visible_to(self.request.user))
        return order

    def _one(self, rows: Any, name: str = "id") -> Any:
        """The document that the address names, or the order where it names no more than that."""
        return super()._one(rows, "document_id") if "document_id" in self.kwargs else self.order()

    def list(self, request: Any, *args: Any, **kwargs: Any) -> Response:
        self.order()
        return super().list(request)

    def retrieve(self, request: Any, id: str, document_id: str) -> Response:
        return self._answer_with(self.get_object())

    def partial_update(self, request: Any, id: str, document_id: str) -> Response:
        document = self.get_object()
        values, refused = OrderDocumentInput(data=self.body(), partial=True).judged()
        document = services.update_document(
            document, values, expected=expected_versions(request), refused=refused
        )
        return self._answer_with(document)

    def destroy(self, request: Any, id: str, document_id: str) -> Response:
        services.delete_document(self.get_object(), expected=expected_versions(request))
        return Response(status=204)

    @schema.content
    def content(self, request: Any, id: str, document_id: str) -> Any:
        """The file as it was uploaded, to be saved: a browser does not show it.

        Where files lie in an object storage, a link to it that is good for a short time.
        """
        return downloads.answer_with(request._request, self.get_object())

    def perform_content_negotiation(self, request: Any, force: bool = False) -> Any:
        """A file is what it is, whatever `Accept` says."""
        return super().perform_content_negotiation(
            request, force or self.action in {"content", "thumbnail"}
        )

    def _answer_with(self, document: OrderDocument) -> Response:
        return Response(self.listed.of(document), headers={"ETag": etag(document.version)})
