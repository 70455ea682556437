"""The plainest valid driver, truck and trailer."""

import factory
from factory.django import DjangoModelFactory

from fleet.models import Driver, Trailer, Truck
from tests.core.factories import OrganizationFactory


class DriverFactory(DjangoModelFactory[Driver]):
    class Meta:
        model = Driver

    organization = factory.SubFactory(OrganizationFactory)
    name = factory.Sequence("Driver {}".format)


class TruckFactory(DjangoModelFactory[Truck]):
    class Meta:
        model = Truck

    organization = factory.SubFactory(OrganizationFactory)
    license_plate = factory.Sequence("TK{:05}".format)


class TrailerFactory(DjangoModelFactory[Trailer]):
    class Meta:
        model = Trailer

    organization = factory.SubFactory(OrganizationFactory)
    license_plate = factory.Sequence("TL{:04}".format)
