"""The API's resources, so that a test can be asked of each: what goes in, what is there."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db import connection, models
from rest_framework.serializers import Field

from core.api.serializers import InputSerializer
from core.models import Organization
from fleet.api.serializers import DriverInput, VehicleInput
from fleet.models import Driver, Trailer, Truck
from orders.api.serializers import OrderInput
from orders.models import Order
from terminals.api.serializers import TerminalInput
from terminals.models import Terminal
from tests.fleet.factories import DriverFactory, TrailerFactory, TruckFactory
from tests.orders.factories import OrderFactory, today
from tests.terminals.factories import TerminalFactory


@dataclass(frozen=True)
class Resource:
    """One of the API's plural nouns."""

    name: str
    model: type[models.Model]
    input: type[InputSerializer]
    thing: Callable[[Organization], Any]
    body: Callable[[Organization], dict[str, Any]]

    @property
    def path(self) -> str:
        return f"/{self.name}"

    def fields(self, *kinds: type[Field]) -> list[str]:
        """The names of what comes in that is of one of these kinds."""
        fields = self.input().fields
        return [name for name in fields if isinstance(fields[name], kinds)]

    def __str__(self) -> str:
        return self.name


def _order(organization: Organization) -> dict[str, Any]:
    return {
        "reference": "NEW-1",
        "service": "cross_dock",
        "terminal_id": str(TerminalFactory(organization=organization).pk),
        "eta_date": str(today()),
        "etd_date": str(today() + timedelta(days=1)),
    }


RESOURCES = [
    Resource(
        "terminals",
        Terminal,
        TerminalInput,
        lambda organization: TerminalFactory(organization=organization),
        lambda _: {"name": "New Quay", "account_code": "NQ"},
    ),
    Resource(
        "drivers",
        Driver,
        DriverInput,
        lambda organization: DriverFactory(organization=organization),
        lambda _: {"name": "Newcomer"},
    ),
    Resource(
        "trucks",
        Truck,
        VehicleInput,
        lambda organization: TruckFactory(organization=organization),
        lambda _: {"license_plate": "NE10001"},
    ),
    Resource(
        "trailers",
        Trailer,
        VehicleInput,
        lambda organization: TrailerFactory(organization=organization),
        lambda _: {"license_plate": "NE2001"},
    ),
    Resource(
        "orders",
        Order,
        OrderInput,
        lambda organization: OrderFactory(terminal__organization=organization),
        _order,
    ),
]
BY_NAME = {resource.name: resource for resource in RESOURCES}
ORDERS, TERMINALS = BY_NAME["orders"], BY_NAME["terminals"]


def fields(*kinds: type[Field]) -> Iterator[tuple[Resource, str]]:
    """Every resource with each of its fields of one of these kinds."""
    for resource in RESOURCES:
        for name in resource.fields(*kinds):
            yield resource, name


def row_counts() -> dict[str, int]:
    """How many rows there are of each resource; one statement."""
    counts = (f"(SELECT count(*) FROM {each.model._meta.db_table})" for each in RESOURCES)
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {', '.join(counts)}")
        return dict(zip(BY_NAME, cursor.fetchone(), strict=True))


def columns(thing: models.Model) -> dict[str, Any]:
    """What the database holds of one row."""
    return type(thing)._default_manager.filter(pk=thing.pk).values().get()
