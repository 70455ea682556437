"""Makes an API key."""

from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.utils import timezone

from core import keys, tenancy
from core.management.commands._base import OperatorCommand
from core.models import Scope
from terminals.management.commands.create_user import (
    organization_of,
    terminals_of,
    wrong_usage,
)

MAX_DAYS = 3650


class Command(OperatorCommand):
    help = (
        "Makes an API key for a program and prints it on the last line: nobody can find it out"
        " later. The program sends it as “Authorization: Api-Key …”."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", help="which program it is for, in words")
        parser.add_argument("--organization", metavar="SLUG", required=True)
        parser.add_argument(
            "--scope",
            dest="scopes",
            choices=Scope.values,
            nargs="+",
            action="extend",
            help="what it is for: reading, unless it says write, which includes reading",
        )
        parser.add_argument(
            "--terminal",
            dest="codes",
            metavar="CODE",
            nargs="+",
            action="extend",
            help="account codes of the terminals it is bound to; without, it is bound to none,"
            " which means all",
        )
        parser.add_argument(
            "--expires-days", dest="days", metavar="N", type=int, help="without, it never expires"
        )

    def handle(
        self,
        *args: Any,
        name: str,
        organization: str,
        scopes: list[str] | None,
        codes: list[str] | None,
        days: int | None,
        **options: Any,
    ) -> None:
        if days is not None and not 1 <= days <= MAX_DAYS:
            raise wrong_usage(f"--expires-days is a number from 1 to {MAX_DAYS}.")
        scope = Scope.WRITE if Scope.WRITE in (scopes or []) else Scope.READ
        with tenancy.everyone("create_api_key"):
            home = organization_of(organization)
        with tenancy.within(home.pk):
            key, text = keys.create_key(
                home,
                name,
                scope=scope,
                terminals=terminals_of(home, codes) if codes else (),
                expires_at=timezone.now() + timedelta(days=days) if days else None,
            )
        where = f" at {', '.join(sorted(set(codes)))}" if codes else ""
        self.say(f"Key {key} made: {scope} of {home.slug}{where}. It is shown this once:")
        self.say(text)
