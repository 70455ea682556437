"""Erases a driver's personal data."""

import uuid
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError
from django.db import transaction

from core import tenancy
from core.errors import NotFound
from core.management.commands._base import AsOwner, OperatorCommand
from fleet.services import erase_driver
from orders.erasure import erase_typed


class Command(AsOwner, OperatorCommand):
    help = (
        "Erases a driver's name and phone from the registry, from orders into which they were"
        " typed, and from the history of both. Orders, dates and figures stay."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("driver_id", type=uuid.UUID, help="the id, of a deleted driver too")
        parser.add_argument("--dry-run", action="store_true", help="say how much it would be")

    def handle(self, *args: Any, driver_id: uuid.UUID, dry_run: bool, **options: Any) -> None:
        with tenancy.everyone("erase_driver"), transaction.atomic():
            try:
                who, driver_events = erase_driver(driver_id)
            except NotFound:
                raise CommandError(f"There is no driver {driver_id}, and never was.") from None
            orders, order_events = erase_typed(who)
            transaction.set_rollback(dry_run)
        would = "would erase" if dry_run else "erased"
        self.say(
            f"driver {driver_id}: {would} name and phone in {driver_events} changes of the driver,"
            f" {orders} orders and {order_events} changes of orders."
        )
