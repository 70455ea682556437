"""Every change of an order: lock, judge, write, announce.

The caller hands over an order that it holds (`Order.objects.…locked()` in this transaction), so it
is judged as it is, not as somebody saw it. Orders are locked before anything of the fleet.

`expected` is what `If-Match` asked for: the versions the caller would accept, None for any.
`refused` is what the door found wrong with single fields. It is told here, since a stale version
and a wrong status come first.
"""

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Any

from core import services
from core.constraints import keep_rules
from core.errors import FieldError, RuleBroken, StaleVersion, UnknownReference
from core.models import Principal
from orders.errors import WrongStatus
from orders.legs import ARRIVAL, DEPARTURE, LEGS, is_skipped
from orders.models import Order, Status
from orders.references import REFERENCES, find

# The columns that people set; the others follow from steps, or are kept by the database.
PLANNED_BY_PEOPLE = {field.attname for field in Order._meta.concrete_fields if field.editable}


def create_order(values: Mapping[str, Any], *, by: Principal) -> Order:
    """Plan an order; returns it as stored, with what it refers to at hand.

    `values` are columns by name, foreign keys as ids (`terminal_id`). One statement for
    all that is referred to, and one INSERT.

    Raises:
        UnknownReference: an id names nothing that `by` can see.
        RuleBroken: the values break a rule.
    """
    order = Order()
    _fill(order, values, by=by)
    _keep_rules(order)
    order.save_new()
    order.is_just_made = True
    return order


def update_order(
    order: Order,
    values: Mapping[str, Any],
    *,
    by: Principal,
    expected: Collection[int] | None = None,
    refused: Collection[FieldError] = (),
) -> Order:
    """Change an order; returns it as stored, its `version` one higher if anything differed.

    Raises:
        StaleVersion: it has none of the `expected` versions.
        WrongStatus: departed and cancelled orders accept only `notes`, arrived ones keep terminal
            and service.
        RuleBroken, UnknownReference: as for `create_order`.
    """
    _expect(order, expected)
    touched = {name for name, value in values.items() if getattr(order, name) != value}
    touched |= {error.field for error in refused if error.field} & PLANNED_BY_PEOPLE
    if order.status in {Status.DEPARTED, Status.CANCELLED} and touched - {"notes"}:
        raise WrongStatus(order, "only its notes can be changed")
    if order.status == Status.ARRIVED and touched & {"terminal_id", "service"}:
        raise WrongStatus(order, "its terminal and its service stay as they are")
    if refused:
        raise RuleBroken(refused)
    if touched:
        _fill(order, {name: values[name] for name in values if name in touched}, by=by)
        _keep_rules(order)
        order.save_changes([name.removesuffix("_id") for name in values if name in touched])
    return order


def delete_order(order: Order, *, expected: Collection[int] | None = None) -> None:
    """Delete an order.

    Raises:
        StaleVersion: it has none of the `expected` versions.
    """
    _expect(order, expected)
    services.delete(order)


def arrive_order(
    order: Order,
    *,
    now: datetime,
    at: datetime | None = None,
    expected: Collection[int] | None = None,
    refused: Collection[FieldError] = (),
) -> Order:
    """Record that the goods came at the instant `at`, or now; it is planned, with an arrival.

    Raises:
        StaleVersion, WrongStatus: it is not the order, or not the moment, that the caller thinks.
        RuleBroken: `at` lies after `now`.
    """
    _expect(order, expected)
    if order.status != Status.PLANNED:
        raise WrongStatus(order, "only a planned order arrives")
    if not order.has_leg(ARRIVAL):
        raise WrongStatus(order, "it has no arrival")
    _not_in_future(at, now, refused)
    return _move(order, status=Status.ARRIVED, arrived_at=at or now)


def depart_order(
    order: Order,
    *,
    now: datetime,
    at: datetime | None = None,
    expected: Collection[int] | None = None,
    refused: Collection[FieldError] = (),
) -> Order:
    """Record that the goods left at the instant `at`, or now.

    The order has arrived, or is planned without an arrival; and it has a departure.

    Raises:
        StaleVersion, WrongStatus: as for `arrive_order`.
        RuleBroken: `at` lies after `now`, or before the arrival.
    """
    _expect(order, expected)
    if not order.has_leg(DEPARTURE):
        raise WrongStatus(order, "it has no departure")
    waits = order.status == Status.PLANNED and not order.has_leg(ARRIVAL)
    if order.status != Status.ARRIVED and not waits:
        raise WrongStatus(order, "only an order that has arrived departs")
    _not_in_future(at, now, refused)
    return _move(order, status=Status.DEPARTED, departed_at=at or now)


def cancel_order(
    order: Order,
    *,
    now: datetime,
    reason: str = "",
    expected: Collection[int] | None = None,
    refused: Collection[FieldError] = (),
) -> Order:
    """Call off an order that is planned or has arrived; `reason` is for people.

    Raises:
        StaleVersion, WrongStatus: as for `arrive_order`.
        RuleBroken: the reason is missing.
    """
    _expect(order, expected)
    if order.status not in {Status.PLANNED, Status.ARRIVED}:
        raise WrongStatus(order, "only a planned or arrived order is cancelled")
    if refused:
        raise RuleBroken(refused)
    if not reason:
        raise RuleBroken([FieldError("reason", "required", "A reason is needed.")])
    return _move(order, status=Status.CANCELLED, cancelled_at=now, cancel_reason=reason)


def reopen_order(
    order: Order,
    *,
    expected: Collection[int] | None = None,
    refused: Collection[FieldError] = (),
) -> Order:
    """Plan a cancelled order again; an arrival that was recorded before is forgotten.

    Raises:
        StaleVersion, WrongStatus: as for `arrive_order`.
    """
    _expect(order, expected)
    if order.status != Status.CANCELLED:
        raise WrongStatus(order, "only a cancelled order is reopened")
    if refused:
        raise RuleBroken(refused)
    return _move(
        order,
        status=Status.PLANNED,
        arrived_at=None,
        cancelled_at=None,
        cancel_reason="",
    )


def _expect(order: Order, expected: Collection[int] | None) -> None:
    if expected is not None and order.version not in expected:
        raise StaleVersion(order.version)


def _not_in_future(at: datetime | None, now: datetime, refused: Collection[FieldError]) -> None:
    if refused:
        raise RuleBroken(refused)
    if at and at > now:
        raise RuleBroken([FieldError("at", "in-future", "This has not happened yet.")])


def _move(order: Order, **values: Any) -> Order:
    changed = services.assign(order, values)
    keep_rules(order)
    order.save_changes(changed)
    return order


def _fill(order: Order, values: Mapping[str, Any], *, by: Principal) -> None:
    """Set `values`; foreign keys are looked up, all in one statement.

    They name what `by` can see and what is the order's own organization's: a superuser sees more.
    """
    services.assign(order, {name: value for name, value in values.items() if name[-3:] != "_id"})
    given = {name: values[f"{name}_id"] for name in REFERENCES if f"{name}_id" in values}
    wanted = {name: key for name, key in given.items() if key is not None}
    found = find(wanted, by=by) if wanted else {}
    unknown = []
    for name, key in given.items():
        thing = found.get(name)
        if thing is not None and order.organization_id in {None, thing.organization_id}:
            setattr(order, name, thing)
            order.organization_id = thing.organization_id
        elif key is None:
            setattr(order, name, None)
        else:
            unknown.append(f"{name}_id")
    if unknown:
        raise UnknownReference(unknown)


def _keep_rules(order: Order) -> None:
    keep_rules(order, _skipped_times(order))


def _skipped_times(order: Order) -> Iterable[FieldError]:
    for leg in LEGS:
        day, at = getattr(order, leg.date), getattr(order, leg.time)
        if day and at and is_skipped(day, at, order.terminal.clock):
            yield FieldError(
                leg.time,
                "skipped-time",
                "The terminal's clock skips this time on that day.",
            )
