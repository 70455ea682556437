"""The two halves of an order: what its columns are called, and its clock."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property
from typing import Any
from zoneinfo import ZoneInfo


@dataclass(frozen=True)
class Part:
    """A driver, truck or trailer of a leg: `registered` is the foreign key, `typed` the texts."""

    noun: str
    registered: str
    typed: tuple[str, ...]


@dataclass(frozen=True)
class Leg:
    """The arrival (`eta_…`) or departure (`etd_…`) half of an order."""

    prefix: str
    noun: str

    @property
    def date(self) -> str:
        return f"{self.prefix}_date"

    @property
    def time(self) -> str:
        return f"{self.prefix}_time"

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        return (
            Part(
                "driver",
                f"{self.prefix}_driver",
                (f"{self.prefix}_driver_name", f"{self.prefix}_driver_phone"),
            ),
            Part("truck", f"{self.prefix}_truck", (f"{self.prefix}_truck_plate",)),
            Part("trailer", f"{self.prefix}_trailer", (f"{self.prefix}_trailer_plate",)),
        )

    def planned_at(self, order: Any, clock: ZoneInfo) -> datetime | None:
        """The planned instant on the terminal's `clock`; None without a date."""
        day, at = getattr(order, self.date), getattr(order, self.time)
        return instant_of(day, at, clock) if day else None


def instant_of(day: date, at: time | None, clock: ZoneInfo) -> datetime:
    """The instant (UTC) of a local day and time; the end of the day where `at` is None.

    A local time that comes twice means the first (`fold` is 0, PEP 495).
    """
    local = datetime.combine(day, at or time.max, tzinfo=clock)
    try:
        return local.astimezone(UTC)
    except OverflowError:  # 0001-01-01 and 9999-12-31 lie outside in some zones
        return local.replace(tzinfo=UTC)


def is_skipped(day: date, at: time, clock: ZoneInfo) -> bool:
    """Whether the clock jumps over this local time, as in a spring night."""
    local = datetime.combine(day, at, tzinfo=clock)
    try:
        back = local.astimezone(UTC).astimezone(clock)
    except OverflowError:
        return False
    return back.replace(tzinfo=None) != local.replace(tzinfo=None)


def week_of(day: date) -> date:
    """The Monday of the day's week."""
    return day - timedelta(days=day.weekday())


ARRIVAL = Leg("eta", "arrival")
DEPARTURE = Leg("etd", "departure")
LEGS = (ARRIVAL, DEPARTURE)
