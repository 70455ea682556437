"""Makes or changes a user."""

import getpass
import os
import sys
from argparse import ArgumentParser, BooleanOptionalAction
from collections.abc import Collection
from typing import Any

from django.core.management.base import CommandError

from core import accounts, tenancy
from core.management.commands._base import OperatorCommand
from core.models import Organization, Role, User
from terminals import services
from terminals.models import Terminal


class Command(OperatorCommand):
    help = (
        "Makes a user of an organization, or changes one. The password comes from the environment"
        " variable PASSWORD, or is asked for on a terminal."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("username")
        parser.add_argument("--organization", metavar="SLUG")
        parser.add_argument("--role", choices=Role.values)
        parser.add_argument(
            "--terminal",
            dest="codes",
            metavar="CODE",
            nargs="+",
            action="extend",
            help="account codes of the terminals the user is bound to; without it a new user is"
            " bound to none, which means all, and a present one stays as bound",
        )
        parser.add_argument(
            "--superuser",
            action=BooleanOptionalAction,
            help="looks after the whole installation; needs neither organization nor role",
        )

    def handle(
        self,
        *args: Any,
        username: str,
        organization: str | None,
        role: str | None,
        codes: list[str] | None,
        superuser: bool | None,
        **options: Any,
    ) -> None:
        if not superuser and not (organization and role):
            raise wrong_usage("--organization and --role are needed, except with --superuser.")
        if codes and not organization:
            raise wrong_usage("--terminal needs --organization.")
        username = User.normalize_username(username)
        with tenancy.everyone("create_user"):
            home = organization_of(organization) if organization else None
            terminals = terminals_of(home, codes) if home and codes else None
            is_new = not User.objects.filter(username=username).exists()
        given = {"organization": home, "role": role, "is_superuser": superuser}
        values = {name: value for name, value in given.items() if value is not None}
        password = wanted_password(is_new=is_new)

        with tenancy.everyone("create_user"):
            if is_new:
                if password is None:
                    raise CommandError("A new user needs a password: set PASSWORD.")
                user = accounts.create_user(username, values, password=password)
                changed = ["everything"]
            else:
                user = User.objects.select_for_update(of=("self",)).get(username=username)
                changed = accounts.change_user(user, values, password=password)
            if terminals is not None and terminals != set(user.terminals.all()):
                services.bind_staff(user, terminals)
                changed.append("terminals")
            what = described(user)

        if is_new:
            self.say(f"User {username} made: {what}.")
        elif changed:
            self.say(f"User {username} changed ({', '.join(changed)}): {what}.")
        else:
            self.say(f"User {username} exists already ({what}); nothing changed.")


def wrong_usage(message: str) -> CommandError:
    """What ends with exit code 2, as arguments do that cannot be parsed."""
    return CommandError(message, returncode=2)


def organization_of(slug: str) -> Organization:
    try:
        return Organization.objects.get(slug=slug)
    except Organization.DoesNotExist:
        raise CommandError(f"There is no organization {slug!r}.") from None


def terminals_of(organization: Organization, codes: Collection[str]) -> set[Terminal]:
    found = set(Terminal.objects.filter(organization=organization, account_code__in=codes))
    unknown = set(codes) - {terminal.account_code for terminal in found}
    if unknown:
        listed = ", ".join(repr(code) for code in sorted(unknown))
        raise CommandError(f"{organization.slug} has no terminal {listed}.")
    return found


def wanted_password(*, is_new: bool) -> str | None:
    """From PASSWORD, or typed twice by whoever sits at the terminal; None keeps the present one."""
    if given := os.environ.get("PASSWORD"):
        return given
    if sys.stdin is None or not sys.stdin.isatty():
        return None
    try:
        typed = getpass.getpass("Password: " if is_new else "New password (empty: keep it): ")
        if typed and getpass.getpass("The same again: ") != typed:
            raise CommandError("The two passwords differ.")
    except (EOFError, KeyboardInterrupt):
        raise CommandError("Broken off; nothing changed.") from None
    return typed or None


def described(user: User) -> str:
    """Whose user it is and what it may do, on one line."""
    what = [f"{user.role} of {user.organization.slug}"] if user.organization else []
    what += ["superuser"] if user.is_superuser else []
    codes = user.terminals.order_by("account_code").values_list("account_code", flat=True)
    where = f" at {', '.join(codes)}" if codes else ""
    return " and ".join(what) + where
