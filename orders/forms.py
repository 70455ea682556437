"""The dispatchers' forms: an order with both its legs, and why one is called off."""

from typing import Any

from django import forms
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.widgets import UnfoldAdminTextareaWidget

from core.errors import FieldError, Refusal, StaleVersion
from core.forms import ServiceForm, shown
from orders import history
from orders.legs import LEGS, Leg
from orders.models import Order

CHANGES_TOLD = 5  # the newest of them
CHANGED_MEANWHILE = (
    "Somebody else has changed this order since you opened it, so nothing was saved. "
    "What it says now stands beside your own words. "
    '<a href="" class="underline">Open it as it is now</a>{}'
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
        self.add_error(None, format_html(CHANGED_MEANWHILE, self._who_changed_what()))
        now = Order.objects.with_details().get(pk=self.instance.pk)
        for name in self.changed_data:
            if name != "seen_version":
                self.tell(FieldError(name, "stale", f"Now: {shown(now, name)}"))

    def _who_changed_what(self) -> SafeString:
        """A list of what happened since the form was opened, newest first."""
        seen = self.cleaned_data.get("seen_version") or 0
        since = history.EVENTS.objects.filter(pgh_obj=self.instance.pk, version__gt=seen)
        happened = history.entries(since.order_by("-pgh_id")[:CHANGES_TOLD])
        return format_html(
            "<ul>{}</ul>",
            format_html_join(
                "",
                "<li>{} by {} ({}), {} UTC: {}</li>",
                (
                    (
                        entry.action.capitalize(),
                        entry.by.name or "nobody known",
                        entry.door,
                        f"{entry.at:%H:%M:%S}",
                        "; ".join(change.text for change in entry.changes),
                    )
                    for entry in happened
                ),
            ),
        )


class CancelForm(forms.Form):
    reason = forms.CharField(
        max_length=Order._meta.get_field("cancel_reason").max_length,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3, "autofocus": True}),
        help_text="Whoever looks at the order later reads this.",
    )
