"""What happened to an order, in words, and the order as it was.

Whose it is to see is judged by the order as it stands, or stood when it was deleted.
"""

import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from typing import Any

from django.db.models import Subquery
from django.db.models.functions import Now

from core import history
from core.errors import FieldError, NotFound, RuleBroken
from core.models import User
from fleet.models import Driver, Trailer, Truck
from orders.models import Order, Status
from orders.references import REFERENCES
from terminals.models import Terminal

EVENTS: Any = history.events_of(Order)

_KEPT_BY_THE_HOUSE = {"id", "organization", "version", "created_at", "updated_at"}
_TOLD = [field for field in Order._meta.concrete_fields if field.name not in _KEPT_BY_THE_HOUSE]
_LEGS = {"eta": "arrival", "etd": "departure"}
_NAMES: dict[type[Any], Callable[[Any], str]] = {
    Terminal: lambda terminal: terminal.name,
    Driver: lambda driver: driver.name,
    Truck: str,
    Trailer: str,
}
NOBODY = history.Actor("database", "")


@dataclass(frozen=True, slots=True)
class Change:
    """One field; what refers to something else is told by its name on that day."""

    field: str
    before: Any
    after: Any

    @property
    def label(self) -> str:
        prefix, _, rest = self.field.partition("_")
        words = f"{_LEGS[prefix]} {rest}" if prefix in _LEGS else self.field
        return words.replace("_", " ").capitalize()

    @property
    def text(self) -> str:
        return f"{self.label}: {_shown(self.field, self.before)} → {_shown(self.field, self.after)}"


@dataclass(frozen=True, slots=True)
class Entry:
    """One change of an order; asking for the order as of `at` gives what it became."""

    at: datetime
    by: history.Actor
    door: str
    address: str | None
    request_id: str | None
    action: str
    changes: list[Change]
    version: int


def _shown(name: str, value: Any) -> str:
    if value in (None, ""):
        return "nothing"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S} UTC"
    if isinstance(value, date | time):
        return value.isoformat()
    field: Any = Order._meta.get_field(name)
    choices = dict(field.flatchoices)
    return str(choices.get(value, value))


# ------------------------------------------------------------------------------- what happened


def trail(order_id: uuid.UUID, *, user: User) -> Any:
    """The events of an order that `user` sees, in no order; one statement.

    Raises:
        NotFound: there is, and was, no such order, or it is not the user's to see.
    """
    events = EVENTS.objects.filter(pgh_obj=order_id)
    newest = events.order_by("-pgh_id").values("pgh_id")[:1]
    if not EVENTS.objects.visible_to(user).filter(pgh_id=Subquery(newest)).exists():
        raise NotFound
    return events.exclude(pgh_label=history.BASELINE)


def entries(page: Sequence[Any]) -> list[Entry]:
    """What a page of one order's events tells, in its order.

    One statement for what came before the page, and one for each kind of thing that is named.
    """
    if not page:
        return []
    in_time = sorted(page, key=lambda event: event.pgh_id)
    first = in_time[0]
    before = EVENTS.objects.filter(pgh_obj=first.pgh_obj_id, pgh_id__lt=first.pgh_id)
    previous = before.order_by("-pgh_id").first() if first.pgh_label != history.CREATED else None
    told = {}
    for event in in_time:
        told[event.pgh_id] = (event, previous, _changes(previous, event))
        previous = event
    _name(told.values())
    return [_entry(*told[event.pgh_id]) for event in page]


def _changes(previous: Any, event: Any) -> list[Change]:
    if event.pgh_label == history.DELETED:
        return []
    if event.pgh_label == history.CREATED:
        return [
            Change(field.name, None, value)
            for field in _TOLD
            if (value := getattr(event, field.attname)) not in (None, "")
        ]
    return [
        Change(field.name, getattr(previous, field.attname), getattr(event, field.attname))
        for field in _TOLD
        if previous and getattr(previous, field.attname) != getattr(event, field.attname)
    ]


def _name(told: Iterable[tuple[Any, Any, list[Change]]]) -> None:
    """Put names in place of ids, those of the day of each change."""
    wanted: dict[type[Any], set[Any]] = {}
    for _event, _previous, changes in told:
        for change in changes:
            if model := REFERENCES.get(change.field):
                wanted.setdefault(model, set()).update({change.before, change.after} - {None})
    names = {model: _Names(model, ids) for model, ids in wanted.items()}
    for event, _previous, changes in told:
        for place, change in enumerate(changes):
            if model := REFERENCES.get(change.field):
                name, at = names[model], _at(event)
                changes[place] = Change(
                    change.field, name.of(change.before, at), name.of(change.after, at)
                )


class _Names:
    """What terminals, drivers, trucks or trailers were called, and from when on."""

    def __init__(self, model: type[Any], ids: set[Any]) -> None:
        self.called: dict[Any, list[tuple[datetime, str]]] = {}
        for event in history.events_of(model).objects.filter(pgh_obj__in=ids).order_by("pgh_id"):
            name = _NAMES[model](history.as_it_was(event))
            self.called.setdefault(event.pgh_obj_id, []).append((_at(event), name))

    def of(self, key: Any, at: datetime) -> str | None:
        if key is None:
            return None
        names = self.called.get(key) or [(at, str(key))]
        return next((name for since, name in reversed(names) if since <= at), names[0][1])


def _at(event: Any) -> datetime:
    return event.pgh_created_at if event.pgh_label == history.DELETED else event.updated_at


def _entry(event: Any, previous: Any, changes: list[Change]) -> Entry:
    source = event.pgh_context or {}
    by = source.get("by")
    return Entry(
        at=_at(event),
        by=history.Actor(**by) if by else NOBODY,
        door=source.get("door", "database"),
        address=source.get("address"),
        request_id=source.get("request_id"),
        action=_action(event, previous),
        changes=changes,
        version=event.version,
    )


def _action(event: Any, previous: Any) -> str:
    if event.pgh_label != history.CHANGED:
        return {history.CREATED: "created", history.DELETED: "deleted"}[event.pgh_label]
    if previous is None or previous.status == event.status:
        return "changed"
    return "reopened" if event.status == Status.PLANNED else str(event.status)


# -------------------------------------------------------------------------- the order as it was


def order_as_of(order_id: uuid.UUID, at: datetime, *, user: User) -> Order:
    """The order as it stood at the instant `at`, with what it referred to as that stood.

    At most one statement for each of the seven things it may refer to by kind, and two more.

    Raises:
        NotFound: it is not the user's to see, or did not exist then.
        RuleBroken: `at` lies in the future, by the database's clock.
    """
    trail(order_id, user=user)
    # Newest first; the very newest tells the time even where `at` comes before everything.
    events = EVENTS.objects.filter(pgh_obj=order_id).annotate(now=Now()).order_by("-pgh_id")
    event = events.filter(history.stood_at(at)).first()
    if event is None or event.pgh_label == history.DELETED:
        raise NotFound
    if at > event.now:
        raise RuleBroken([FieldError("as_of", "in-future", "This instant is still to come.")])
    order: Order = history.as_it_was(event)
    order.seen_at = at
    kinds: dict[type[Any], set[Any]] = {}
    for name, model in REFERENCES.items():
        if key := getattr(order, f"{name}_id"):
            kinds.setdefault(model, set()).add(key)
    found = {model: history.rows_at(model, ids, at) for model, ids in kinds.items()}
    for name, model in REFERENCES.items():
        if key := getattr(order, f"{name}_id"):
            setattr(order, name, found[model][key])
    return order
