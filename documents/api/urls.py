"""The part of `/api/v1/orders/{id}/`."""

from django.urls import path

from documents.api import of_orders
from documents.api.views import OrderDocumentViewSet

of_orders.tell()

urlpatterns = [
    path("documents", OrderDocumentViewSet.as_view({"get": "list", "post": "create"})),
    path(
        "documents/<str:document_id>",
        OrderDocumentViewSet.as_view(
            {"get": "retrieve", "patch": "partial_update", "delete": "destroy"}
        ),
    ),
    path("documents/<str:document_id>/content", OrderDocumentViewSet.as_view({"get": "content"})),
]
