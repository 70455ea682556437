"""The words for choosing orders."""

from collections.abc import Callable, Iterable
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Self
from zoneinfo import ZoneInfo

from django.db.models import F, Q, TextField, Value
from django.db.models.functions import Cast, Lower

from core import text
from core.querysets import Among, Joined, TenantQuerySet
from fleet.models import Driver, Trailer, Truck
from orders.legs import LEGS, week_of

if TYPE_CHECKING:
    from orders.models import Order  # noqa: F401

# A period as the first and the last day, seen from a terminal's own today.
PERIODS: dict[str, Callable[[date], tuple[date, date]]] = {
    "today": lambda today: (today, today),
    "yesterday": lambda today: (today - timedelta(1), today - timedelta(1)),
    "tomorrow": lambda today: (today + timedelta(1), today + timedelta(1)),
    "this_week": lambda today: (week_of(today), week_of(today) + timedelta(6)),
    "next_week": lambda today: (
        week_of(today) + timedelta(7),
        week_of(today) + timedelta(13),
    ),
    "last_week": lambda today: (
        week_of(today) - timedelta(7),
        week_of(today) - timedelta(1),
    ),
    "this_month": lambda today: (
        today.replace(day=1),
        (today.replace(day=1) + timedelta(31)).replace(day=1) - timedelta(1),
    ),
}


def _joined(*names: str) -> Joined:
    """The texts of some columns as one, with a character between them that none of them holds."""
    texts = [part for name in names for part in (Value("\x1f"), Cast(F(name), TextField()))]
    return Joined(*texts[1:])


# What a search looks through, as the index `orders_parts` has it: one look for all of them.
WRITTEN = _joined("reference", "notes", *(f"{leg.prefix}_driver_name" for leg in LEGS))
PLATES = _joined(*(f"{leg.prefix}_{part}_plate" for leg in LEGS for part in ("truck", "trailer")))


def _moving_between(first: date, last: date) -> Q:
    return Q(eta_date__range=(first, last)) | Q(etd_date__range=(first, last))


def _due(prefix: str, local: datetime) -> Q:
    day, at = f"{prefix}_date", f"{prefix}_time"
    return Q(**{f"{day}__lt": local.date()}) | Q(**{day: local.date(), f"{at}__lt": local.time()})


class OrderQuerySet(TenantQuerySet["Order"]):
    terminal_path = "terminal_id"

    def planned(self) -> Self:
        return self.filter(status=self.model.Status.PLANNED)

    def in_terminal(self) -> Self:
        """The goods stand there: arrived, and not departed."""
        return self.filter(status=self.model.Status.ARRIVED)

    def not_in_terminal(self) -> Self:
        return self.exclude(status=self.model.Status.ARRIVED)

    def active(self) -> Self:
        """Planned or arrived: something is still to be done."""
        return self.filter(status__in=[self.model.Status.PLANNED, self.model.Status.ARRIVED])

    def not_active(self) -> Self:
        return self.exclude(status__in=[self.model.Status.PLANNED, self.model.Status.ARRIVED])

    def moving_on(self, day: date) -> Self:
        """Arriving or departing on `day`, as planned."""
        return self.filter(_moving_between(day, day))

    def moving_in(self, period: str, *, zones: Iterable[str], now: datetime) -> Self:
        """Arriving or departing in `period` (a key of PERIODS), by each terminal's own clock.

        `zones` are the time zones of the terminals in question: those that share a today share a
        condition, and there are seldom more than one or two.
        """
        todays: dict[date, list[str]] = {}
        for name in zones:
            todays.setdefault(now.astimezone(ZoneInfo(name)).date(), []).append(name)
        if len(todays) == 1:  # the common case needs no look at the terminal
            return self.filter(_moving_between(*PERIODS[period](next(iter(todays)))))
        condition = Q(pk__in=[])
        for today, names in todays.items():
            condition |= Q(terminal__timezone__in=names) & _moving_between(*PERIODS[period](today))
        return self.filter(condition)

    def late(self, *, zones: Iterable[str], now: datetime) -> Self:
        """Planned to arrive (or, having arrived, to depart) before `now`, and it has not happened.

        Without a time, a leg is late when its day is over on the terminal's clock.
        """
        status = self.model.Status
        condition = Q(pk__in=[])
        for name in zones:
            local = now.astimezone(ZoneInfo(name))
            comes, goes = _due("eta", local), _due("etd", local)
            waits = Q(status=status.PLANNED) & (comes | (Q(eta_date__isnull=True) & goes))
            stays = Q(status=status.ARRIVED) & goes
            condition |= Q(terminal__timezone=name) & (waits | stays)
        return self.filter(condition)

    def with_reference(self, reference: str) -> Self:
        """Orders known by `reference`, in whichever case it was written."""
        normal = Value(reference, output_field=self.model._meta.get_field("reference"))
        return self.alias(plain_reference=Lower("reference")).filter(plain_reference=Lower(normal))

    def of_driver(self, driver_id: object) -> Self:
        """Orders that this registered driver brings or fetches."""
        return self.filter(Q(eta_driver=driver_id) | Q(etd_driver=driver_id))

    def of_truck(self, truck_id: object) -> Self:
        return self.filter(Q(eta_truck=truck_id) | Q(etd_truck=truck_id))

    def of_trailer(self, trailer_id: object) -> Self:
        return self.filter(Q(eta_trailer=trailer_id) | Q(etd_trailer=trailer_id))

    def matching(self, words: str) -> Self:
        """Orders with `words` in the reference, the notes, a typed or registered name or plate.

        Case does not count, nor do spaces and hyphens of a plate: "ab 12" finds AB12345. Each way
        of finding has an index of its own.
        """
        plain = text.bare_plate(words)
        found = Q(written__icontains=words)
        if plain:
            found |= Q(plates__contains=plain)
        for name, registered in (
            ("driver", Driver.objects.filter(name__icontains=words)),
            ("truck", Truck.objects.matching(words)),
            ("trailer", Trailer.objects.matching(words)),
        ):
            for leg in LEGS:
                found |= Q(Among(f"{leg.prefix}_{name}", registered))
        return self.alias(written=WRITTEN, plates=PLATES).filter(found)

    def with_details(self) -> Self:
        """Load what an order is shown with: one statement however long the page."""
        return self.select_related(
            "terminal",
            "eta_driver",
            "eta_truck",
            "eta_trailer",
            "etd_driver",
            "etd_truck",
            "etd_trailer",
        )
