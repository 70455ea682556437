"""The registry: drivers, trucks and trailers."""

from typing import ClassVar

from django.contrib.postgres.indexes import GinIndex, OpClass
from django.db import models
from django.db.models import Q
from django.db.models.functions import Upper

from core import history, text
from core.constraints import Rule, Unique, referable
from core.fields import CountryField, LineField, PhoneField, PlateField
from core.models import ReferenceModel
from fleet.querysets import DriverQuerySet, VehicleQuerySet


@history.tracked()
class Driver(ReferenceModel):
    """Somebody who drives; `phone` is E.164 or empty, and nobody else's in the organization."""

    cached_as = "drivers"

    name = LineField(max_length=120)
    phone = PhoneField(max_length=16, blank=True, default="")
    is_active = models.BooleanField(default=True)

    objects: ClassVar[DriverQuerySet["Driver"]] = DriverQuerySet.as_manager()  # type: ignore[assignment]

    class Meta(ReferenceModel.Meta):
        constraints = [
            referable("fleet_driver"),
            Unique(
                fields=["organization", "phone"],
                condition=~Q(phone=""),
                name="fleet_driver_phone_unique",
                field="phone",
            ),
            Rule(
                name="fleet_driver_name_not_empty",
                condition=~Q(name=""),
                field="name",
                code="required",
                message="A driver has a name.",
            ),
            Rule(
                name="fleet_driver_phone_is_e164",
                condition=Q(phone__regex=text.E164_PATTERN),
                field="phone",
                code="invalid-phone",
                message="Not an international phone number such as +4790123456.",
            ),
        ]
        indexes = [
            # The registry by name, page by page.
            models.Index(fields=["organization", "name", "id"], name="fleet_driver_by_name"),
            # Sorted by phone number, those without one included.
            models.Index(fields=["organization", "phone", "id"], name="fleet_driver_by_phone"),
            # The newest first.
            models.Index(
                fields=["organization", "created_at", "id"],
                name="fleet_driver_by_created",
            ),
            # A part of the name, without case.
            GinIndex(OpClass(Upper("name"), "gin_trgm_ops"), name="fleet_driver_name_parts"),
            # A part of the phone number.
            GinIndex(OpClass("phone", "gin_trgm_ops"), name="fleet_driver_phone_parts"),
        ]

    def __str__(self) -> str:
        return f"{self.name} {self.phone}".strip()


class Vehicle(ReferenceModel):
    """What has a licence plate; one plate may be a truck's and a trailer's."""

    license_plate = PlateField(max_length=16)
    plate_country = CountryField(max_length=2, default="NO")
    name = LineField(max_length=120, blank=True, default="")
    is_active = models.BooleanField(default=True)

    class Meta(ReferenceModel.Meta):
        abstract = True
        constraints = [
            referable("%(app_label)s_%(class)s"),
            Unique(
                fields=["organization", "license_plate", "plate_country"],
                name="%(app_label)s_%(class)s_plate_unique_in_country",
                field="license_plate",
            ),
            Rule(
                name="%(app_label)s_%(class)s_plate_not_empty",
                condition=~Q(license_plate=""),
                field="license_plate",
                code="required",
                message="A licence plate is needed.",
            ),
            Rule(
                name="%(app_label)s_%(class)s_plate_is_normal",
                condition=Q(license_plate__regex=text.PLATE_PATTERN),
                field="license_plate",
                code="invalid-plate",
                message="A plate is made of Latin letters and digits.",
            ),
            Rule(
                name="%(app_label)s_%(class)s_country_is_two_letters",
                condition=Q(plate_country__regex="^[A-Z]{2}$"),
                field="plate_country",
                code="unknown-country",
                message="Not a country code of ISO 3166-1 alpha-2.",
            ),
        ]
        indexes = [
            # The registry by plate, page by page.
            models.Index(
                fields=["organization", "license_plate", "id"],
                name="%(app_label)s_%(class)s_by_plate",
            ),
            # The same by name.
            models.Index(
                fields=["organization", "name", "id"],
                name="%(app_label)s_%(class)s_by_name",
            ),
            # The newest first.
            models.Index(
                fields=["organization", "created_at", "id"],
                name="%(app_label)s_%(class)s_by_created",
            ),
            # A part of the plate; it is in upper case already.
            GinIndex(
                OpClass("license_plate", "gin_trgm_ops"),
                name="%(app_label)s_%(class)s_plate_parts",
            ),
            # A part of the name, without case.
            GinIndex(
                OpClass(Upper("name"), "gin_trgm_ops"),
                name="%(app_label)s_%(class)s_name_parts",
            ),
        ]

    def __str__(self) -> str:
        plate = self.license_plate
        return plate if self.plate_country == "NO" else f"{plate} ({self.plate_country})"


@history.tracked()
class Truck(Vehicle):
    """A truck or tractor unit."""

    cached_as = "trucks"

    objects: ClassVar[VehicleQuerySet["Truck"]] = VehicleQuerySet.as_manager()  # type: ignore[assignment]

    class Meta(Vehicle.Meta):
        abstract = False


@history.tracked()
class Trailer(Vehicle):
    """A trailer or semi-trailer."""

    cached_as = "trailers"

    objects: ClassVar[VehicleQuerySet["Trailer"]] = VehicleQuerySet.as_manager()  # type: ignore[assignment]

    class Meta(Vehicle.Meta):
        abstract = False
