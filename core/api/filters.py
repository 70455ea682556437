"""Query parameters that take the caller at its word: what is not understood is refused."""

import unicodedata
from collections.abc import Callable
from copy import copy, deepcopy
from functools import cache
from typing import Any, ClassVar, TypeVar

from django import forms
from django.core.exceptions import ValidationError
from django_filters import rest_framework as filters
from drf_spectacular.utils import extend_schema_field

from core import text
from core.api.patterns import pattern_of

MAX_SEARCH_CHARS = 200
M = TypeVar("M", bound=Callable[..., Any])
NO_CHOICE = "Not one of the values there are."


class _Exact(forms.Field):
    """A parameter that is written in one form; an empty one is refused like any other mistake."""

    parse: Callable[[str], Any]

    def to_python(self, value: Any) -> Any:
        return None if value is None else type(self).parse(value)

    def validate(self, value: Any) -> None:
        pass


def _flag(value: str) -> bool:
    if value not in {"true", "false"}:
        raise ValidationError("Neither true nor false.", code="invalid")
    return value == "true"


def _part(value: str) -> str:
    value = unicodedata.normalize("NFC", text.storable(value).strip())
    if len(value) > MAX_SEARCH_CHARS:
        raise ValidationError(f"At most {MAX_SEARCH_CHARS} characters.", code="max_length")
    return value


def _whole(value: str) -> str:
    value = _part(value)
    if not value:
        raise ValidationError("Empty.", code="required")
    return value


class _IdField(_Exact):
    parse = staticmethod(text.identifier)


class _DayField(_Exact):
    parse = staticmethod(text.day)


class _InstantField(_Exact):
    parse = staticmethod(text.instant)


class _FlagField(_Exact):
    parse = staticmethod(_flag)


class _PartField(_Exact):
    parse = staticmethod(_part)


class _WholeField(_Exact):
    parse = staticmethod(_whole)


class _ManyIdsField(forms.MultipleChoiceField):
    """Ids, each given by a parameter of the same name."""

    def to_python(self, value: Any) -> Any:
        return [text.identifier(each) for each in value or ()]

    def validate(self, value: Any) -> None:
        pass


class _Described(filters.Filter):
    """A filter whose values `schema` describes: a `method` would hide their type."""

    schema: ClassVar[dict[str, Any]]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        told = {"description": kwargs["help_text"]} if "help_text" in kwargs else {}
        extend_schema_field(self.schema | told)(self)


class IdFilter(_Described, filters.UUIDFilter):
    field_class = _IdField
    schema = {"type": "string", "format": "uuid"}


class ManyIdsFilter(_Described, filters.MultipleChoiceFilter):
    """`?terminal_id=…&terminal_id=…`: any of these."""

    field_class = _ManyIdsField
    schema = IdFilter.schema

    def filter(self, qs: Any, value: Any) -> Any:
        return qs.filter(**{f"{self.field_name}__in": value}) if value else qs


class DayFilter(_Described, filters.DateFilter):
    field_class = _DayField
    schema = {"type": "string", "format": "date"}


class InstantFilter(_Described, filters.IsoDateTimeFilter):
    field_class = _InstantField
    schema = {"type": "string", "format": "date-time"}


class FlagFilter(_Described, filters.BooleanFilter):
    field_class = _FlagField
    schema = {"type": "boolean"}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, widget=forms.TextInput, **kwargs)


class PartFilter(_Described, filters.CharFilter):
    """A part of a text, at most 200 characters; an empty one filters nothing."""

    field_class = _PartField
    schema = {
        "type": "string",
        "pattern": pattern_of(text.storable, MAX_SEARCH_CHARS, may_be_empty=True),
    }


class WholeFilter(_Described, filters.CharFilter):
    """A whole text; an empty one is refused."""

    field_class = _WholeField
    schema = {
        "type": "string",
        "pattern": pattern_of(text.storable, MAX_SEARCH_CHARS, may_be_empty=False),
    }


REPEATABLE = (filters.MultipleChoiceFilter, filters.AllValuesMultipleFilter)


class _Shared(dict[str, filters.Filter]):
    """Filters by name, of which a copy has filters of its own, but shares what they are made of.

    A filter set writes into its filters whose they are, and nothing else. A deep copy of one with
    its widget and its form's field costs more than the filtering.
    """

    def __deepcopy__(self, memo: Any) -> dict[str, filters.Filter]:
        # One with a method of the set's keeps hold of itself.
        return {
            name: deepcopy(each, memo) if each.method else copy(each) for name, each in self.items()
        }


def timeless(method: M) -> M:
    """Say of a filter's method that what it makes of a value depends on nothing but the value.

    Neither on the clock nor on any row: a list may be asked for by it again without asking it.
    """
    method.is_timeless = True  # type: ignore[attr-defined]
    return method


class StrictFilterSet(filters.FilterSet):
    """Filters that may not contradict themselves: one value each, no range backwards.

    Only those that the query names are made at all: copying two dozen filters and their form's
    fields costs more than the list that they would not change.
    """

    def __init__(self, data: Any = None, *args: Any, **kwargs: Any) -> None:
        every: dict[str, Any] = vars(type(self))["base_filters"]
        self.base_filters = _Shared(
            {name: each for name, each in every.items() if name in (data or ())}
        )
        super().__init__(data, *args, **kwargs)

    @classmethod
    @cache
    def timeless(cls) -> frozenset[str]:
        """The names of those that stand for a column, or whose method is `timeless`."""
        every: dict[str, Any] = vars(cls)["base_filters"]
        methods = {name: each.method for name, each in every.items()}
        return frozenset(
            name
            for name, method in methods.items()
            if method is None or hasattr(getattr(cls, str(method), method), "is_timeless")
        )

    def is_valid(self) -> bool:
        valid = super().is_valid()
        for name, each in self.filters.items():
            if not isinstance(each, REPEATABLE) and len(self.data.getlist(name)) > 1:
                self.form.add_error(None, _blamed(name, "repeated", "Given more than once."))
                valid = False
            elif isinstance(each, filters.ChoiceFilter) and self.data.get(name) == "":
                self.form.add_error(None, _blamed(name, "invalid_choice", "Not a valid choice."))
                valid = False
        if valid:
            valid = self._ranges_are_right()
        return valid

    def _ranges_are_right(self) -> bool:
        values = self.form.cleaned_data
        for name in [each.removesuffix("_from") for each in self.filters if each.endswith("_from")]:
            first, last = values[f"{name}_from"], values.get(f"{name}_until")
            if first and last and first > last:
                self.form.add_error(
                    None,
                    _blamed(f"{name}_until", "reversed", "The range ends before it begins."),
                )
                return False
        return True

    def refusals(self) -> dict[str, list[Any]]:
        """What is wrong, by parameter, as DRF's `ValidationError` takes it."""
        from rest_framework.exceptions import ErrorDetail

        found: dict[str, list[Any]] = {}
        for name, errors in self.form.errors.as_data().items():
            for error in errors:
                where = error.params["parameter"] if name == "__all__" else name
                code = error.code or "invalid"
                # Django's own words for a choice repeat what was sent.
                words = NO_CHOICE if code == "invalid_choice" else str(error.messages[0])
                found.setdefault(where, []).append(ErrorDetail(words, code=code))
        return found


def _blamed(parameter: str, code: str, message: str) -> ValidationError:
    return ValidationError(message, code=code, params={"parameter": parameter})


class StrictFilterBackend(filters.DjangoFilterBackend):
    """django-filter, with refusals in the contract's form."""

    def filter_queryset(self, request: Any, queryset: Any, view: Any) -> Any:
        kind = self.get_filterset_class(view, queryset)
        if kind is None or not any(name in request.query_params for name in kind.base_filters):
            return queryset
        filterset: Any = self.get_filterset(request, queryset, view)
        if not filterset.is_valid():
            from rest_framework.exceptions import ValidationError as Invalid

            raise Invalid(filterset.refusals())
        return filterset.qs
