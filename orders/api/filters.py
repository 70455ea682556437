"""What the list of orders can be asked for; each filter says one word of the QuerySet."""

from typing import Any

from django.utils import timezone
from django_filters import rest_framework as filters

from core.api.filters import (
    DayFilter,
    FlagFilter,
    IdFilter,
    InstantFilter,
    ManyIdsFilter,
    PartFilter,
    StrictFilterSet,
    WholeFilter,
    timeless,
)
from orders.models import Commodity, Service, Status
from orders.querysets import PERIODS
from terminals.models import Terminal


class OrderFilter(StrictFilterSet):
    terminal_id = ManyIdsFilter(field_name="terminal")
    service = filters.MultipleChoiceFilter(choices=Service.choices, distinct=False)
    commodity = filters.MultipleChoiceFilter(choices=Commodity.choices, distinct=False)
    status = filters.MultipleChoiceFilter(choices=Status.choices, distinct=False)
    priority = FlagFilter()
    in_terminal = FlagFilter(method="filter_in_terminal", help_text="Arrived and not departed.")
    active = FlagFilter(method="filter_active", help_text="Planned or arrived.")
    eta_date = DayFilter()
    eta_date_from = DayFilter("eta_date", "gte")
    eta_date_until = DayFilter("eta_date", "lte")
    etd_date = DayFilter()
    etd_date_from = DayFilter("etd_date", "gte")
    etd_date_until = DayFilter("etd_date", "lte")
    created_at_from = InstantFilter("created_at", "gte")
    created_at_until = InstantFilter("created_at", "lte")
    updated_since = InstantFilter("updated_at", "gte", help_text="Changed at this moment or later.")
    on = DayFilter(method="filter_on", help_text="Arriving or departing that day.")
    period = filters.ChoiceFilter(
        method="filter_period",
        choices=[(name, name) for name in PERIODS],
        help_text="Arriving or departing then, by the terminal's clock; weeks begin on Monday.",
    )
    driver_id = IdFilter(method="filter_driver", help_text="On either leg.")
    truck_id = IdFilter(method="filter_truck", help_text="On either leg.")
    trailer_id = IdFilter(method="filter_trailer", help_text="On either leg.")
    reference = WholeFilter(method="filter_reference", help_text="The whole reference, any case.")
    q = PartFilter(
        method="filter_q",
        help_text="A part of reference, notes, a name or a plate, typed or registered.",
    )

    @timeless
    def filter_in_terminal(self, orders: Any, _name: str, value: bool) -> Any:
        return orders.in_terminal() if value else orders.not_in_terminal()

    @timeless
    def filter_active(self, orders: Any, _name: str, value: bool) -> Any:
        return orders.active() if value else orders.not_active()

    @timeless
    def filter_on(self, orders: Any, _name: str, value: Any) -> Any:
        return orders.moving_on(value)

    def filter_period(self, orders: Any, _name: str, value: str) -> Any:
        zones = Terminal.objects.visible_to(self.request.user).zones()
        return orders.moving_in(value, zones=zones, now=timezone.now())

    @timeless
    def filter_driver(self, orders: Any, _name: str, value: Any) -> Any:
        return orders.of_driver(value)

    @timeless
    def filter_truck(self, orders: Any, _name: str, value: Any) -> Any:
        return orders.of_truck(value)

    @timeless
    def filter_trailer(self, orders: Any, _name: str, value: Any) -> Any:
        return orders.of_trailer(value)

    @timeless
    def filter_reference(self, orders: Any, _name: str, value: str) -> Any:
        return orders.with_reference(value)

    @timeless
    def filter_q(self, orders: Any, _name: str, value: str) -> Any:
        return orders.matching(value)
