"""The plainest valid order, and each state it can be in."""

from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import factory
from django.utils import timezone
from factory.django import DjangoModelFactory

from orders.models import Order, Service, Status
from tests.terminals.factories import TerminalFactory

OSLO = ZoneInfo("Europe/Oslo")


def today() -> date:
    """Today on the clock that terminals have unless told otherwise."""
    return datetime.now(OSLO).date()


def hours_ago(hours: float) -> datetime:
    return timezone.now() - timedelta(hours=hours)


class OrderFactory(DjangoModelFactory[Order]):
    """Comes today and leaves tomorrow; `terminal__organization=…` says whose it is."""

    class Meta:
        model = Order

    class Params:
        arrived = factory.Trait(
            status=Status.ARRIVED, arrived_at=factory.LazyFunction(lambda: hours_ago(2))
        )
        departed = factory.Trait(
            status=Status.DEPARTED,
            arrived_at=factory.LazyFunction(lambda: hours_ago(2)),
            departed_at=factory.LazyFunction(lambda: hours_ago(1)),
        )
        cancelled = factory.Trait(
            status=Status.CANCELLED,
            cancelled_at=factory.LazyFunction(lambda: hours_ago(1)),
            cancel_reason="Not needed any more.",
        )

    terminal = factory.SubFactory(TerminalFactory)
    organization = factory.LazyAttribute(lambda order: order.terminal.organization)
    reference = factory.Sequence("REF-{:05}".format)
    service = Service.CROSS_DOCK
    eta_date = factory.LazyFunction(today)
    etd_date = factory.LazyFunction(lambda: today() + timedelta(days=1))
