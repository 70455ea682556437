from typing import Any

from django.apps import AppConfig
from django.db.models.signals import post_delete


class DocumentsConfig(AppConfig):
    name = "documents"

    def ready(self) -> None:
        from documents import metrics  # noqa: F401 - registers what it looks at
        from orders.models import Order

        post_delete.connect(_remove_files, sender=Order, dispatch_uid="documents")


def _remove_files(instance: Any, **_: Any) -> None:
    """A deleted order's documents have gone with it; only a reminder, their files are on record."""
    from documents import storage

    storage.after_commit(storage.remove_abandoned, instance.organization_id)
