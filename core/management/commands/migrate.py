"""Django's `migrate`, as the owner of the tables; afterwards the application may work with them."""

from typing import Any

from django.core.management.commands import migrate

from core import grants
from core.management.commands._base import AsOwner
from core.postgres.ownership import as_owner


class Command(AsOwner, migrate.Command):
    def execute(self, *args: Any, **options: Any) -> Any:
        done = super().execute(*args, **options)
        if not options.get("plan"):
            with as_owner():
                grants.give()
        return done
