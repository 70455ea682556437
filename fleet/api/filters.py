"""What the lists of the registry can be asked for."""

from typing import Any

from core.api.filters import FlagFilter, PartFilter, StrictFilterSet, timeless


class _Searchable(StrictFilterSet):
    name = PartFilter(lookup_expr="icontains", help_text="A part of the name, without case.")
    is_active = FlagFilter()


class DriverFilter(_Searchable):
    phone = PartFilter(method="by_phone", help_text="A part of the phone number.")
    q = PartFilter(method="search", help_text="A part of the name or the phone number.")

    @timeless
    def by_phone(self, drivers: Any, _name: str, value: str) -> Any:
        return drivers.with_phone_like(value)

    @timeless
    def search(self, drivers: Any, _name: str, value: str) -> Any:
        return drivers.matching(value)


class VehicleFilter(_Searchable):
    license_plate = PartFilter(
        method="by_plate",
        help_text="A part of the plate; spaces and hyphens do not count.",
    )
    q = PartFilter(method="search", help_text="A part of the name or the plate.")

    @timeless
    def by_plate(self, vehicles: Any, _name: str, value: str) -> Any:
        return vehicles.with_plate_like(value)

    @timeless
    def search(self, vehicles: Any, _name: str, value: str) -> Any:
        return vehicles.matching(value)
