"""The part of `/api/v1/orders/{id}/`."""

from django.urls import path

from documents.api import of_orders
from documents.api.filters import offer_to_orders
from documents.api.views import OrderDocumentViewSet

of_orders.tell()
offer_to_orders()

urlpatterns = [
    path(
        "documents",
        OrderDocumentViewSet.as_view({"get": "list", "post": "create"}),
        name="order-documents-list",
    ),
    path(
        "documents/<str:document_id>",
        OrderDocumentViewSet.as_view(
            {"get": "retrieve", "patch": "partial_update", "delete": "destroy"}
        ),
    ),
    path(
        "documents/<str:document_id>/content",
        OrderDocumentViewSet.as_view({"get": "content"}),
        name="order-documents-content",
    ),
    path("documents/<str:document_id>/text", OrderDocumentViewSet.as_view({"get": "text"})),
    path(
        "documents/<str:document_id>/extract",
        OrderDocumentViewSet.as_view({"post": "extract"}),
        name="order-documents-extract",
    ),
    path(
        "documents/<str:document_id>/thumbnail",
        OrderDocumentViewSet.as_view({"get": "thumbnail"}),
        name="order-documents-thumbnail",
    ),
]
