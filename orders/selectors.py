"""Answers about orders that are not orders."""

from dataclasses import dataclass
from datetime import datetime

from django.db.models import CharField, Count, Value

from core.models import Principal
from orders.models import Order
from terminals.models import Terminal


@dataclass(slots=True)
class TerminalDay:
    """One terminal's day in numbers: today, by its own clock."""

    terminal: Terminal
    expected: int = 0
    in_terminal: int = 0
    late: int = 0
    departed: int = 0


def terminal_days(user: Principal, *, now: datetime) -> list[TerminalDay]:
    """The day of each active terminal that `user` sees, by name; two statements."""
    terminals = Terminal.objects.visible_to(user).filter(is_active=True).order_by("name", "id")
    days = {terminal.pk: TerminalDay(terminal) for terminal in terminals}
    zones = {day.terminal.timezone for day in days.values()}
    orders = Order.objects.visible_to(user).order_by()
    today = orders.moving_in("today", zones=zones, now=now)
    words = {
        "expected": today.planned(),
        "in_terminal": orders.in_terminal(),
        "late": orders.late(zones=zones, now=now),
        "departed": today.filter(status=Order.Status.DEPARTED),
    }
    first, *more = (
        found.values("terminal_id").annotate(
            word=Value(word, output_field=CharField()), orders=Count("pk")
        )
        for word, found in words.items()
    )
    for row in first.union(*more, all=True):
        if day := days.get(row["terminal_id"]):
            setattr(day, row["word"], row["orders"])
    return list(days.values())
