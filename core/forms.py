"""Forms of the admin: they judge by the models' rules and show whatever a service refuses."""

from datetime import time
from typing import Any, ClassVar

from django import forms
from django.contrib.admin.widgets import AutocompleteSelect
from django.core.exceptions import ValidationError
from django.forms.models import construct_instance
from unfold.forms import AuthenticationForm
from unfold.widgets import INPUT_CLASSES

from core import text
from core.constraints import broken_rules
from core.errors import FieldError, RateLimited, Refusal, in_words


class SignInForm(AuthenticationForm):
    """The admin's sign-in; after too many failures it says when to try again."""

    def clean(self) -> Any:
        try:
            return super().clean()
        except RateLimited as refused:
            self.request.sign_in_refused = refused  # the middleware makes it a 429
            wait = in_words(refused.retry_after_s)
            raise ValidationError(
                f"Too many failures to sign in. Try again in {wait}.", code=refused.code
            ) from None


class DayInput(forms.DateInput):
    """The browser's own calendar: it knows no server clock that could differ from a terminal's."""

    input_type = "date"

    def __init__(self, attrs: dict[str, Any] | None = None) -> None:
        super().__init__({"class": " ".join(INPUT_CLASSES), **(attrs or {})}, "%Y-%m-%d")


class ClockInput(forms.TimeInput):
    """The browser's own clock; seconds are shown only where there are any."""

    input_type = "time"

    def __init__(self, attrs: dict[str, Any] | None = None) -> None:
        super().__init__({"class": " ".join(INPUT_CLASSES), **(attrs or {})})

    def format_value(self, value: Any) -> str | None:
        if isinstance(value, time):
            return value.isoformat("seconds" if value.second else "minutes")
        return super().format_value(value)


class KnownAutocomplete(AutocompleteSelect):
    """Django's own asks the database for whatever was sent, and fails where that is no UUID."""

    def optgroups(self, name: str, value: Any, attr: Any = None) -> Any:
        return super().optgroups(name, [key for key in value if _is_id(str(key))], attr)


def _is_id(value: str) -> bool:
    try:
        text.identifier(value)
    except ValidationError:
        return False
    return True


class ServiceForm(forms.ModelForm):
    """A form whose values go to a service.

    `refusal` is what the service, or the database behind it, said to these values; the admin sets
    it and asks the form again, which is then invalid and shows it.
    """

    refusal: ClassVar[Refusal | None] = None

    def columns(self) -> dict[str, Any]:
        """What the form says, by column: `terminal_id`, not `terminal`."""
        return {
            field.attname: getattr(self.instance, field.attname)
            for field in self.instance._meta.concrete_fields
            if field.editable and field.name in self.cleaned_data
        }

    def _post_clean(self) -> None:
        """Judge columns, then rules. What is unique is left to the write, which alone can know."""
        try:
            self.instance = construct_instance(
                self, self.instance, self._meta.fields, self._meta.exclude
            )
            self.instance.full_clean(
                exclude=self._get_validation_exclusions(),  # type: ignore[attr-defined]
                validate_unique=False,
                validate_constraints=False,
            )
        except ValidationError as error:
            self._update_errors(error)  # type: ignore[attr-defined]
        for told in broken_rules(self.instance):
            self.tell(told)
        if self.refusal:
            self.tell_refusal(self.refusal)

    def tell(self, told: FieldError) -> None:
        """Show `told` beside its field, or above all; a field that has an error needs no second."""
        name = told.field or ""
        at = next((name for name in (name, name.removesuffix("_id")) if name in self.fields), None)
        if at is None or at not in self.errors:
            self.add_error(at, ValidationError(told.message, code=told.code))

    def tell_refusal(self, refusal: Refusal) -> None:
        for told in refusal.errors or [FieldError(None, refusal.code, refusal.detail)]:
            self.tell(told)
