"""Serializer fields that take JSON at its word: a number is a number, a text is a text."""

from collections.abc import Callable
from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, Context, Decimal
from typing import Any

from django.core.exceptions import ValidationError as Refused
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.fields import empty

from core import text

# Rounds nothing, unlike the usual context with its 28 digits.
_EXACT = Context(prec=MAX_PREC, Emax=MAX_EMAX, Emin=MIN_EMIN)


def normalized(normal: Callable[[str], Any], value: str) -> Any:
    """`normal(value)`, its refusal in the words of a serializer."""
    try:
        return normal(value)
    except Refused as refused:
        raise serializers.ValidationError(refused.messages[0], code=refused.code) from None


class _Exact(serializers.Field):
    """A field that is written as a text of one form."""

    parse: Callable[[str], Any]

    def to_internal_value(self, data: Any) -> Any:
        if not isinstance(data, str):
            raise serializers.ValidationError("Not a text.", code="invalid")
        return normalized(type(self).parse, data)

    def to_representation(self, value: Any) -> str:
        return str(value)


@extend_schema_field(OpenApiTypes.UUID)
class IdField(_Exact):
    """A UUID in its canonical form."""

    parse = staticmethod(text.identifier)


@extend_schema_field(OpenApiTypes.DATE)
class DayField(_Exact):
    """`YYYY-MM-DD`."""

    parse = staticmethod(text.day)


@extend_schema_field(
    {
        "type": "string",
        "pattern": "^([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9])?$",
        "example": "06:30",
    }
)
class ClockField(_Exact):
    """`HH:MM` or `HH:MM:SS` on the terminal's clock."""

    parse = staticmethod(text.clock_time)


@extend_schema_field(OpenApiTypes.DATETIME)
class InstantField(_Exact):
    """An instant as in RFC 3339, with its offset."""

    parse = staticmethod(text.instant)


class TextField(serializers.CharField):
    """A text, brought into its normal form before its length counts; null is the empty text.

    `normal` is a function of `core.text`. An empty text is refused where the field is required, or
    has another default.
    """

    def __init__(self, normal: Callable[[str], str] = text.line, **kwargs: Any) -> None:
        self.normal = normal
        self.max_chars: int = kwargs["max_length"]
        if not kwargs.get("required", True) and kwargs.setdefault("default", "") == "":
            kwargs |= {"allow_blank": True, "allow_null": True}
        if normal is not text.storable:
            limit = f"At most {self.max_chars} characters; white space around them does not count."
            kwargs["help_text"] = f"{kwargs.get('help_text', '')} {limit}".strip()
        super().__init__(**kwargs)
        self.validators = []

    def run_validation(self, data: Any = empty) -> Any:
        if data is empty:
            return super().run_validation(data)
        if data is None:
            data = ""
        if not isinstance(data, str):
            self.fail("invalid")
        value = normalized(self.normal, data)
        if not value and not self.allow_blank:
            self.fail("blank")
        if len(value) > self.max_chars:
            self.fail("max_length", max_length=self.max_chars)
        return value


class CountField(serializers.IntegerField):
    """A whole number, written as one: `"5"`, `5.0` and `true` are refused."""

    def to_internal_value(self, data: Any) -> int:
        if type(data) is not int:
            self.fail("invalid")
        return data


class AmountField(serializers.DecimalField):
    """A number with at most two decimals, in JSON a number both ways."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(coerce_to_string=False, **kwargs)

    def validate_empty_values(self, data: Any) -> tuple[bool, Any]:
        # DRF's takes an empty text, and one of spaces, for null.
        return serializers.Field.validate_empty_values(self, data)

    def to_internal_value(self, data: Any) -> Decimal:
        if isinstance(data, bool) or not isinstance(data, int | Decimal):
            self.fail("invalid")
        value = _EXACT.normalize(Decimal(data))  # 2.50 and 2.500 are one number
        if 0 < value.as_tuple().exponent < 15:  # type: ignore[operator]
            value = value.quantize(Decimal(1))
        elif not value:
            value = Decimal(0)
        self.validate_precision(value)
        return value

    def to_representation(self, value: Any) -> float:  # type: ignore[override]
        return float(value)


class FlagField(serializers.BooleanField):
    """`true` or `false`, not what looks like it."""

    def to_internal_value(self, data: Any) -> bool:
        if not isinstance(data, bool):
            self.fail("invalid", input=data)
        return data


class OneOfField(serializers.ChoiceField):
    """One of some texts."""

    def to_internal_value(self, data: Any) -> Any:
        if not isinstance(data, str) or data not in self.choices:
            self.fail("invalid_choice", input=str(data)[:100])
        return data
