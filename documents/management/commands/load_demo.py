"""Loads the demo organization and its day."""

from argparse import ArgumentParser
from datetime import datetime
from typing import Any

from django.db import transaction
from django.utils import timezone

from core import tenancy
from core.errors import Refusal
from core.management.commands._base import OperatorCommand, in_one_line
from core.models import Organization
from documents import demo as documents
from orders import demo


class Command(OperatorCommand):
    help = "Loads the demo organization with today's orders; what is there already stays as it is."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--if-empty",
            action="store_true",
            help="do nothing where any organization exists",
        )
        parser.add_argument(
            "--dry-run",
            action="store_true",
            help="say what would be added, and add nothing",
        )

    def handle(self, *args: Any, if_empty: bool, dry_run: bool, **options: Any) -> None:
        with tenancy.everyone("load_demo"):
            if if_empty and Organization.objects.exists():
                self.say("demo: there is an organization already; nothing added.")
                return
            now = timezone.now()
            loaded = demo.load(now=now)
            transaction.set_rollback(dry_run)
        if dry_run:
            users = len(loaded.passwords)
            self.say(f"demo: would add {loaded.orders} orders and {users} users.")
            return
        added = loaded.orders or "the orders of today are there already: no"
        self.say(f"demo: {added} orders added to {demo.NAME} ({demo.SLUG}).")
        self.tell_users(loaded.passwords)
        self.add_documents(now)

    def add_documents(self, now: datetime) -> None:
        """Once the orders are there to stay: files are in no transaction."""
        try:
            with tenancy.everyone("load_demo"):
                added = documents.load(now=now)
        except Refusal as refusal:
            self.say(f"demo: no documents: {in_one_line(refusal)}")
        else:
            if added:
                self.say(f"demo: {added} documents added to its first orders of today.")

    def tell_users(self, passwords: dict[str, str]) -> None:
        if passwords:
            self.say("demo: new users; their passwords are shown this once:")
            self.say(f"  {'user':<17}{'role':<12}password")
            for username, password in passwords.items():
                role = demo.USERS[username].get("role", "superuser")
                self.say(f"  {username:<17}{role:<12}{password}")
        if len(passwords) < len(demo.USERS):
            present = ", ".join(name for name in demo.USERS if name not in passwords)
            self.say(
                f"demo: {present} exist already; create_user sets a new password from PASSWORD."
            )
