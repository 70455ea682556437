"""What comes in: objects in which every key is known."""

from collections.abc import Mapping
from functools import cache
from itertools import islice
from typing import Any

from rest_framework import serializers
from rest_framework.exceptions import ErrorDetail
from rest_framework.settings import api_settings

from core.api.errors import field_errors
from core.api.problems import MAX_ERRORS
from core.errors import FieldError, RuleBroken


class InputSerializer(serializers.Serializer[Any]):
    """The fields of a request's body; a key that is not one of them is refused by its name.

    The fields are made once for all requests and know none of them: no `context`.
    """

    @property
    def fields(self) -> Any:
        return _fields_of(type(self), self.partial)

    def to_internal_value(self, data: Any) -> Any:
        if not isinstance(data, Mapping):
            raise serializers.ValidationError(
                {api_settings.NON_FIELD_ERRORS_KEY: ["The body is not a JSON object."]},
                code="not-an-object",
            )
        unknown = (str(name) for name in data if name not in self.fields)
        errors: dict[str, Any] = {
            name: [ErrorDetail("There is no such field.", code="unknown-field")]
            for name in islice(unknown, MAX_ERRORS)
        }
        try:
            values = super().to_internal_value(data)
        except serializers.ValidationError as error:
            errors = {**error.detail, **errors}  # type: ignore[dict-item]
        if errors:
            raise serializers.ValidationError(errors)
        return values

    def judged(self) -> tuple[dict[str, Any], list[FieldError]]:
        """The values that are acceptable by themselves, and what is wrong with the others."""
        if self.is_valid():
            return self.validated_data, []
        return {}, field_errors(self.errors)

    def accepted(self) -> dict[str, Any]:
        """The values.

        Raises:
            RuleBroken: something is wrong with any of them.
        """
        values, refused = self.judged()
        if refused:
            raise RuleBroken(refused)
        return values


@cache
def _fields_of(kind: type[InputSerializer], partial: bool) -> Any:
    """The fields of a form of this kind that has no data; to copy them costs more than to judge."""
    return super(InputSerializer, kind(partial=partial)).fields
