"""Forms of the admin: they judge by the models' rules and show whatever a service refuses."""

from datetime import time
from typing import Any, ClassVar

from django import forms
from django.contrib.admin.widgets import AutocompleteSelect
from django.core.exceptions import ValidationError
from django.forms.models import construct_instance
from django.utils.html import format_html
from unfold.forms import AuthenticationForm
from unfold.widgets import INPUT_CLASSES

from core import history, text
from core.constraints import broken_rules
from core.errors import ChangedMeanwhile, FieldError, RateLimited, Refusal, in_words


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


def shown(row: Any, name: str) -> str:
    """The field `name` of a row, as people read it."""
    field: Any = row._meta.get_field(name)
    value: Any = getattr(row, name)
    if field.choices:
        value = dict(field.flatchoices).get(value)
    elif isinstance(value, bool):
        value = "yes" if value else "no"
    return "nothing" if value in (None, "") else str(value)


class RegistryForm(ServiceForm):
    """A form that knows how old what it shows is: two people may have opened it.

    Rows of the registry have no version; their `updated_at` never comes twice.
    """

    seen_at = forms.CharField(required=False, widget=forms.HiddenInput)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not self.instance._state.adding:
            self.initial["seen_at"] = self.instance.updated_at.isoformat()

    def keep_others_words(self, held: Any) -> None:
        """Raise ChangedMeanwhile if `held` is not what the form was opened with."""
        if self.cleaned_data["seen_at"] != held.updated_at.isoformat():
            raise ChangedMeanwhile

    def tell_refusal(self, refusal: Refusal) -> None:
        if not isinstance(refusal, ChangedMeanwhile):
            super().tell_refusal(refusal)
            return
        model = type(self.instance)
        events = history.events_of(model).objects.filter(pgh_obj=self.instance.pk)
        newest = events.order_by("-pgh_id").first()
        source = (newest and newest.pgh_context) or {}
        who = (source.get("by") or {}).get("name") or "Somebody"
        self.add_error(None, format_html(CHANGED_MEANWHILE, who, source.get("door", "database")))
        now = model._base_manager.get(pk=self.instance.pk)
        for name in self.changed_data:
            if name != "seen_at":
                self.tell(FieldError(name, "stale", f"Now: {shown(now, name)}"))


CHANGED_MEANWHILE = (
    "{} ({}) has changed this since you opened it, so nothing was saved. What it says now stands"
    ' beside your own words. <a href="" class="underline">Open it as it is now</a>'
)
