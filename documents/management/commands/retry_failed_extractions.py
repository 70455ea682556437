"""`retry_failed_extractions`: has documents read again that could not be read."""

from typing import Any

from core import tenancy
from core.management.commands._base import OperatorCommand
from core.models import Organization
from documents.reading import services


class Command(OperatorCommand):
    help = (
        "Has documents read again whose reading failed, or that were skipped since no OCR was"
        " installed. Again is safe."
    )

    def add_arguments(self, parser: Any) -> None:
        parser.add_argument("--organization", help="of this one only, by its slug")
        parser.add_argument("--dry-run", action="store_true", help="only count them")

    def handle(self, *args: Any, organization: str | None, dry_run: bool, **options: Any) -> None:
        with tenancy.everyone("retry_failed_extractions"):
            homes = Organization.objects.order_by("slug")
            chosen = list(homes.filter(slug=organization) if organization else homes)
        total = 0
        for home in chosen:
            with tenancy.within(home.pk):
                for document in services.to_retry(home.pk):
                    total += 1
                    if not dry_run:
                        services.ask_again(document)
        self.say(f"{total} to be read again" if dry_run else f"{total} will be read again")
