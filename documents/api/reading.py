"""What was read in a document, over REST: its text, its thumbnail, and once more."""

from collections.abc import Mapping
from typing import Any, ClassVar

from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import (
    OpenApiParameter,
    OpenApiResponse,
    extend_schema,
    extend_schema_field,
)
from rest_framework import serializers
from rest_framework.response import Response

from core.api.schema import problems
from core.api.serializers import InputSerializer
from core.errors import NotFound
from core.headers import NOTHING
from core.roles import Act
from documents import storage
from documents.api.downloads import is_known
from documents.api.serializers import OrderDocumentOut
from documents.models import OrderDocument, OrderDocumentText
from documents.reading import services

THUMBNAIL = "image/webp"


class TextPageOut(serializers.Serializer[Any]):
    number = serializers.IntegerField(help_text="From 1.")
    text = serializers.CharField()


class DocumentTextOut(serializers.ModelSerializer[OrderDocumentText]):
    """What was read in a document, and how it went."""

    status_reason = serializers.CharField(
        source="error", help_text="Why it failed or was skipped, or what is missing; else empty."
    )
    language = serializers.CharField(help_text="ISO 639-3; empty where it is not known.")
    extractor = serializers.CharField(help_text="What read it: `pdfium`, `tesseract`, …")
    pages = serializers.SerializerMethodField()

    class Meta:
        model = OrderDocumentText
        fields = [
            *("document_id", "status", "status_reason", "language", "extractor", "attempts"),
            *("queued_at", "started_at", "finished_at", "pages"),
        ]
        read_only_fields = fields

    @extend_schema_field(TextPageOut(many=True))
    def get_pages(self, text: OrderDocumentText) -> Any:
        return [{"number": number, "text": page} for number, page in enumerate(text.pages, 1)]


class NothingToSay(InputSerializer):
    """A body without fields."""


class ReadingMixin:
    """What the ViewSet of an order's documents tells of their reading."""

    acts: ClassVar[Mapping[str, Act]] = {"get": Act.VIEW, "post": Act.CHANGE}

    @extend_schema(
        tags=["documents"], summary="Read the text of a document", responses=DocumentTextOut
    )
    def text(self: Any, request: Any, id: str, document_id: str) -> Response:
        """Page by page; what has no pages has one. Empty while it has not been read."""
        return Response(DocumentTextOut(self.get_object().text).data)

    @extend_schema(
        tags=["documents"],
        summary="Have a document read again",
        request={"application/json": NothingToSay},
        responses={202: OrderDocumentOut},
    )
    def extract(self: Any, request: Any, id: str, document_id: str) -> Response:
        """It is read in the background; its text stays as it is until then."""
        NothingToSay(data=self.body(required=False)).accepted()
        document: OrderDocument = self.get_object()
        document.text = services.ask_again(document)
        return Response(OrderDocumentOut(document).data, status=202)

    @extend_schema(
        tags=["documents"],
        summary="Fetch a document's thumbnail",
        parameters=[
            OpenApiParameter(
                "If-None-Match",
                str,
                OpenApiParameter.HEADER,
                description="304 if it still has this ETag.",
            ),
            OpenApiParameter("ETag", str, OpenApiParameter.HEADER, response=[200]),
        ],
        responses={
            (200, THUMBNAIL): OpenApiTypes.BINARY,
            304: OpenApiResponse(description="unchanged"),
            **problems(404),
        },
    )
    def thumbnail(self: Any, request: Any, id: str, document_id: str) -> HttpResponse:
        """Its first page, or the picture: at most 320 pixels wide and high, without metadata.

        404 while there is none: the document is not read yet, or there is nothing to be seen in it.
        """
        document: OrderDocument = self.get_object()
        if not document.thumbnail_sha256:
            raise NotFound
        tag = f'"{document.thumbnail_sha256}"'
        headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
        if is_known(request._request, tag):
            return HttpResponse(status=304, headers=headers)
        with storage.open_file(document.organization_id, document.thumbnail_sha256) as file:
            response: Any = HttpResponse(file.read(), content_type=THUMBNAIL, headers=headers)
        response._csp_config = {**NOTHING, "sandbox": True}
        return response
