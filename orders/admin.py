"""The dispatchers' day: the list of orders, an order with its steps, and the board."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.utils import flatten_fieldsets
from django.db import DatabaseError, transaction
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe
from unfold.contrib.filters.admin import BooleanRadioFilter, MultipleChoicesDropdownFilter
from unfold.decorators import action, display
from unfold.views import ChangeList

from core.admin import TenantAdmin, refusal_in, told, user_of
from core.errors import Refusal
from core.forms import ServiceForm
from core.roles import Act, may
from orders import services
from orders.admin_history import HistoryPage
from orders.admin_list import (
    InTerminalFilter,
    LateFilter,
    OrderChangeList,
    PeriodFilter,
    TerminalFilter,
    leg_cell,
    two_lines,
)
from orders.forms import CancelForm, OrderForm
from orders.legs import ARRIVAL, DEPARTURE, LEGS, Leg
from orders.models import Order, Status
from orders.querysets import OrderQuerySet
from orders.references import REFERENCES
from orders.selectors import terminal_days

admin.site.index_title = "Today"
admin.site.index_template = "orders/admin/board.html"

BOARDS = {"period", "late", "in_terminal"}  # the filters that make a list of what is to be done
STATUS_COLOURS = {"Planned": "info", "Arrived": "warning", "Departed": "success"}
NAMED = 10  # orders that one message names


@dataclass(frozen=True)
class Step:
    """What a button of the form does; `fits` only hides the button, the service judges."""

    action_name: str
    description: str
    icon: str
    done: str
    fits: Callable[[Order], bool]
    take: Callable[[Order, datetime], Order]


ARRIVE = Step(
    "_arrive",
    "Arrive",
    "login",
    "Arrived",
    lambda order: order.status == Status.PLANNED and order.has_leg(ARRIVAL),
    lambda order, now: services.arrive_order(order, at=now, now=now),
)
DEPART = Step(
    "_depart",
    "Depart",
    "logout",
    "Departed",
    lambda order: (
        order.has_leg(DEPARTURE)
        and order.status == (Status.ARRIVED if order.has_leg(ARRIVAL) else Status.PLANNED)
    ),
    lambda order, now: services.depart_order(order, at=now, now=now),
)
REOPEN = Step(
    "_reopen",
    "Reopen",
    "undo",
    "Planned again",
    lambda order: order.status == Status.CANCELLED,
    lambda order, now: services.reopen_order(order),
)
STEPS = (ARRIVE, DEPART, REOPEN)


def pressed(request: HttpRequest) -> Step | None:
    """The step whose button sent the form."""
    return next((step for step in STEPS if step.action_name in request.POST), None)


def shortened(texts: list[str]) -> list[str]:
    """The first few of the texts, and how many more there are."""
    more = len(texts) - NAMED
    return [*texts[:NAMED], *([f"and {more} more"] if more > 0 else [])]


def on_clock_of(order: Order, at: datetime | None) -> str:
    """An instant on the clock of the order's terminal."""
    if at is None:
        return ""
    local = at.astimezone(order.terminal.clock)
    return f"{date_format(local, 'D j M Y H:i')} ({order.terminal.timezone})"


def leg_fieldset(leg: Leg) -> tuple[str, dict[str, Any]]:
    driver, truck, trailer = leg.parts
    rows = [
        (leg.date, leg.time),
        driver.registered,
        driver.typed,
        (truck.registered, *truck.typed),
        (trailer.registered, *trailer.typed),
    ]
    return leg.noun.capitalize(), {"fields": rows, "classes": ["leg"]}


FACTS = [
    ("terminal", "reference"),
    ("service", "commodity"),
    ("pallets", "boxes", "kilos"),
    "priority",
]
PLAN: list[Any] = [(None, {"fields": FACTS}), *(leg_fieldset(leg) for leg in LEGS)]
NOTES = (None, {"fields": ["notes"]})
PROGRESS: Any = (
    "Progress",
    {
        "fields": [
            ("arrived", "departed", "cancelled"),
            "cancel_reason",
            ("version", "created", "updated"),
        ]
    },
)


@admin.register(Order)
class OrderAdmin(HistoryPage, TenantAdmin):
    form = OrderForm
    has_owner_of_its_own = False
    list_display = ["marked_reference", "at_terminal", "goods", "arrival", "departure", "state"]
    list_filter = [
        PeriodFilter,
        TerminalFilter,
        ("status", MultipleChoicesDropdownFilter),
        InTerminalFilter,
        LateFilter,
        ("priority", BooleanRadioFilter),
        ("service", MultipleChoicesDropdownFilter),
        ("commodity", MultipleChoicesDropdownFilter),
    ]
    list_select_related = ["organization", *REFERENCES]
    search_fields = ["reference"]
    search_help_text = "Reference, plate, driver or notes"
    actions = ["arrive_selected", "depart_selected", "cancel_selected", "reopen_selected"]
    actions_detail = ["cancel"]
    autocomplete_fields = list(REFERENCES)
    change_form_before_template = "orders/admin/order_head.html"
    compressed_fields = False
    warn_unsaved_form = True

    # The list.

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return OrderChangeList

    def get_ordering(self, request: HttpRequest) -> list[str]:
        """What is to be done soonest first; everything there ever was latest first."""
        return ["eta_date"] if BOARDS & request.GET.keys() else ["-eta_date"]

    @display(description="Reference", ordering="reference")
    def marked_reference(self, order: Order) -> SafeString:
        marks = {"late": getattr(order, "is_late", False), "priority": order.priority}
        return format_html(
            "{} {}",
            order.reference,
            format_html_join(
                " ", '<span class="mark {0}">{0}</span>', [[mark] for mark in marks if marks[mark]]
            ),
        )

    @display(description="Terminal", ordering="terminal__name")
    def at_terminal(self, order: Order) -> str:
        return order.terminal.name

    @display(description="Goods")
    def goods(self, order: Order) -> SafeString:
        return two_lines(order.get_service_display(), order.get_commodity_display() or "")

    @display(description="Arrival", ordering="eta_date")
    def arrival(self, order: Order) -> SafeString | str:
        return leg_cell(order, ARRIVAL)

    @display(description="Departure", ordering="etd_date")
    def departure(self, order: Order) -> SafeString | str:
        return leg_cell(order, DEPARTURE)

    @display(description="Status", ordering="status", label=STATUS_COLOURS)
    def state(self, order: Order) -> str:
        return order.get_status_display()

    # The form.

    def get_fieldsets(self, request: HttpRequest, obj: Order | None = None) -> list[Any]:
        return [*PLAN, NOTES, PROGRESS] if obj else [*PLAN, NOTES]

    def get_readonly_fields(self, request: HttpRequest, obj: Order | None = None) -> list[str]:
        """What the status has settled: `services.update_order` keeps the same."""
        settled: list[str] = []
        if obj and obj.status == Status.ARRIVED:
            settled = ["terminal", "service"]
        elif obj and obj.status != Status.PLANNED:
            settled = flatten_fieldsets(PLAN)
        return [*flatten_fieldsets([PROGRESS]), *settled]

    @display(description="Arrived")
    def arrived(self, order: Order) -> str:
        return on_clock_of(order, order.arrived_at)

    @display(description="Departed")
    def departed(self, order: Order) -> str:
        return on_clock_of(order, order.departed_at)

    @display(description="Cancelled")
    def cancelled(self, order: Order) -> str:
        return on_clock_of(order, order.cancelled_at)

    @display(description="Created")
    def created(self, order: Order) -> str:
        return on_clock_of(order, order.created_at)

    @display(description="Last changed")
    def updated(self, order: Order) -> str:
        return on_clock_of(order, order.updated_at)

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """Show the status, and the buttons of the steps that it allows."""
        order = context["original"]
        if order:
            context["status_colour"] = STATUS_COLOURS.get(order.get_status_display())
        if order and self.has_change_permission(request, order):
            context["actions_submit_line"] = [step for step in STEPS if step.fits(order)]
        if order and order.status not in {Status.PLANNED, Status.ARRIVED}:
            context["actions_detail"] = []
        return super().render_change_form(request, context, *args, **kwargs)

    def create(self, request: HttpRequest, obj: Order, form: ServiceForm) -> Order:
        return services.create_order(form.columns(), by=user_of(request))

    def update(self, request: HttpRequest, obj: Order, form: ServiceForm) -> Order:
        """Save what the form says, then take the step whose button was pressed."""
        order = services.update_order(
            self.hold(request, obj),
            form.columns(),
            by=user_of(request),
            expected=[form.cleaned_data["seen_version"] or 0],
        )
        if step := pressed(request):
            order = step.take(order, timezone.now())
            self.log_change(request, order, f"{step.done}.")
        return order

    def delete(self, held: Order) -> None:
        services.delete_order(held)

    def log_change(self, request: HttpRequest, obj: Order, message: Any) -> Any:
        return super().log_change(request, obj, message) if message else None

    def response_change(self, request: HttpRequest, obj: Order) -> HttpResponse:
        if step := pressed(request):
            self.message_user(request, f"{step.done}: {obj}.", messages.SUCCESS)
            return self.response_post_save_change(request, obj)
        return super().response_change(request, obj)

    # The steps, of one order or of those that were chosen in the list.

    @action(description="Arrive", permissions=["change"])
    def arrive_selected(self, request: HttpRequest, orders: OrderQuerySet) -> None:
        self.take_each(request, orders, ARRIVE.done, ARRIVE.take)

    @action(description="Depart", permissions=["change"])
    def depart_selected(self, request: HttpRequest, orders: OrderQuerySet) -> None:
        self.take_each(request, orders, DEPART.done, DEPART.take)

    @action(description="Reopen", permissions=["change"])
    def reopen_selected(self, request: HttpRequest, orders: OrderQuerySet) -> None:
        self.take_each(request, orders, REOPEN.done, REOPEN.take)

    @action(description="Cancel …", permissions=["change"])
    def cancel_selected(self, request: HttpRequest, orders: OrderQuerySet) -> HttpResponse | None:
        return self.ask_reason(request, orders)

    @action(description="Cancel …", permissions=["change"], icon="block")
    def cancel(self, request: HttpRequest, object_id: str) -> HttpResponse:
        order = self.get_object(request, object_id)
        if order is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)
        alone: Any = self.get_queryset(request).filter(pk=order.pk)
        return self.ask_reason(request, alone) or self.response_post_save_change(request, order)

    def ask_reason(self, request: HttpRequest, orders: OrderQuerySet) -> HttpResponse | None:
        """Cancel the orders for the reason that was given; without one, the page that asks."""
        form = CancelForm(request.POST if "reason" in request.POST else None)
        if form.is_valid():
            reason = form.cleaned_data["reason"]
            self.take_each(
                request,
                orders,
                "Cancelled",
                lambda order, now: services.cancel_order(order, reason=reason, now=now),
            )
            return None
        context = {
            **self.admin_site.each_context(request),
            "title": "Cancel",
            "opts": self.opts,
            "form": form,
            "orders": orders,
            "action_checkbox_name": ACTION_CHECKBOX_NAME,
        }
        return TemplateResponse(request, "orders/admin/cancel.html", context)

    def take_each(
        self,
        request: HttpRequest,
        orders: OrderQuerySet,
        done: str,
        take: Callable[[Order, datetime], Order],
    ) -> None:
        """Take a step with each order; one that refuses holds up none of the others.

        What a service refuses it has not begun to write.
        """
        taken, refused = [], []
        try:
            with transaction.atomic():
                for order in orders.locked():
                    try:
                        take(order, timezone.now())
                    except Refusal as refusal:
                        refused.append(told(refusal))
                    else:
                        self.log_change(request, order, f"{done}.")
                        taken.append(order.reference)
        except DatabaseError as error:
            taken, refused = [], [told(refusal_in(error))]
        if taken:
            self.message_user(request, f"{done}: {', '.join(shortened(taken))}.", messages.SUCCESS)
        if refused:
            lines = format_html_join(
                mark_safe("<br>"), "{}", ([line] for line in shortened(refused))
            )
            self.message_user(request, lines, messages.ERROR)


def board(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """What the first page shows: each terminal's day in numbers."""
    return {
        **context,
        "days": terminal_days(user_of(request), now=timezone.now()),
        "may_add": may(request.user, Act.ADD, "orders.order"),
    }
