"""Django's `flush`, as the owner of the tables: nobody else may empty them."""

from django.core.management.commands import flush

from core.management.commands._base import AsOwner


class Command(AsOwner, flush.Command):
    pass
