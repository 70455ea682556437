"""Tells how old the database's transaction ids are, and where dead rows pile up."""

from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db import connection

from core import upkeep
from core.management.commands._base import OperatorCommand
from core.upkeep import LAST_ID, WARN_AT, Upkeep


class Command(OperatorCommand):
    help = (
        "Tells the age of the database's transaction ids and the tables with many dead rows; exit"
        " code 1 once half of the ids are used up. Changes nothing."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--rows",
            type=int,
            default=upkeep.LARGE_TABLE_ROWS,
            help="leave out tables with fewer rows, dead ones included (default: %(default)s)",
        )

    def handle(self, *args: Any, rows: int, **options: Any) -> None:
        with connection.cursor() as cursor:

            def execute(*asked: Any) -> Any:
                cursor.execute(*asked)
                return cursor

            found = upkeep.look(execute, at_least=max(1, rows))
        for name, age in (
            ("transaction ids", found.transaction_ids),
            ("multixacts", found.multixacts),
        ):
            self.say(f"{name}: the oldest is {age:,} old, {age / LAST_ID:.1%} of what there is")
        for table in found.bloated():
            swept = f"{table.swept_at:%Y-%m-%d %H:%M} UTC" if table.swept_at else "never"
            self.say(
                f"{table.name}: {table.dead:,} dead rows beside {table.live:,}"
                f" ({table.dead_ratio:.0%}), swept {swept}"
            )
        if found.is_urgent:
            raise CommandError(_urgent(found))


def _urgent(found: Upkeep) -> str:
    """What to do about it, in a line."""
    held = (
        ", ".join(f"{what} ({age:,})" for what, age in found.holders)
        or "nothing that this role sees"
    )
    return (
        f"More than {WARN_AT:.0%} of the transaction ids are used up: end what holds them back"
        f" ({held}), then run VACUUM FREEZE as the owner of the tables. At 100% PostgreSQL"
        " takes no more writes."
    )
