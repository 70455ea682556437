"""Withdraws an API key."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError

from core import keys, tenancy
from core.management.commands._base import OperatorCommand
from core.models import ApiKey


class Command(OperatorCommand):
    help = "Withdraws an API key: its next request is refused. It cannot be taken back."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("prefix", help="what the key begins with, up to the dot")

    def handle(self, *args: Any, prefix: str, **options: Any) -> None:
        with tenancy.everyone("revoke_api_key"):
            key = held_key(prefix)
            news = keys.revoke_key(key)
        self.say(f"Key {key} revoked." if news else f"Key {key} was revoked; nothing changed.")


def held_key(given: str) -> ApiKey:
    """The key that begins so, held until the transaction ends; a whole key names itself too."""
    prefix = given.partition(".")[0]
    key = ApiKey.objects.locked().filter(prefix=prefix).first()
    if key is None:
        raise CommandError(f"There is no key {prefix!r}.")
    return key
