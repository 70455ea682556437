"""The list of orders: its filters, its order, and what its cells show."""

from typing import Any

from django.contrib.admin.options import IncorrectLookupParameters
from django.db.models import F, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import DropdownFilter, RadioFilter
from unfold.views import ChangeList

from orders.legs import LEGS, Leg
from orders.models import Order
from orders.querysets import PERIODS, OrderQuerySet
from terminals.models import Terminal


class KnownChoice:
    """A list filter that takes its own choices only, whatever the query string says."""

    def value(self) -> Any:
        value = super().value()  # type: ignore[misc]
        if value and value not in dict(self.lookup_choices):  # type: ignore[attr-defined]
            raise IncorrectLookupParameters
        return value


class PeriodFilter(KnownChoice, DropdownFilter):
    title = "period"
    parameter_name = "period"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(key, key.replace("_", " ").capitalize()) for key in PERIODS]

    def queryset(self, request: HttpRequest, queryset: OrderQuerySet) -> OrderQuerySet:
        if period := self.value():
            return queryset.moving_in(period, zones=zones_of(request), now=timezone.now())
        return queryset


class TerminalFilter(KnownChoice, DropdownFilter):
    title = "terminal"
    parameter_name = "terminal"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        terminals = Terminal.objects.visible_to(request.user).order_by("name", "id")
        return [(str(key), name) for key, name in terminals.values_list("pk", "name")]

    def queryset(self, request: HttpRequest, queryset: OrderQuerySet) -> OrderQuerySet:
        return queryset.filter(terminal=self.value()) if self.value() else queryset


class InTerminalFilter(KnownChoice, RadioFilter):
    title = "place"
    parameter_name = "in_terminal"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("1", "In terminal")]

    def queryset(self, request: HttpRequest, queryset: OrderQuerySet) -> OrderQuerySet:
        return queryset.in_terminal() if self.value() else queryset


class LateFilter(KnownChoice, RadioFilter):
    title = "delay"
    parameter_name = "late"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("1", "Late")]

    def queryset(self, request: HttpRequest, queryset: OrderQuerySet) -> OrderQuerySet:
        if self.value():
            return queryset.late(zones=zones_of(request), now=timezone.now())
        return queryset


def zones_of(request: HttpRequest) -> list[str]:
    return Terminal.objects.visible_to(request.user).zones()


class OrderChangeList(ChangeList):
    """Knows which orders of its page are late, and sorts within a day by the clock."""

    def get_ordering(self, request: HttpRequest, queryset: QuerySet) -> list[Any]:
        times = {leg.date: leg.time for leg in LEGS}
        ordering: list[Any] = []
        for field in super().get_ordering(request, queryset):
            name = str(field).lstrip("-")
            if name in times:
                by = F.desc if str(field).startswith("-") else F.asc
                ordering += [by(F(column), nulls_last=True) for column in (name, times[name])]
            else:
                ordering.append(field)
        return ordering

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        page = {order.pk: order for order in self.result_list}
        zones = {order.terminal.timezone for order in page.values()}
        late = Order.objects.filter(pk__in=page).late(zones=zones, now=timezone.now())
        for key in late.values_list("pk", flat=True):
            page[key].is_late = True


def leg_cell(order: Order, leg: Leg) -> SafeString | str:
    """When a leg is planned, on the terminal's clock, and below it who brings or fetches what."""
    day, at = getattr(order, leg.date), getattr(order, leg.time)
    if not day:
        return ""
    driver, truck, trailer = leg.parts
    carriers = [
        str(getattr(order, part.registered) or getattr(order, part.typed[0]))
        for part in (truck, trailer)
    ]
    known = getattr(order, driver.registered)
    carriers.append(known.name if known else getattr(order, driver.typed[0]))
    shown = date_format(day, "D j M" if day.year == timezone.now().year else "D j M Y")
    return two_lines(f"{shown} {at:%H:%M}" if at else shown, " · ".join(filter(None, carriers)))


def two_lines(first: str, second: str) -> SafeString:
    return format_html('<span class="two-lines"><b>{}</b><span>{}</span></span>', first, second)
