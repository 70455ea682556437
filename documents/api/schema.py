"""How the description tells of documents, and of files, which are no JSON."""

from typing import Any

from django.conf import settings
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import (
    OpenApiParameter,
    OpenApiResponse,
    PolymorphicProxySerializer,
    extend_schema,
    extend_schema_view,
)

from core.api.schema import problems
from documents.api.serializers import (
    OrderDocumentInput,
    OrderDocumentOut,
    UploadResultsOut,
)
from documents.files.types import BY_EXTENSION, CONTENT_TYPES
from documents.models import DocumentType

_MB = settings.MAX_FILE_BYTES // 1_048_576
_IF_MATCH = OpenApiParameter(
    "If-Match", str, OpenApiParameter.HEADER, description='An ETag such as `"v3"`, or `*`.'
)
_ETAG = OpenApiParameter(
    "ETag",
    str,
    OpenApiParameter.HEADER,
    response=[200, 201],
    description='`"v<version>"` of what people say of the document.',
)
_LOCATION = OpenApiParameter(
    "Location", str, OpenApiParameter.HEADER, response=[201], description="Where it is now."
)
_FORM: dict[str, Any] = {
    "type": "object",
    "required": ["file", "type"],
    "properties": {
        "file": {
            "type": "array",
            "items": {"type": "string", "format": "binary"},
            "minItems": 1,
            "maxItems": settings.MAX_UPLOAD_FILES,
            "description": f"One part for each file, of at most {_MB} MiB; together at most"
            f" {settings.MAX_UPLOAD_BYTES // 1_048_576} MiB. Taken are"
            f" {', '.join(f'.{each}' for each in BY_EXTENSION)}, by name and by content.",
        },
        "type": {"type": "string", "enum": DocumentType.values},
        "title": {"type": "string", "maxLength": 200},
    },
    "additionalProperties": False,
}
_RANGE = OpenApiParameter(
    "Range", str, OpenApiParameter.HEADER, description="`bytes=0-99`; one range at a time."
)
_IF_NONE_MATCH = OpenApiParameter(
    "If-None-Match", str, OpenApiParameter.HEADER, description="304 if it still has this ETag."
)
_IF_RANGE = OpenApiParameter(
    "If-Range",
    str,
    OpenApiParameter.HEADER,
    description="The range counts only if it still has this ETag.",
)


def _header(name: str, told: str, *statuses: int) -> OpenApiParameter:
    return OpenApiParameter(
        name, str, OpenApiParameter.HEADER, response=list(statuses), description=told
    )


def _files(*statuses: int) -> dict[Any, Any]:
    return {
        (status, media_type): OpenApiTypes.BINARY
        for status in statuses
        for media_type in CONTENT_TYPES
    }


of_order = extend_schema_view(
    list=extend_schema(tags=["documents"], summary="List an order's documents"),
    create=extend_schema(
        tags=["documents"],
        summary="Upload documents",
        request={"multipart/form-data": _FORM},
        parameters=[_LOCATION, _ETAG],
        responses={
            201: PolymorphicProxySerializer(
                component_name="Uploaded",
                serializers=[OrderDocumentOut, UploadResultsOut],
                resource_type_field_name=None,
            ),
            207: UploadResultsOut,
            **problems(409),
        },
    ),
    retrieve=extend_schema(
        tags=["documents"],
        summary="Read what is known of a document",
        parameters=[_ETAG],
        responses=OrderDocumentOut,
    ),
    partial_update=extend_schema(
        tags=["documents"],
        summary="Change a document's type or title",
        request=OrderDocumentInput,
        parameters=[_IF_MATCH, _ETAG],
        responses={200: OrderDocumentOut, **problems(412)},
    ),
    destroy=extend_schema(
        tags=["documents"],
        summary="Delete a document and its file",
        parameters=[_IF_MATCH],
        responses={204: None, **problems(412)},
    ),
)

content = extend_schema(
    tags=["documents"],
    summary="Fetch a document's file",
    parameters=[
        _RANGE,
        _IF_NONE_MATCH,
        _IF_RANGE,
        _header("ETag", "Of the file: its SHA-256.", 200, 206),
        _header("Content-Disposition", "`attachment`, with the name.", 200, 206),
        _header("Content-Range", "Which bytes of how many.", 206),
        _header("Location", "A link to the file, for a short time.", 302),
    ],
    responses={
        **_files(200, 206),
        302: OpenApiResponse(description="The file lies elsewhere."),
        304: OpenApiResponse(description="unchanged"),
        **problems(416),
    },
)
