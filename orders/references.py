"""What an order refers to: its terminal, and each leg's registered driver, truck and trailer."""

import uuid
from collections.abc import Mapping
from typing import Any

from django.db import connection
from django.db.models import UUIDField, Value

from core.models import Principal, TenantModel
from core.prepared import Given, PreparedFor, untyped
from fleet.models import Driver, Trailer, Truck
from orders.legs import LEGS
from terminals.models import Terminal

REFERENCES: dict[str, type[TenantModel]] = {
    "terminal": Terminal,  # the first: it says whose a new order is
    **{f"{leg.prefix}_driver": Driver for leg in LEGS},
    **{f"{leg.prefix}_truck": Truck for leg in LEGS},
    **{f"{leg.prefix}_trailer": Trailer for leg in LEGS},
}

# What an order is shown with and judged by. All of it is text: rows of four tables make one result.
_BESIDE: dict[type[TenantModel], tuple[str, ...]] = {
    Terminal: ("name", "account_code", "timezone"),
    Driver: ("name", "phone"),
    Truck: ("license_plate", "plate_country", "name"),
    Trailer: ("license_plate", "plate_country", "name"),
}
_MODELS = list(_BESIDE)
_MOST = max(map(len, _BESIDE.values()))


def _rows(who: Any) -> Any:
    """The rows of all tables that are named and that `who` sees, each with its table's number."""
    parts = []
    for number, (model, beside) in enumerate(_BESIDE.items()):
        ids: list[Any] = [
            Given(name, UUIDField()) for name, other in REFERENCES.items() if other is model
        ]
        filling = [Value("")] * (_MOST - len(beside))
        parts.append(
            model.objects.visible_to(who)
            .filter(pk__in=ids)
            .values_list(Value(number), "pk", "organization_id", *beside, *filling)
        )
    return parts[0].union(*parts[1:], all=True)


_FIND = PreparedFor(_rows)


def find(ids: Mapping[str, uuid.UUID], *, by: Principal) -> dict[str, TenantModel]:
    """What the references of these names point to, as far as `by` sees it; one statement.

    Each comes with what an order is shown with and judged by; its other columns are deferred.
    """
    given = {name: untyped(ids.get(name)) for name in REFERENCES}
    found: dict[tuple[type[TenantModel], uuid.UUID], TenantModel] = {}
    for number, *values in _FIND.all(by, **given):
        model = _MODELS[number]
        names = ("id", "organization_id", *_BESIDE[model])
        found[model, values[0]] = model.from_db(connection.alias, names, values[: len(names)])
    wanted = {name: (REFERENCES[name], key) for name, key in ids.items()}
    return {name: found[key] for name, key in wanted.items() if key in found}
