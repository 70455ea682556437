"""Documents as they come in and go out."""

from typing import Any

from django.db.models import BooleanField, ExpressionWrapper, F, Q
from django.db.models.functions import JSONObject
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from core.api.fields import OneOfField, TextField
from core.api.rows import Computed
from core.api.serializers import InputSerializer
from documents.models import DocumentType, OrderDocument, ReadingStatus


@extend_schema_field({"type": "string", "format": "uuid"})
class OrderId(Computed):
    expression = F("order_id")

    @classmethod
    def value_of(cls, instance: OrderDocument) -> str:
        return str(instance.order_id)


@extend_schema_field(
    serializers.ChoiceField(
        choices=ReadingStatus.choices, help_text="How far the reading of its text is."
    )
)
class Status(Computed):
    expression = F("text__status")

    @classmethod
    def value_of(cls, instance: OrderDocument) -> str:
        return str(instance.text.status)


@extend_schema_field(
    {
        "type": "string",
        "description": "Why the reading failed or was skipped, or what is missing; else empty.",
    }
)
class StatusReason(Computed):
    expression = F("text__error")

    @classmethod
    def value_of(cls, instance: OrderDocument) -> str:
        return instance.text.error


@extend_schema_field({"type": "boolean"})
class HasThumbnail(Computed):
    expression = ExpressionWrapper(~Q(thumbnail_sha256=""), BooleanField())

    @classmethod
    def value_of(cls, instance: OrderDocument) -> bool:
        return bool(instance.thumbnail_sha256)


class UploaderOut(serializers.Serializer[OrderDocument]):
    type = serializers.ChoiceField(choices=["user", "api_key", "command"])
    name = serializers.CharField(help_text="As it was on the day of the upload.")


@extend_schema_field(UploaderOut)
class UploadedBy(Computed):
    expression = JSONObject(type=F("uploaded_by_type"), name=F("uploaded_by_name"))

    @classmethod
    def value_of(cls, instance: OrderDocument) -> dict[str, str]:
        return {"type": instance.uploaded_by_type, "name": instance.uploaded_by_name}


class OrderDocumentOut(serializers.ModelSerializer[OrderDocument]):
    """A document of an order; its file is at `…/content`."""

    order_id = OrderId()
    status = Status()
    status_reason = StatusReason()
    has_thumbnail = HasThumbnail()
    uploaded_by = UploadedBy()

    class Meta:
        model = OrderDocument
        fields = [
            "id",
            "order_id",
            "type",
            "title",
            "file_name",
            "size_bytes",
            "sha256",
            "content_type",
            "page_count",
            "has_thumbnail",
            "status",
            "status_reason",
            "uploaded_by",
            "version",
            "created_at",
            "updated_at",
        ]
        read_only_fields = fields


class OrderDocumentInput(InputSerializer):
    """What people say of a document."""

    type = OneOfField(choices=DocumentType.choices)
    title = TextField(max_length=200, required=False)


class UploadResultOut(serializers.Serializer[Any]):
    """What one of several files came to."""

    file_name = serializers.CharField()
    status = serializers.IntegerField(help_text="201, or that of the problem.")
    document = OrderDocumentOut(allow_null=True, help_text="As it is kept; null where refused.")
    problem = serializers.SerializerMethodField()

    @extend_schema_field({"nullable": True, "allOf": [{"$ref": "#/components/schemas/Problem"}]})
    def get_problem(self, result: Any) -> Any:
        return result["problem"]


class UploadResultsOut(serializers.Serializer[Any]):
    """What each of several files came to, in the order in which they were sent."""

    data = UploadResultOut(many=True)  # type: ignore[assignment]
