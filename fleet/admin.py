"""The registry: drivers, trucks and trailers."""

from django.contrib import admin
from unfold.contrib.filters.admin import BooleanRadioFilter

from core.admin import RegistryAdmin
from core.admin_cache import EmptiesOwnCache
from fleet.models import Driver, Trailer, Truck


class FleetAdmin(EmptiesOwnCache, RegistryAdmin):
    list_filter = [("is_active", BooleanRadioFilter)]
    list_select_related = ["organization"]
    search_fields = ["name"]


@admin.register(Driver)
class DriverAdmin(FleetAdmin):
    list_display = ["name", "phone", "is_active"]
    search_help_text = "Name or phone number"
    ordering = ["name"]


@admin.register(Truck, Trailer)
class VehicleAdmin(FleetAdmin):
    list_display = ["license_plate", "plate_country", "name", "is_active"]
    search_help_text = "Licence plate or name"
    ordering = ["license_plate"]
