"""Forgets what was done long ago."""

from argparse import ArgumentParser, ArgumentTypeError
from datetime import timedelta
from typing import Any

from django.core.management.base import CommandError
from django.utils import timezone

from core import retention, tenancy
from core.management.commands._base import AsOwner, OperatorCommand
from core.models import Organization


def days(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 36_500):
        raise ArgumentTypeError(f"{text!r} is not a number of days from 1 on")
    return int(text)


class Command(AsOwner, OperatorCommand):
    help = (
        "Forgets who changed what longer ago than some days. How each row stood then stays, so"
        " that later changes keep their before."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--older-than", type=days, required=True, metavar="DAYS")
        parser.add_argument("--organization", metavar="SLUG", help="only this one's history")
        parser.add_argument("--dry-run", action="store_true", help="say how much it would be")

    def handle(
        self,
        *args: Any,
        older_than: int,
        organization: str | None,
        dry_run: bool,
        **options: Any,
    ) -> None:
        before = timezone.now() - timedelta(days=older_than)
        with tenancy.everyone("prune_history"):
            if organization:
                home = Organization.objects.filter(slug=organization).first()
                if home is None:
                    raise CommandError(f"There is no organization {organization!r}.")
                with tenancy.within(home.pk):
                    done = retention.prune(before, dry_run=dry_run)
            else:
                done = retention.prune(before, dry_run=dry_run)
        would = "would forget" if dry_run else "forgot"
        for table, deeds in done.items():
            self.say(f"history: {would} {deeds} changes of {table}.")
        if not done:
            self.say(f"history: nothing is older than {older_than} days.")
