"""How long history is kept."""

from datetime import datetime
from typing import Any

from django.db.models import Exists, OuterRef, Q, QuerySet

from core import history


def prune(before: datetime, *, dry_run: bool = False) -> dict[str, int]:
    """Forget what was done before the instant `before`, and by whom; in what the wall lets through.

    Of each row that was there then, the last event stays, without its deed, as how it stood: later
    events tell what they changed. Returns the number of forgotten deeds by table; zeros left out.
    """
    with history.rewriting("retention") as done:
        told = {}
        for model in history.event_models():
            old = model.objects.filter(pgh_created_at__lt=before)
            if deeds := old.exclude(pgh_label=history.BASELINE).count():
                told[model.pgh_tracked_model._meta.db_table] = deeds
                if not dry_run:
                    _forget(old)
        if not dry_run:
            done |= told
    return told


def _forget(old: QuerySet[Any]) -> None:
    later = old.filter(pgh_obj=OuterRef("pgh_obj"), pgh_id__gt=OuterRef("pgh_id"))
    old.filter(Q(pgh_label=history.DELETED) | Exists(later)).delete()
    old.update(pgh_label=history.BASELINE, pgh_context=None)
