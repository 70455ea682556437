"""The demo: an invented company, and a believable day at its three terminals.

What a day holds follows from the day alone, so that loading it twice finds everything there. How
far the day has come follows from the moment at which it is loaded.
"""

import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from random import Random
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from django.db import transaction

from core import accounts
from core import services as core_services
from core.errors import Conflict
from core.models import Organization, Role, TenantModel, User
from fleet.models import Driver, Trailer, Truck
from orders import services
from orders.legs import ARRIVAL, DEPARTURE
from orders.models import Commodity, Order, Service, Status
from terminals.models import Terminal

T = TypeVar("T")

SLUG, NAME = "demo", "Nordfisk Terminal"
CLOCK = ZoneInfo("Europe/Oslo")
USERS: dict[str, dict[str, Any]] = {
    "demo-admin": {"role": Role.ADMIN},
    "demo-dispatcher": {"role": Role.DISPATCHER},
    "demo-viewer": {"role": Role.VIEWER},
    "superuser": {"is_superuser": True},
}
LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"  # those that nobody takes for another


@dataclass(frozen=True)
class Site:
    """A terminal of the demo, and who comes there on an ordinary day.

    A busy one gets most of its trucks from 06 to 10. `registered` are driver, phone, truck, its
    country, trailer and its country; `typed`, for carriers that nobody has registered yet, are
    driver, phone, truck and trailer as somebody wrote them down.
    """

    code: str
    name: str
    address: str
    is_busy: bool
    orders: int
    registered: tuple[tuple[str, str, str, str, str, str], ...]
    typed: tuple[tuple[str, str, str, str], ...]


# Norwegian numbers are of the series for machines, Swedish ones of those set apart for fiction:
# nobody is called by mistake. A truck stays with its terminal: it is never at two at once.
SITES = (
    Site(
        code="OSL",
        name="Oslo – Alnabru",
        address="Terminalveien 12\n0668 Oslo",
        is_busy=True,
        orders=34,
        registered=(
            ("Anders Haugen", "+4759004101", "EK41207", "NO", "HR2841", "NO"),
            ("Ingrid Solberg", "+4759004102", "VJ73518", "NO", "KR6120", "NO"),
            ("Terje Nilsen", "+4759004103", "DR60934", "NO", "UF3377", "NO"),
            ("Kari Bakken", "+4759004104", "SV28461", "NO", "SR9054", "NO"),
            ("Morten Lie", "+4759004105", "ZH90215", "NO", "LD4418", "NO"),
            ("Erik Lindqvist", "+46701740605", "KLH482", "SE", "XPR217", "SE"),
            ("Silje Dahl", "+4759004106", "EK58823", "NO", "HR7290", "NO"),
            ("Vytautas Petrauskas", "+4759004107", "KJT629", "LT", "HD742", "LT"),
        ),
        typed=(
            ("Piotr, Baltic Reefer", "+47 59 00 42 01", "WPR7741C", "WPR22PX"),
            ("Nina Johansen", "590 04 202", "CV38812", "AU4190"),
            ("", "", "TL55307", ""),
        ),
    ),
    Site(
        code="BGO",
        name="Bergen – Kokstad",
        address="Flyplassvegen 210\n5257 Kokstad",
        is_busy=True,
        orders=28,
        registered=(
            ("Øyvind Strand", "+4759004108", "RJ31406", "NO", "BE5561", "NO"),
            ("Hilde Myhre", "+4759004109", "AX84720", "NO", "JR1983", "NO"),
            ("Mikko Virtanen", "+4759004110", "XTR641", "FI", "PZK308", "FI"),
            ("Geir Aasen", "+4759004111", "UE12679", "NO", "TD6642", "NO"),
            ("Lars Moen", "+4759004112", "NF45093", "NO", "RH2075", "NO"),
            ("Johan Bergström", "+46701740612", "WGM915", "SE", "DLS446", "SE"),
        ),
        typed=(
            ("Kåre fra Vestfrakt", "59 00 42 03", "YF60241", ""),
            ("", "", "DP91776", "XS2068"),
        ),
    ),
    Site(
        code="TOS",
        name="Tromsø – Breivika",
        address="Fiskerikaia 4\n9019 Tromsø",
        is_busy=False,
        orders=16,
        registered=(
            ("Astrid Knutsen", "+4759004113", "BT67318", "NO", "FU8819", "NO"),
            ("Roar Fjeld", "+4759004114", "SU29950", "NO", "NA3304", "NO"),
            ("Marius Eide", "+4759004115", "KH71182", "NO", "VD7711", "NO"),
            ("Jonas Kazlauskas", "+4759004116", "LNP307", "LT", "FB518", "LT"),
        ),
        typed=(("Ville", "", "MKO512", "TZA931"),),
    ),
)
SERVICES = {
    Service.RELOAD_CAR_CAR: 3,
    Service.RELOAD_CAR_TERMINAL_CAR: 5,
    Service.INTO_PLUKK_STORAGE: 3,
    Service.CROSS_DOCK: 4,
}
COMMODITIES = dict.fromkeys(Commodity, 1) | {
    Commodity.SALMON: 12,
    Commodity.SALMON_PRODUCTS: 4,
    Commodity.TROUT: 3,
    Commodity.WHITEFISH: 3,
}
NOTES = (
    "Keep at 0 to 2 °C.",
    "Customs seal on the trailer; do not open without the T1.",
    "The driver calls 30 minutes before he comes.",
    "Two pallets are for another receiver, see the labels.",
    "Ice on top, may drip.",
)
CANCELLED = {  # which order of a day, and why
    "OSL": (8, "The customer moved the load to tomorrow."),
    "BGO": (4, "Booked twice by mistake."),
}


@dataclass
class Loaded:
    """What `load` added: passwords by user name, and how many orders."""

    passwords: dict[str, str] = field(default_factory=dict)
    orders: int = 0


@dataclass(frozen=True)
class Run:
    """A truck that comes or leaves: when it is planned and happens (if ever), and with whom."""

    planned_at: datetime
    happens_at: datetime | None = None
    details: Mapping[str, Any] = field(default_factory=dict)

    def leg(self, prefix: str) -> dict[str, Any]:
        """The columns of a leg."""
        when = {"date": self.planned_at.date(), "time": self.planned_at.time()}
        return {f"{prefix}_{name}": value for name, value in {**when, **self.details}.items()}


@dataclass(frozen=True)
class Plan:
    """An order as it is planned, and what becomes of it in the course of its day."""

    values: dict[str, Any]
    arrives_at: datetime | None
    departs_at: datetime | None
    cancelled_for: str


@transaction.atomic
def load(*, now: datetime) -> Loaded:
    """Add what is missing of the demo: the organization, its users, its fleet, and its orders.

    Those of today on the terminals' clock, and every third of yesterday's and tomorrow's. What
    would happen after `now` has not happened yet.

    Raises:
        Conflict: a user name of the demo is taken in another organization.
    """
    organization = _organization()
    loaded = Loaded(passwords=_add_users(organization))
    admin = User.objects.get(username="demo-admin")
    today = now.astimezone(CLOCK).date()
    for site in SITES:
        terminal = _registered(
            Terminal,
            {"account_code": site.code},
            {"name": site.name, "address": site.address, "timezone": CLOCK.key},
            by=admin,
        )
        carriers = list(_carriers(site, by=admin))
        for day, step in (
            (today - timedelta(1), 3),
            (today, 1),
            (today + timedelta(1), 3),
        ):
            plans = list(_plans(site, terminal, carriers, day))[::step]
            loaded.orders += _add_orders(terminal, plans, by=admin, now=now)
    return loaded


def _organization() -> Organization:
    """The demo organization, held: two who load at once do it one after the other."""
    if not Organization.objects.filter(slug=SLUG).exists():
        accounts.create_organization(SLUG, NAME)
    return Organization.objects.select_for_update().get(slug=SLUG)


def _add_users(organization: Organization) -> dict[str, str]:
    """Make the users who are missing; returns their passwords."""
    present = User.objects.in_bulk(USERS, field_name="username")
    passwords = {}
    for username, values in USERS.items():
        home = None if values.get("is_superuser") else organization
        if username not in present:
            passwords[username] = _new_password()
            accounts.create_user(
                username, {**values, "organization": home}, password=passwords[username]
            )
        elif home and present[username].organization != home:
            raise Conflict(f"{username} is a user of another organization.")
    return passwords


def _new_password() -> str:
    groups = ("".join(secrets.choice(LETTERS) for _ in range(4)) for _ in range(4))
    return "-".join(groups)


def _registered(
    model: type[TenantModel],
    key: Mapping[str, Any],
    values: Mapping[str, Any],
    *,
    by: User,
) -> Any:
    """The row with this natural key in the demo organization, made if it is missing."""
    present = model.objects.visible_to(by).filter(**key).first()
    return present or core_services.create(model, {**key, **values}, by=by)


def _carriers(site: Site, *, by: User) -> Iterator[dict[str, Any]]:
    """Who comes to a terminal: details of a leg, by the ends of their columns."""
    for (
        driver,
        phone,
        truck,
        truck_country,
        trailer,
        trailer_country,
    ) in site.registered:
        truck_key = {"license_plate": truck, "plate_country": truck_country}
        trailer_key = {"license_plate": trailer, "plate_country": trailer_country}
        yield {
            "driver_id": _registered(Driver, {"phone": phone}, {"name": driver}, by=by).pk,
            "truck_id": _registered(Truck, truck_key, {}, by=by).pk,
            "trailer_id": _registered(Trailer, trailer_key, {}, by=by).pk,
        }
    for driver, phone, truck, trailer in site.typed:
        yield {
            "driver_name": driver,
            "driver_phone": phone,
            "truck_plate": truck,
            "trailer_plate": trailer,
        }


def _plans(
    site: Site, terminal: Terminal, carriers: Sequence[Mapping[str, Any]], day: date
) -> Iterator[Plan]:
    """The orders of one day at one terminal, each time the same."""
    rng = Random(f"{site.code} {day}")  # noqa: S311 — a plan for a day, not a secret
    comings, goings = _runs(rng, site, carriers, day)
    wanted = zip(
        _mixed(rng, SERVICES, site.orders),
        _mixed(rng, COMMODITIES, site.orders),
        strict=True,
    )
    for number, (service, commodity) in enumerate(wanted):
        pallets = rng.randint(1, 20)
        boxes = pallets * 27
        values = {
            "terminal_id": terminal.pk,
            "reference": f"{site.code}-{day:%y%m%d}-{number + 1:02}",
            "service": service,
            "commodity": commodity,
            "pallets": pallets,
            "boxes": boxes,
            "kilos": Decimal(boxes * rng.randrange(1950, 2100)) / 100,
            "priority": rng.random() < 0.1,
            "notes": rng.choice(NOTES) if rng.random() < 0.3 else "",
        }
        coming = rng.choice(comings)
        soonest = coming.planned_at + timedelta(minutes=30)
        later = [going for going in goings if going.planned_at >= soonest]
        going = rng.choice(later) if later else Run(soonest + timedelta(hours=2))
        is_stored = service == Service.INTO_PLUKK_STORAGE
        comes = not is_stored or rng.random() < 0.6
        goes = not is_stored or not comes
        if comes:
            values |= coming.leg(ARRIVAL.prefix)
        if goes:
            values |= going.leg(DEPARTURE.prefix)
        arrives_at = coming.happens_at if comes else None
        departs_at = going.happens_at if goes else None
        if comes and arrives_at and departs_at and departs_at < arrives_at:
            departs_at = None  # the truck left without the goods
        cancelled, reason = CANCELLED.get(site.code, (None, ""))
        yield Plan(values, arrives_at, departs_at, reason if number == cancelled else "")


def _runs(
    rng: Random, site: Site, carriers: Sequence[Mapping[str, Any]], day: date
) -> tuple[list[Run], list[Run]]:
    """How each carrier comes to the terminal on `day`, and how it leaves with other goods."""
    comings, goings = [], []
    for number, details in enumerate(rng.sample(carriers, len(carriers))):
        first, last = (6, 10) if site.is_busy and number % 4 else (6, 18)
        minutes = rng.randrange(first * 60, last * 60, 5)
        comes_at = datetime.combine(day, time(), CLOCK) + timedelta(minutes=minutes)
        leaves_at = comes_at + timedelta(minutes=rng.randrange(75, 180, 15))
        came_at: datetime | None = comes_at + timedelta(seconds=rng.randrange(-600, 700))
        left_at: datetime | None = leaves_at + timedelta(seconds=rng.randrange(1500))
        if number % 5 == 1:  # late
            delay = timedelta(minutes=rng.randrange(40, 110))
            came_at, left_at = comes_at + delay, leaves_at + delay
        elif number % 7 == 3:  # never heard of
            came_at = left_at = None
        comings.append(Run(comes_at, came_at, details))
        goings.append(Run(leaves_at, left_at, details if number % 4 else {}))
    return comings, goings


def _mixed(rng: Random, weights: Mapping[T, int], count: int) -> list[T]:
    """`count` values in any order, each at least once, the others by weight."""
    values = list(weights)
    values += rng.choices(values, list(weights.values()), k=count - len(values))
    rng.shuffle(values)
    return values


def _add_orders(terminal: Terminal, plans: Sequence[Plan], *, by: User, now: datetime) -> int:
    """Create the orders that are missing and take the steps they have taken by `now`."""
    present = set(Order.objects.filter(terminal=terminal).values_list("reference", flat=True))
    added = {
        services.create_order(plan.values, by=by).pk: plan
        for plan in plans
        if plan.values["reference"] not in present
    }
    for order in Order.objects.filter(pk__in=added).locked():
        _take_steps(order, added[order.pk], now)
    return len(added)


def _take_steps(order: Order, plan: Plan, now: datetime) -> None:
    if plan.cancelled_for:
        services.cancel_order(order, reason=plan.cancelled_for, now=now)
        return
    if plan.arrives_at and plan.arrives_at <= now:
        services.arrive_order(order, at=plan.arrives_at, now=now)
    is_there = order.status == Status.ARRIVED or not order.has_leg(ARRIVAL)
    if is_there and plan.departs_at and plan.departs_at <= now:
        services.depart_order(order, at=plan.departs_at, now=now)
