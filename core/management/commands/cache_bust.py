"""Empties the cache of reference data."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError

from core import cache, tenancy
from core.management.commands._base import OperatorCommand
from core.models import Organization

ALL = "all"


class Command(OperatorCommand):
    help = (
        "Empties the cache of reference data, so that it is read from the database again. Every"
        " change does so by itself; this is for doubts."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        known = sorted(cache.resources().values())
        parser.add_argument("resource", nargs="?", choices=[*known, ALL], default=ALL)
        parser.add_argument("--organization", metavar="SLUG", help="only this one's")

    def handle(self, *args: Any, resource: str, organization: str | None, **options: Any) -> None:
        home = None
        if organization is not None:
            with tenancy.everyone("cache_bust"):
                home = Organization.objects.filter(slug=organization).first()
            if home is None:
                raise CommandError(f"There is no organization {organization!r}.")
        whose = home.slug if home else "all organizations"
        for each in sorted(cache.resources().values()) if resource == ALL else [resource]:
            if not cache.forget_now(each, home.pk if home else None):
                raise CommandError("The cache does not answer: nothing is read from it either.")
            self.say(f"cache: emptied {each} of {whose}.")
