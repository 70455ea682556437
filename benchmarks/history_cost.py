"""What row-level security and history cost: list, detail and create, with and without them.

    DATABASE_URL=… DATABASE_OWNER_URL=… python benchmarks/history_cost.py [--rounds N] [--orders N]

Makes two scratch databases beside the one that is named: one as migrations leave it, and a copy
without policies and without the history's triggers, where no tenant and no source are set either.
Both are asked in turn, through the whole stack but the socket, for rounds of requests. Told are the
medians of the rounds, the median ratio of neighbouring rounds, and how far that may be off: half
the middle spread, over the root of their number. Ends with 1 if a ratio is over its bar.
"""

import argparse
import os
import re
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psycopg
from psycopg import sql

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
BARS = {"list": 1.1, "detail": None, "create": 1.5}
PER_ROUND = {"list": 10, "detail": 25, "create": 15}


URLS = [name for name in ("DATABASE_OWNER_URL", "DATABASE_URL") if os.environ.get(name)]


def scratch(name: str) -> dict[str, str]:
    """The URLs that are given, but of the database `name`."""
    return {url: re.sub(r"/[^/?]*(\?.*)?$", rf"/{name}\1", os.environ[url]) for url in URLS}


def seed(orders: int) -> tuple[str, str, str]:
    """An organization with a user, fleet and orders; returns a token, and two ids."""
    from django.core.management import call_command
    from django.db import transaction

    from core import tenancy
    from core.api.authentication import tokens_for
    from core.models import Organization, User
    from fleet.models import Driver, Truck
    from orders.models import Order
    from terminals.models import Terminal

    call_command("migrate", verbosity=0)
    with transaction.atomic(), tenancy.everyone("benchmark"):
        for slug in ("other", "home"):
            home = Organization.objects.create(slug=slug, name=slug)
            terminal = Terminal.objects.create(organization=home, name="Quay", account_code="Q")
            drivers = Driver.objects.bulk_create(
                Driver(organization=home, name=f"Driver {n}") for n in range(50)
            )
            trucks = Truck.objects.bulk_create(
                Truck(organization=home, license_plate=f"AB{n:05}") for n in range(50)
            )
            made = Order.objects.bulk_create(
                Order(
                    organization=home,
                    terminal=terminal,
                    reference=f"R-{n}",
                    service="cross_dock",
                    eta_date="2026-11-23",
                    etd_date="2026-11-24",
                    eta_driver=drivers[n % 50],
                    eta_truck=trucks[n % 50],
                    pallets=n % 33,
                )
                for n in range(orders)
            )
        user = User.objects.create(username="bench", organization=home, role="dispatcher")
        return str(tokens_for(user).access_token), str(made[orders // 2].pk), str(terminal.pk)


def strip() -> None:
    """Take policies and the history's triggers off the connected database."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SELECT relname FROM pg_class WHERE relrowsecurity")
        for (table,) in cursor.fetchall():
            cursor.execute(
                f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY"
            )
        cursor.execute(
            "SELECT tgname, tgrelid::regclass FROM pg_trigger WHERE NOT tgisinternal"
            " AND tgname ~ '^pgtrigger_(insert_insert|update_update|delete_delete)_'"
        )
        for trigger, table in cursor.fetchall():
            cursor.execute(f"DROP TRIGGER {trigger} ON {table}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--orders", type=int, default=5_000)
    given = parser.parse_args()
    guarded, bare = (f"dockside_bench_{os.getpid()}_{kind}" for kind in ("guarded", "bare"))
    with psycopg.connect(os.environ[URLS[0]], autocommit=True) as server:
        try:
            server.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(guarded)))
            return measure(server, guarded, bare, given)
        finally:
            for name in (guarded, bare):
                drop = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)")
                server.execute(drop.format(sql.Identifier(name)))


def measure(server: psycopg.Connection, guarded: str, bare: str, given: argparse.Namespace) -> int:
    os.environ |= {**scratch(guarded), "DJANGO_SETTINGS_MODULE": "config.settings"}
    os.environ |= {"LOG_LEVEL": "ERROR", "LOG_FORMAT": "json"}
    import django

    django.setup()
    from django.db import connection
    from django.test import Client

    from core import history, tenancy
    from core.postgres.ownership import as_owner

    token, order, terminal = seed(given.orders)
    with as_owner(), connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")
    connection.close()
    copy = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
    server.execute(copy.format(sql.Identifier(bare), sql.Identifier(guarded)))
    walls = tenancy._set, history.acts

    def turn_to(name: str) -> None:
        """Ask this database from now on, with its planner warm."""
        connection.close()
        connection.settings_dict["NAME"] = name
        tenancy._set = walls[0] if name == guarded else lambda *_: ["", "", ""]
        history.acts = walls[1] if name == guarded else lambda _: False
        for request in requests.values():
            request()

    client = Client(HTTP_AUTHORIZATION=f"Bearer {token}", HTTP_HOST="localhost")
    body = {
        "service": "cross_dock",
        "terminal_id": terminal,
        "eta_date": "2026-11-23",
        "etd_date": "2026-11-24",
    }
    made = 0

    def create() -> None:
        nonlocal made
        made += 1
        answer = client.post(
            "/api/v1/orders", body | {"reference": f"N-{made}"}, content_type="application/json"
        )
        assert answer.status_code == 201, answer.content

    def read(address: str) -> Callable[[], None]:
        def get() -> None:
            answer = client.get(address)
            assert answer.status_code == 200, answer.content

        return get

    requests = {
        "list": read("/api/v1/orders?per_page=50"),
        "detail": read(f"/api/v1/orders/{order}"),
        "create": create,
    }
    seen: dict[tuple[str, str], list[float]] = {}
    for turn in range(given.rounds):
        for name in (guarded, bare) if turn % 2 else (bare, guarded):
            if not turn and name == bare:
                connection.close()
                connection.settings_dict["NAME"] = bare
                with as_owner():
                    strip()
            turn_to(name)
            for what, request in requests.items():
                began = time.perf_counter()
                for _ in range(PER_ROUND[what]):
                    request()
                took = (time.perf_counter() - began) / PER_ROUND[what] * 1000
                seen.setdefault((what, name), []).append(took)
    connection.close()

    failed = False
    print(f"{'':8}{'with':>10}{'without':>10}{'ratio':>8}{'noise':>8}{'bar':>6}")
    for what, bar in BARS.items():
        on, off = (statistics.median(seen[what, name]) for name in (guarded, bare))
        # Of neighbouring rounds, so that a busy minute counts on both sides.
        pairs = [a / b for a, b in zip(seen[what, guarded], seen[what, bare], strict=True)]
        low, ratio, high = statistics.quantiles(pairs, n=4)
        noise = (high - low) / 2 / len(pairs) ** 0.5
        failed |= bar is not None and ratio > bar
        print(f"{what:8}{on:8.2f}ms{off:8.2f}ms{ratio:8.2f}{noise:8.2f}{bar or '':>6}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
