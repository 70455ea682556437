"""Lets somebody who has lost phone and recovery codes set up the second factor anew."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError

from core import tenancy, two_factor
from core.management.commands._base import OperatorCommand
from core.models import User


class Command(OperatorCommand):
    help = "Forgets a user's authenticator app and recovery codes; the next sign-in sets up anew."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("username")

    def handle(self, *args: Any, username: str, **options: Any) -> None:
        with tenancy.everyone("reset_two_factor"):
            user = User.objects.filter(username=username).first()
            if user is None:
                raise CommandError(f"There is no user {username}.")
            if two_factor.reset(user):
                self.say(f"{username} sets up the second step anew at the next sign-in.")
            else:
                self.say(f"{username} has not set up a second step; nothing changed.")
