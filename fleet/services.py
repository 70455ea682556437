"""How a driver is forgotten."""

import uuid
from dataclasses import dataclass

from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType

from core import history, services
from core.errors import NotFound
from fleet.models import Driver

ERASED = "Erased"


@dataclass(frozen=True, slots=True)
class Identity:
    """What somebody was called, and by which numbers reached, over all of the history."""

    organization_id: uuid.UUID
    names: frozenset[str]
    phones: frozenset[str]


def erase_driver(driver_id: uuid.UUID) -> tuple[Identity, int]:
    """Put ERASED in place of a driver's name, and no phone, in the registry and all its history.

    The row itself stays where it still is, out of use, since orders count on it; when something
    was done, and by whom, stays too. Returns what the driver was known by, and the number of
    events.

    Raises:
        NotFound: there is, and was, no such driver within the wall.
    """
    events = history.events_of(Driver).objects.filter(pgh_obj=driver_id)
    known = list(events.values_list("organization_id", "name", "phone"))
    if not known:
        raise NotFound
    with history.rewriting("erasure") as done:
        driver = Driver.objects.locked().filter(pk=driver_id).first()
        if driver:
            services.update(driver, {"name": ERASED, "phone": "", "is_active": False})
        done["driver_events"] = events.exclude(name=ERASED, phone="").update(name=ERASED, phone="")
        done["admin_log"] = LogEntry.objects.filter(
            content_type=ContentType.objects.get_for_model(Driver), object_id=str(driver_id)
        ).update(object_repr=ERASED)
        told = done["driver_events"]
    names = frozenset(name for _, name, _ in known) - {ERASED}
    phones = frozenset(phone for _, _, phone in known) - {""}
    return Identity(known[0][0], names, phones), told
