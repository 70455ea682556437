"""Model columns that bring every value into its normal form, whichever door it came through."""

from collections.abc import Callable
from typing import Any

from django.core.exceptions import ValidationError
from django.db import models

from core import text


class NormalField(models.CharField):
    """A text column (`varchar`) that is never NULL and keeps only normal forms.

    Forms show what `normal` refuses beside the field; a value that reaches the database past a
    form is normalized on its way, in filters too.
    """

    normal: Callable[[str], str] = staticmethod(text.line)

    def to_python(self, value: Any) -> Any:
        value = super().to_python(value)
        return type(self).normal(value) if isinstance(value, str) else value

    def get_prep_value(self, value: Any) -> Any:
        try:
            return super().get_prep_value(value)
        except ValidationError:
            return value  # a look-up finds nothing, a write meets the CHECK


class LineField(NormalField):
    """Text of one line."""


class NotesField(NormalField):
    """Text of several lines."""

    normal = staticmethod(text.notes)

    def formfield(self, *args: Any, **kwargs: Any) -> Any:
        from django.forms import Textarea

        return super().formfield(*args, **{"widget": Textarea, **kwargs})


class PlateField(NormalField):
    """A licence plate, in upper case without spaces and hyphens."""

    normal = staticmethod(text.plate)


class PhoneField(NormalField):
    """A phone number as E.164."""

    normal = staticmethod(text.phone)


class CountryField(NormalField):
    """A country's two letters."""

    normal = staticmethod(text.country)


class RateField(NormalField):
    """How often something may happen, or nothing."""

    normal = staticmethod(text.rate)


class ZoneField(NormalField):
    """An IANA time zone."""

    normal = staticmethod(text.zone)
