"""Makes the successor of an API key."""

from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.core.management.base import CommandError

from core import keys, tenancy
from core.management.commands._base import OperatorCommand
from core.management.commands.revoke_api_key import held_key

MAX_HOURS = 24 * 90


class Command(OperatorCommand):
    help = (
        "Makes the successor of an API key and prints it on the last line. The old key lasts on"
        " for a while, so that the program can change over without a gap."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("prefix", help="what the old key begins with, up to the dot")
        parser.add_argument(
            "--overlap-hours",
            dest="hours",
            metavar="N",
            type=int,
            default=24,
            help="how long the old key lasts on (default 24; 0 ends it at once)",
        )

    def handle(self, *args: Any, prefix: str, hours: int, **options: Any) -> None:
        if not 0 <= hours <= MAX_HOURS:
            message = f"--overlap-hours is a number from 0 to {MAX_HOURS}."
            raise CommandError(message, returncode=2)
        with tenancy.everyone("rotate_api_key"):
            old = held_key(prefix)
            key, text = keys.rotate_key(old, overlap=timedelta(hours=hours))
        self.say(f"Key {key} made; {old.prefix} ends at {old.expires_at:%Y-%m-%d %H:%M} UTC.")
        self.say(text)
