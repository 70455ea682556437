"""Orders: goods that pass one terminal, with an arrival leg (ETA) and a departure leg (ETD)."""

from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from typing import ClassVar

import pgtrigger
from django.contrib.postgres.indexes import GinIndex, OpClass
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Lower, Upper

from core import history, text
from core.constraints import Rule, Unique, referable
from core.fields import LineField, NotesField, PlateField
from core.models import TenantModel
from core.row_security import SameOrganization
from fleet.models import Driver, Trailer, Truck
from orders.legs import ARRIVAL, DEPARTURE, LEGS, Leg
from orders.querysets import PLATES, WRITTEN, OrderQuerySet
from terminals.models import Terminal

MAX_KILOS = Decimal("9999999.99")
MAX_COUNT = 99_999


class Service(models.TextChoices):
    """What the terminal does with the goods; plukk storage is pick storage, with one leg only."""

    RELOAD_CAR_CAR = "reload_car_car", "Reload car-car"
    RELOAD_CAR_TERMINAL_CAR = "reload_car_terminal_car", "Reload car-terminal-car"
    INTO_PLUKK_STORAGE = "into_plukk_storage", "Into plukk storage"
    CROSS_DOCK = "cross_dock", "Cross-dock"


class Commodity(models.TextChoices):
    SALMON = "salmon", "Salmon"
    SALMON_PRODUCTS = "salmon_products", "Salmon products"
    SALMON_MIX = "salmon_mix", "Salmon mix"
    TROUT = "trout", "Trout"
    WHITEFISH = "whitefish", "Whitefish"
    BACALAO = "bacalao", "Bacalao"
    STOCKFISH = "stockfish", "Stockfish"
    SHRIMP = "shrimp", "Shrimp"
    OTHER = "other", "Other"


class Status(models.TextChoices):
    PLANNED = "planned", "Planned"
    ARRIVED = "arrived", "Arrived"
    DEPARTED = "departed", "Departed"
    CANCELLED = "cancelled", "Cancelled"


def _amounts() -> Iterator[Rule]:
    for name in ("pallets", "boxes", "kilos"):
        yield Rule(
            name=f"orders_order_{name}_not_negative",
            condition=Q(**{f"{name}__isnull": True}) | Q(**{f"{name}__gte": 0}),
            field=name,
            code="min_value",
            message="An amount is not negative.",
        )
        if name != "kilos":  # numeric(9,2) keeps its own bound
            yield Rule(
                name=f"orders_order_{name}_within_bounds",
                condition=Q(**{f"{name}__isnull": True}) | Q(**{f"{name}__lte": MAX_COUNT}),
                field=name,
                code="max_value",
                message=f"At most {MAX_COUNT}.",
            )


def _leg_rules(leg: Leg) -> Iterator[Rule]:
    nothing = Q(**{f"{leg.time}__isnull": True})
    for part in leg.parts:
        typed = Q(**dict.fromkeys(part.typed, ""))
        unregistered = Q(**{f"{part.registered}__isnull": True})
        nothing &= typed & unregistered
        yield Rule(
            name=f"orders_order_{part.registered}_registered_or_typed",
            condition=typed | unregistered,
            field=part.typed[0],
            code="registered-or-typed",
            message=f"The {part.noun} is either from the registry or typed in, not both.",
        )
        if part.noun != "driver":
            yield Rule(
                name=f"orders_order_{part.typed[0]}_is_normal",
                condition=Q(**{f"{part.typed[0]}__regex": text.PLATE_PATTERN}),
                field=part.typed[0],
                code="invalid-plate",
                message="A plate is made of Latin letters and digits.",
            )
    dated = Q(**{f"{leg.date}__isnull": False})
    yield Rule(
        name=f"orders_order_{leg.prefix}_time_has_date",
        condition=Q(**{f"{leg.time}__isnull": True}) | dated,
        field=leg.date,
        code="required",
        message=f"A time of {leg.noun} needs its date.",
    )
    yield Rule(
        name=f"orders_order_{leg.prefix}_details_have_date",
        condition=nothing | Q(**{f"{leg.time}__isnull": False}) | dated,
        field=leg.date,
        code="required",
        message=f"Details of the {leg.noun} need its date.",
    )


def _service_rules() -> Iterator[Rule]:
    stored = Q(service=Service.INTO_PLUKK_STORAGE)
    comes, goes = Q(eta_date__isnull=False), Q(etd_date__isnull=False)
    for leg, dated in (("eta", comes), ("etd", goes)):
        yield Rule(
            name=f"orders_order_service_has_its_{leg}",
            condition=stored | dated,
            field=f"{leg}_date",
            code="required",
            message="This service has an arrival and a departure: both dates are needed.",
        )
    yield Rule(
        name="orders_order_storage_has_a_leg",
        condition=~stored | comes | goes,
        field="eta_date",
        code="required",
        message="Storage has an arrival or a departure: one of the dates is needed.",
    )
    yield Rule(
        name="orders_order_storage_has_one_leg",
        condition=~stored | ~comes | ~goes,
        field="etd_date",
        code="one-leg-only",
        message="Storage has an arrival or a departure, not both.",
    )


def _step_rules() -> Iterator[Rule]:
    at = {name: Q(**{f"{name}_at__isnull": False}) for name in ("arrived", "departed", "cancelled")}
    agreed = (
        (Q(status=Status.PLANNED) & ~at["arrived"] & ~at["departed"] & ~at["cancelled"])
        | (Q(status=Status.ARRIVED) & at["arrived"] & ~at["departed"] & ~at["cancelled"])
        | (
            Q(status=Status.DEPARTED)
            & (at["arrived"] | Q(eta_date__isnull=True))
            & at["departed"]
            & ~at["cancelled"]
        )
        | (Q(status=Status.CANCELLED) & at["cancelled"] & ~at["departed"])
    )
    yield Rule(
        name="orders_order_status_agrees_with_instants",
        condition=agreed,
        code="status-instants",
        message="The status and its instants do not agree.",
    )
    for step, leg in (("arrived", ARRIVAL), ("departed", DEPARTURE)):
        yield Rule(
            name=f"orders_order_{step}_has_{leg.noun}",
            condition=~at[step] | Q(**{f"{leg.date}__isnull": False}),
            field=leg.date,
            code="required",
            message=f"What has {step} has a day of {leg.noun}.",
        )
    yield Rule(
        name="orders_order_cancelled_has_reason",
        condition=(Q(status=Status.CANCELLED) & ~Q(cancel_reason=""))
        | (~Q(status=Status.CANCELLED) & Q(cancel_reason="")),
        field="cancel_reason",
        code="required",
        message="A cancelled order has a reason, any other has none.",
    )
    yield Rule(
        name="orders_order_arrived_before_departed",
        condition=Q(arrived_at__isnull=True)
        | Q(departed_at__isnull=True)
        | Q(arrived_at__lte=F("departed_at")),
        field="at",
        code="departure-before-arrival",
        message="An order does not depart before it arrived.",
    )


def _known(name: str, values: list[str], *, optional: bool = False) -> Rule:
    known = Q(**{f"{name}__in": values})
    return Rule(
        name=f"orders_order_{name}_known",
        condition=known | Q(**{f"{name}__isnull": True}) if optional else known,
        field=name,
        code="invalid_choice",
        message="Not one of the values there are.",
    )


@history.tracked(objects=OrderQuerySet.as_manager())
class Order(TenantModel):
    """Goods that pass one terminal: an arrival leg (ETA), a departure leg (ETD), or both.

    `status` moves only through orders.services. Dates and times of the legs are the terminal's own
    clock, instants are aware UTC, weights are kilograms. What was planned is never overwritten by
    what happened: `eta_*` is the plan, `arrived_at` the fact. `version` grows by one with each
    change of the row, whoever makes it.
    """

    Service, Commodity, Status = Service, Commodity, Status

    terminal = models.ForeignKey(
        Terminal,
        on_delete=models.PROTECT,
        db_constraint=False,
        db_index=False,
        related_name="orders",
    )
    reference = LineField(max_length=32)
    service = models.CharField(max_length=24, choices=Service.choices)
    commodity = models.CharField(max_length=16, choices=Commodity.choices, null=True, blank=True)
    pallets = models.IntegerField(null=True, blank=True)
    boxes = models.IntegerField(null=True, blank=True)
    kilos = models.DecimalField(max_digits=9, decimal_places=2, null=True, blank=True)
    priority = models.BooleanField(default=False)
    notes = NotesField(max_length=1024, blank=True, default="")

    eta_date = models.DateField("arrival date", null=True, blank=True)
    eta_time = models.TimeField("arrival time", null=True, blank=True)
    eta_driver = models.ForeignKey(
        Driver,
        on_delete=models.PROTECT,
        db_constraint=False,
        null=True,
        blank=True,
        related_name="arrivals",
    )
    eta_truck = models.ForeignKey(
        Truck,
        on_delete=models.PROTECT,
        db_constraint=False,
        null=True,
        blank=True,
        related_name="arrivals",
    )
    eta_trailer = models.ForeignKey(
        Trailer,
        on_delete=models.PROTECT,
        db_constraint=False,
        null=True,
        blank=True,
        related_name="arrivals",
    )
    eta_driver_name = LineField(max_length=120, blank=True, default="")
    eta_driver_phone = LineField(max_length=32, blank=True, default="")
    eta_truck_plate = PlateField(max_length=16, blank=True, default="")
    eta_trailer_plate = PlateField(max_length=16, blank=True, default="")

    etd_date = models.DateField("departure date", null=True, blank=True)
    etd_time = models.TimeField("departure time", null=True, blank=True)
    etd_driver = models.ForeignKey(
        Driver,
        on_delete=models.PROTECT,
        db_constraint=False,
        null=True,
        blank=True,
        related_name="departures",
    )
    etd_truck = models.ForeignKey(
        Truck,
        on_delete=models.PROTECT,
        db_constraint=False,
        null=True,
        blank=True,
        related_name="departures",
    )
    etd_trailer = models.ForeignKey(
        Trailer,
        on_delete=models.PROTECT,
        db_constraint=False,
        null=True,
        blank=True,
        related_name="departures",
    )
    etd_driver_name = LineField(max_length=120, blank=True, default="")
    etd_driver_phone = LineField(max_length=32, blank=True, default="")
    etd_truck_plate = PlateField(max_length=16, blank=True, default="")
    etd_trailer_plate = PlateField(max_length=16, blank=True, default="")

    status = models.CharField(
        max_length=16, choices=Status.choices, default=Status.PLANNED, editable=False
    )
    arrived_at = models.DateTimeField(null=True, blank=True, editable=False)
    departed_at = models.DateTimeField(null=True, blank=True, editable=False)
    cancelled_at = models.DateTimeField(null=True, blank=True, editable=False)
    cancel_reason = NotesField(max_length=1024, blank=True, default="", editable=False)
    version = models.IntegerField(default=1, editable=False)

    objects: ClassVar[OrderQuerySet] = OrderQuerySet.as_manager()  # type: ignore[assignment]

    kept_by_database = ("updated_at", "version")
    seen_at: datetime | None = None  # the instant as of which it is shown; None is now
    is_just_made = False  # in this transaction: nothing can belong to it yet

    class Meta(TenantModel.Meta):
        constraints = [
            referable("orders_order"),
            # Two clients may send one reference at once; the second is stopped here.
            Unique(
                F("terminal"),
                Lower("reference"),
                name="orders_order_reference_unique_per_terminal",
                field="reference",
            ),
            *(
                SameOrganization(field=name, name=f"orders_order_{name}_same_organization")
                for name in ("terminal", *(part.registered for leg in LEGS for part in leg.parts))
            ),
            Rule(
                name="orders_order_reference_not_empty",
                condition=~Q(reference=""),
                field="reference",
                code="required",
                message="An order has a reference.",
            ),
            _known("service", Service.values),
            _known("commodity", Commodity.values, optional=True),
            _known("status", Status.values),
            *_amounts(),
            *(rule for leg in LEGS for rule in _leg_rules(leg)),
            *_service_rules(),
            Rule(
                name="orders_order_arrival_day_not_after_departure",
                condition=Q(eta_date__isnull=True)
                | Q(etd_date__isnull=True)
                | Q(eta_date__lte=F("etd_date")),
                field="etd_date",
                code="departure-before-arrival",
                message="The departure lies before the arrival.",
            ),
            Rule(
                name="orders_order_arrival_time_not_after_departure",
                condition=Q(eta_date__isnull=True)
                | Q(etd_date__isnull=True)
                | ~Q(eta_date=F("etd_date"))
                | Q(eta_time__isnull=True)
                | Q(etd_time__isnull=True)
                | Q(eta_time__lte=F("etd_time")),
                field="etd_time",
                code="departure-before-arrival",
                message="The departure lies before the arrival.",
            ),
            *_step_rules(),
            Rule(
                name="orders_order_version_positive",
                condition=Q(version__gte=1),
                code="min_value",
                message="Versions count from 1.",
            ),
        ]
        indexes = [
            # Orders as they were made or changed, newest or oldest first.
            models.Index(fields=["organization", "created_at", "id"], name="orders_by_created"),
            models.Index(fields=["organization", "updated_at", "id"], name="orders_by_updated"),
            # The same of one terminal. The wall asks each row for its organization: with that in
            # the index, a page's ids and its count are read without the table.
            models.Index(
                fields=["terminal", "created_at", "id"],
                include=["organization"],
                name="orders_of_terminal_created",
            ),
            # The day board: what comes to, what leaves, one terminal, by day.
            models.Index(
                fields=["terminal", "eta_date", "id"],
                include=["organization"],
                name="orders_of_terminal_eta",
            ),
            models.Index(
                fields=["terminal", "etd_date", "id"],
                include=["organization"],
                name="orders_of_terminal_etd",
            ),
            # A day or a period over all terminals, and sorting by day; latest first needs an index
            # of its own, since those without a date come last in both directions.
            models.Index(fields=["organization", "eta_date", "id"], name="orders_by_eta"),
            models.Index(fields=["organization", "etd_date", "id"], name="orders_by_etd"),
            models.Index(
                F("organization"),
                F("eta_date").desc(nulls_last=True),
                F("id").desc(),
                name="orders_by_eta_latest",
            ),
            models.Index(
                F("organization"),
                F("etd_date").desc(nulls_last=True),
                F("id").desc(),
                name="orders_by_etd_latest",
            ),
            # One reference over all terminals, and sorting by it.
            models.Index(F("organization"), Lower("reference"), name="orders_reference_any_case"),
            models.Index(fields=["organization", "reference", "id"], name="orders_by_reference"),
            # Urgent ones, newest first among them; and sorting by priority.
            models.Index(fields=["organization", "priority", "id"], name="orders_by_priority"),
            # Those of one service, commodity or status, newest first.
            models.Index(
                fields=["organization", "service", "created_at", "id"],
                name="orders_service",
            ),
            models.Index(
                fields=["organization", "commodity", "created_at", "id"],
                name="orders_commodity",
            ),
            models.Index(
                fields=["organization", "status", "created_at", "id"],
                name="orders_status",
            ),
            # Search: a part of what was typed, without case, and of a plate. Every search reads the
            # list of what is not yet sorted in: it is kept at 256 kB instead of 4 MB.
            GinIndex(
                OpClass(Upper(WRITTEN), "gin_trgm_ops"),
                OpClass(PLATES, "gin_trgm_ops"),
                name="orders_parts",
                gin_pending_list_limit=256,
            ),
        ]
        triggers = [
            pgtrigger.Trigger(
                name="next_version",
                operation=pgtrigger.Update,
                when=pgtrigger.Before,
                condition=pgtrigger.AnyChange(),
                func="NEW.version = OLD.version + 1;"
                " NEW.updated_at = greatest(clock_timestamp(),"
                " OLD.updated_at + interval '1 microsecond'); RETURN NEW;",
            )
        ]

    def __str__(self) -> str:
        return self.reference

    def has_leg(self, leg: Leg) -> bool:
        """Whether the order comes (goes) at all."""
        return getattr(self, leg.date) is not None

    def planned_at(self, leg: Leg) -> datetime | None:
        """The planned instant of a leg; at the end of its day where no time is known.

        A local time that comes twice means the first of the two.
        """
        return leg.planned_at(self, self.terminal.clock)
