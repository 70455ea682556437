"""Drivers, trucks and trailers as they come in and go out."""

from rest_framework import serializers

from core import text
from core.api.fields import FlagField, TextField
from core.api.serializers import InputSerializer
from fleet.models import Driver, Trailer, Truck

_VEHICLE = ["id", "license_plate", "plate_country", "name"]


class DriverBrief(serializers.ModelSerializer[Driver]):
    """A driver inside something else."""

    class Meta:
        model = Driver
        fields = ["id", "name", "phone"]


class TruckBrief(serializers.ModelSerializer[Truck]):
    """A truck inside something else."""

    class Meta:
        model = Truck
        fields = _VEHICLE


class TrailerBrief(serializers.ModelSerializer[Trailer]):
    """A trailer inside something else."""

    class Meta:
        model = Trailer
        fields = _VEHICLE


class DriverOut(serializers.ModelSerializer[Driver]):
    class Meta:
        model = Driver
        fields = ["id", "name", "phone", "is_active", "created_at", "updated_at"]


class TruckOut(serializers.ModelSerializer[Truck]):
    class Meta:
        model = Truck
        fields = [*_VEHICLE, "is_active", "created_at", "updated_at"]


class TrailerOut(serializers.ModelSerializer[Trailer]):
    class Meta:
        model = Trailer
        fields = [*_VEHICLE, "is_active", "created_at", "updated_at"]


class DriverInput(InputSerializer):
    name = TextField(max_length=120)
    phone = TextField(
        text.phone,
        max_length=16,
        required=False,
        help_text="Any international form; kept as E.164.",
    )
    is_active = FlagField(required=False, default=True)


class VehicleInput(InputSerializer):
    license_plate = TextField(
        text.plate,
        max_length=16,
        help_text="Kept in upper case without spaces and hyphens.",
    )
    plate_country = TextField(text.country, max_length=2, required=False, default="NO")
    name = TextField(max_length=120, required=False)
    is_active = FlagField(required=False, default=True)
