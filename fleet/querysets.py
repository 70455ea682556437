"""The words for choosing drivers, trucks and trailers."""

from typing import Self, TypeVar

from django.db import models

from core import text
from core.querysets import ReferenceQuerySet

M = TypeVar("M", bound=models.Model, covariant=True)


class DriverQuerySet(ReferenceQuerySet[M]):
    def with_phone_like(self, part: str) -> Self:
        """Drivers with the digits of `part` in their phone number; none if it has no digits."""
        digits = "".join(char for char in part if char in "+0123456789")
        if digits.startswith("00"):
            digits = "+" + digits[2:]
        return self.filter(phone__contains=digits) if digits.strip("+") else self.none()

    def matching(self, words: str) -> Self:
        """Drivers with `words` in the name, or its digits in the phone number."""
        return self.filter(name__icontains=words) | self.with_phone_like(words)


class VehicleQuerySet(ReferenceQuerySet[M]):
    def with_plate_like(self, part: str) -> Self:
        """Vehicles with `part`, in the normal form, in their plate; none if nothing is left."""
        plain = text.bare_plate(part)
        return self.filter(license_plate__contains=plain) if plain else self.none()

    def matching(self, words: str) -> Self:
        """Vehicles with `words` in the name, or its normal form in the plate."""
        return self.filter(name__icontains=words) | self.with_plate_like(words)
