"""What is asked for: a normal day, and every route there is."""

import itertools
import random
import secrets
from collections.abc import Iterator
from typing import Any

from benchmarks.faults.load import Request
from benchmarks.faults.stack import API, World

RUN = secrets.token_hex(4)
_numbers = itertools.count(1)


def new_order(world: World, **more: Any) -> dict[str, Any]:
    """The body of an order that was never sent before."""
    return {
        "reference": f"F-{RUN}-{next(_numbers)}",
        "service": "cross_dock",
        "commodity": "salmon",
        "pallets": 12,
        "terminal_id": random.choice(world.terminals),
        "eta_date": "2026-11-23",
        "eta_time": "06:30",
        "eta_driver_id": world.drivers[0],
        "eta_truck_id": world.trucks[0],
        "etd_date": "2026-11-24",
        **more,
    }


def post(world: World, *, keep: bool = True, **more: Any) -> Request:
    body = new_order(world, **more)
    return Request("POST", f"{API}/orders", body, keep, mark=body["reference"])


def normal_day(world: World, *, one_shot: bool = False) -> Iterator[Request]:
    """80 % one order, 15 % a list of 50, 5 % a new order; every second client comes only once."""
    for number in itertools.count():
        keep = not (one_shot and number % 2)
        share = number % 20
        if share == 0:
            yield post(world, keep=keep)
        elif share % 7 == 1:
            terminal = random.choice(world.terminals)
            path = f"/orders?terminal_id={terminal}&on=2026-11-23&per_page=50"
            yield Request("GET", f"{API}{path}", keep=keep)
        else:
            yield Request("GET", f"{API}/orders/{random.choice(world.orders)}", keep=keep)


def every_route(world: World) -> Iterator[Request]:
    """Each kind of request that the API knows, again and again; all of them succeed."""
    registries = ("terminals", "drivers", "trucks", "trailers")
    while True:
        for name in registries:
            yield Request("GET", f"{API}/{name}")
            yield Request("GET", f"{API}/{name}?q=a&per_page=5")
        yield Request("GET", f"{API}/terminals/{random.choice(world.terminals)}")
        yield Request("GET", f"{API}/drivers/{random.choice(world.drivers)}")
        yield Request("GET", f"{API}/trucks/{random.choice(world.trucks)}")
        order = random.choice(world.orders)
        yield Request("GET", f"{API}/orders?per_page=50")
        yield Request("GET", f"{API}/orders?cursor=&per_page=50")
        yield Request("GET", f"{API}/orders?q=kari&ordering=eta_date")
        yield Request("GET", f"{API}/orders/{order}")
        yield Request("GET", f"{API}/orders/{order}/history")
        yield Request("PATCH", f"{API}/orders/{order}", {"notes": secrets.token_hex(4)})
        yield post(world)
        number = next(_numbers)
        plate = f"F{int(RUN, 16) % 100_000}{number}"
        yield Request("POST", f"{API}/trailers", {"license_plate": plate})
        yield Request("PATCH", f"{API}/terminals/{world.terminals[0]}", {"address": plate})
        yield Request("GET", f"{API}/auth/me")
        yield Request("GET", f"{API}/schema")
        yield Request("GET", f"{API}/health")
        yield Request("GET", f"{API}/health/ready")
        yield Request("GET", f"{API}/health/detailed")
