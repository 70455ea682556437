"""The dispatchers' forms: an order with both its legs, and why one is called off."""

from typing import Any

from django import forms
from django.utils.safestring import mark_safe
from unfold.widgets import UnfoldAdminTextareaWidget

from core.errors import FieldError, Refusal, StaleVersion
from core.forms import ServiceForm
from orders.legs import LEGS, Leg
from orders.models import Order

CHANGED_MEANWHILE = mark_safe(
    "Somebody else has changed this order since you opened it, so nothing was saved. "
    "What it says now stands beside your own words. "
    '<a href="" class="underline">Open it as it is now</a>'
)


def _labels(leg: Leg) -> dict[str, str]:
    labels = {leg.date: "Date", leg.time: "Time"}
    for part in leg.parts:
        noun = part.noun.capitalize()
        labels[part.registered] = noun
        details = ("name", "phone") if len(part.typed) > 1 else ("plate",)
        labels |= {
            name: f"{noun} {detail}, typed in"
            for name, detail in zip(part.typed, details, strict=True)
        }
    return labels


def shown(order: Order, name: str) -> str:
    """The field `name` of an order, as people read it."""
    field: Any = Order._meta.get_field(name)
    value: Any = getattr(order, name)
    if field.choices:
        value = dict(field.flatchoices).get(value)
    elif isinstance(value, bool):
        value = "yes" if value else "no"
    return "nothing" if value in (None, "") else str(value)


class OrderForm(ServiceForm):
    # The version that the form was opened with.
    seen_version = forms.IntegerField(required=False, widget=forms.HiddenInput)

    class Meta:
        model = Order
        exclude: list[str] = []
        labels = {name: label for leg in LEGS for name, label in _labels(leg).items()}
        help_texts = {leg.time: "On the terminal's clock." for leg in LEGS}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.initial["seen_version"] = self.instance.version

    def tell_refusal(self, refusal: Refusal) -> None:
        if isinstance(refusal, StaleVersion):
            self._tell_what_is_there_now()
        else:
            super().tell_refusal(refusal)

    def _tell_what_is_there_now(self) -> None:
        self.add_error(None, CHANGED_MEANWHILE)
        now = Order.objects.with_details().get(pk=self.instance.pk)
        for name in self.changed_data:
            if name != "seen_version":
                self.tell(FieldError(name, "stale", f"Now: {shown(now, name)}"))


class CancelForm(forms.Form):
    reason = forms.CharField(
        max_length=Order._meta.get_field("cancel_reason").max_length,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3, "autofocus": True}),
        help_text="Whoever looks at the order later reads this.",
    )
