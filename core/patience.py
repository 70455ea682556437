"""`migrate` beside a terminal at work: where a table is busy it lets everybody pass first."""

import random
import time
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.core.management.commands import migrate
from django.db import OperationalError

from core.database_errors import sqlstate
from core.postgres.schema import impatient

BUSY = frozenset({"55P03", "40P01"})  # no lock in time; a deadlock
PATIENCE_S = 300.0
PAUSE_S = (0.5, 1.5)


class PatientMigrate(migrate.Command):
    """Tries again where a lock was not had in time.

    A migration is one transaction or one statement, so that nothing of a failed try is left, and
    what was applied before it is not applied again.
    """

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--patience",
            type=float,
            default=PATIENCE_S,
            metavar="SECONDS",
            help=f"how long to try again where a table is busy ({PATIENCE_S:.0f})",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        deadline = time.monotonic() + options["patience"]
        with impatient():
            while True:
                try:
                    super().handle(*args, **options)
                    return
                except OperationalError as error:
                    if sqlstate(error) not in BUSY:
                        raise
                    if time.monotonic() > deadline:
                        raise CommandError(
                            "A table that a migration needs for a moment was never free. Nothing of"
                            " that migration was kept: run `migrate` again when there is less to do"
                        ) from error
                self.stdout.write("  busy, trying again")
                time.sleep(random.uniform(*PAUSE_S))  # noqa: S311 - so that two do not keep step
