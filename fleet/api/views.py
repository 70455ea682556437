"""The registry over REST."""

from drf_spectacular.utils import extend_schema_view

from core.api.schema import OF_BYTES, registry_schema
from core.api.views import RegistryViewSet
from fleet.api.filters import DriverFilter, VehicleFilter
from fleet.api.serializers import (
    DriverInput,
    DriverOut,
    TrailerOut,
    TruckOut,
    VehicleInput,
)
from fleet.models import Driver, Trailer, Truck


@extend_schema_view(
    **registry_schema("driver", DriverInput, DriverOut, lists=OF_BYTES, read=OF_BYTES)
)
class DriverViewSet(RegistryViewSet):
    """Those who drive."""

    resource = "fleet.driver"
    queryset = Driver.objects.all()
    serializer_class = DriverOut
    input_class = DriverInput
    filterset_class = DriverFilter
    ordering_fields = ("name", "phone", "created_at")
    ordering = ("name",)


class _VehicleViewSet(RegistryViewSet):
    input_class = VehicleInput
    filterset_class = VehicleFilter
    ordering_fields = ("license_plate", "name", "created_at")
    ordering = ("license_plate",)


@extend_schema_view(
    **registry_schema("truck", VehicleInput, TruckOut, lists=OF_BYTES, read=OF_BYTES)
)
class TruckViewSet(_VehicleViewSet):
    """Trucks and tractor units."""

    resource = "fleet.truck"
    queryset = Truck.objects.all()
    serializer_class = TruckOut


@extend_schema_view(
    **registry_schema("trailer", VehicleInput, TrailerOut, lists=OF_BYTES, read=OF_BYTES)
)
class TrailerViewSet(_VehicleViewSet):
    """Trailers and semi-trailers."""

    resource = "fleet.trailer"
    queryset = Trailer.objects.all()
    serializer_class = TrailerOut
