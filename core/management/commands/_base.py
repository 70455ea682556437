"""What the operators' commands have in common."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, InterfaceError, OperationalError

from core import history
from core.database_errors import refusal_of, sqlstate
from core.errors import Refusal
from core.postgres.ownership import as_owner

MISSING_MIGRATION = frozenset({"42P01", "42703"})  # undefined table, undefined column
NOT_ALLOWED = "42501"


class AsOwner(BaseCommand):
    """A command that works as the owner of the tables, which the application's role is not."""

    def execute(self, *args: Any, **options: Any) -> Any:
        with as_owner():
            return super().execute(*args, **options)


class OperatorCommand(BaseCommand):
    """A command that refuses with one line on standard error and exit code 1."""

    # They look at the whole program, URLs included, and take longer than the command itself.
    requires_system_checks = ()

    def execute(self, *args: Any, **options: Any) -> Any:
        name = type(self).__module__.rsplit(".", 1)[-1]
        try:
            with history.through("command", by=history.Actor("command", name)):
                return super().execute(*args, **options)
        except Refusal as refusal:
            raise CommandError(in_one_line(refusal)) from refusal
        except (DatabaseError, InterfaceError) as error:
            told = told_of(error)
            if told is None:
                raise  # a defect of ours
            raise CommandError(told) from error

    def say(self, line: str) -> None:
        self.stdout.write(line)


def told_of(error: Exception) -> str | None:
    """What an operator can do something about; None if it is a defect of ours."""
    if sqlstate(error) in MISSING_MIGRATION:
        return "The database lacks migrations: run migrate."
    if sqlstate(error) == NOT_ALLOWED:
        return "The role may not do this: run migrate, and set DATABASE_OWNER_URL here as there."
    if isinstance(error, OperationalError | InterfaceError):
        return f"The database does not serve: {str(error).splitlines()[0]}"
    refusal = refusal_of(error)
    return in_one_line(refusal) if refusal else None


def in_one_line(refusal: Refusal) -> str:
    """What a refusal has to say to somebody at a terminal."""
    told = [
        f"{error.field}: {error.message}" if error.field else error.message
        for error in refusal.errors
    ]
    return " ".join(" ".join(told or [refusal.detail]).split())
