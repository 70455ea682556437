"""Django's `migrate`, as the owner of the tables, which nobody has to wait for.

Afterwards the application may work with them, and no session escapes their triggers.
"""

from typing import Any

from core import grants
from core.management.commands._base import AsOwner
from core.patience import PatientMigrate
from core.postgres import triggers
from core.postgres.ownership import as_owner


class Command(AsOwner, PatientMigrate):
    def execute(self, *args: Any, **options: Any) -> Any:
        done = super().execute(*args, **options)
        if not options.get("plan"):
            with as_owner():
                triggers.harden()
                grants.give()
        return done
