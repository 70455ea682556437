"""Makes an organization."""

from argparse import ArgumentParser
from typing import Any

from core import accounts, tenancy
from core.management.commands._base import OperatorCommand
from core.models import Organization


class Command(OperatorCommand):
    help = "Makes an organization; one that is there already stays as it is."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("slug", help="its short name: letters, digits, hyphens, underscores")
        parser.add_argument("--name", required=True, help="its full name")

    def handle(self, *args: Any, slug: str, name: str, **options: Any) -> None:
        with tenancy.everyone("create_organization"):
            present = Organization.objects.filter(slug=slug).first()
            made = None if present else accounts.create_organization(slug, name)
        if present:
            self.say(f"Organization {slug} exists already ({present.name}); nothing changed.")
        if made:
            self.say(f"Organization {slug} made ({made.name}).")
