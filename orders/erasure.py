"""How somebody who was typed into orders is forgotten."""

from functools import reduce
from operator import or_
from typing import Any

import phonenumbers
from django.db.models import Case, Q, Value, When

from core import history
from fleet.services import ERASED, Identity
from orders.legs import LEGS, Leg
from orders.models import Order


def erase_typed(who: Identity) -> tuple[int, int]:
    """Put ERASED in place of typed names, and no phone, where they are this driver's.

    They are, where the phone is one of the driver's, however it was written down; or where the
    name is one of the driver's, without regard to case, and no phone or nobody else's beside it.
    In orders as they stand and in their history; everything else in them stays. Returns the
    numbers of orders and of events.
    """
    orders = Order.objects.filter(organization=who.organization_id)
    events = history.events_of(Order).objects.filter(organization=who.organization_id)
    changed: set[tuple[Any, Any]] = set()
    with history.rewriting("erasure") as done:
        for leg in LEGS:
            name, phone = leg.parts[0].typed
            blank = {
                name: Case(When(**{name: ""}, then=Value("")), default=Value(ERASED)),
                phone: "",
            }
            tables: tuple[Any, Any] = (orders.locked(), events)
            for rows in tables:
                keys = list(rows.filter(_meant(leg, who)).values_list("pk", flat=True))
                rows.model.objects.filter(pk__in=keys).update(**blank)
                changed.update((rows.model, key) for key in keys)
        done["orders"] = sum(model is Order for model, _ in changed)
        done["order_events"] = len(changed) - done["orders"]
    return done["orders"], done["order_events"]


def _meant(leg: Leg, who: Identity) -> Q:
    name, phone = leg.parts[0].typed
    by_name = [Q(**{f"{name}__iexact": called}) for called in who.names]
    by_phone = [Q(**{f"{phone}__regex": _however_written(number)}) for number in who.phones]
    nothing = Q(pk__in=[])
    alone = reduce(or_, by_name, nothing) & Q(**{phone: ""})
    return reduce(or_, by_phone, nothing) | alone


def _however_written(e164: str) -> str:
    """A pattern for a number in national or international form, whatever stands between."""
    number = phonenumbers.parse(e164, None)
    digits = r"\D*".join(str(number.national_number))
    code = r"\D*".join(str(number.country_code))
    return rf"^\D*((00\D*)?{code}\D*)?(0\D*)?{digits}\D*$"
