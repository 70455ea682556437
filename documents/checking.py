"""Whether the rows and the storage agree, and how they are brought to agree again.

A crash at the wrong moment leaves a file that no row needs, never a row without its file. What is
found is judged again under the file's lock before anything is removed, so a file on its way into an
open transaction stays; so does whatever is younger than GRACE.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import groupby, islice
from uuid import UUID

from django.core.files.storage import Storage

from core import tenancy
from core.models import Organization
from documents import storage
from documents.files.content import UNFINISHED
from documents.models import AbandonedFile, OrderDocument

GRACE = timedelta(hours=1)  # much longer than any upload takes
AT_ONCE = 500


@dataclass
class Findings:
    """What does not agree: files by organization and SHA-256, or by name; documents as rows."""

    files: int = 0
    files_without_rows: list[tuple[UUID, str]] = field(default_factory=list)
    rows_without_files: list[OrderDocument] = field(default_factory=list)
    thumbnails_without_files: list[OrderDocument] = field(default_factory=list)
    unfinished: list[str] = field(default_factory=list)
    strangers: list[str] = field(default_factory=list)


def check(now: datetime) -> Findings:
    """Compare all rows with all files, by names and sizes."""
    found = Findings()
    place = storage.place()
    with tenancy.everyone("check_documents"):
        homes = {str(key): key for key in Organization.objects.values_list("pk", flat=True)}
        names = _names(place)
        while batch := list(islice(names, AT_ONCE)):
            _check_names(batch, homes, found)
        old = now - GRACE
        for names_found in (found.unfinished, found.strangers):
            names_found[:] = [name for name in names_found if _is_older(place, name, old)]
        found.files_without_rows = [
            (home, sha256)
            for home, sha256 in found.files_without_rows
            if _is_older(place, storage.name_of(home, sha256), old)
        ]
        for document in OrderDocument.objects.order_by("pk").iterator(AT_ONCE):
            _check_row(document, found)
    return found


def fix(found: Findings) -> None:
    """Remove what was found: files that nobody needs, rows whose files are lost.

    Strangers stay: they are nothing of ours.
    """
    place = storage.place()
    for name in found.unfinished:
        place.delete(name)
    for home, sha256 in found.files_without_rows:
        storage.remove_unneeded(home, sha256)
    for document in found.rows_without_files:
        home, sha256 = document.organization_id, document.sha256
        with tenancy.within(home):
            storage.hold(home, [sha256])
            if storage.is_missing(home, sha256, document.size_bytes):
                OrderDocument.objects.filter(pk=document.pk, sha256=sha256).delete()
    for document in found.thumbnails_without_files:
        home, lost = document.organization_id, document.thumbnail_sha256
        with tenancy.within(home):
            storage.hold(home, [lost])
            if storage.is_missing(home, lost):
                rows = OrderDocument.objects.filter(pk=document.pk, thumbnail_sha256=lost)
                rows.update(thumbnail_sha256="")
    with tenancy.everyone("check_documents"):
        left = AbandonedFile.objects.values_list("organization_id", "sha256").distinct()
        abandoned = list(left)
    for home, sha256 in abandoned:
        storage.remove_unneeded(home, sha256)


def _names(place: Storage, folder: str = "") -> Iterator[str]:
    """Every file in the storage, folder by folder."""
    try:
        folders, files = place.listdir(folder)
    except FileNotFoundError:  # nothing has been stored yet
        return
    prefix = f"{folder}/" if folder else ""
    for name in sorted(files):
        yield prefix + name
    for name in sorted(folders):
        yield from _names(place, prefix + name)


def _check_names(names: list[str], homes: dict[str, UUID], found: Findings) -> None:
    """Sort some files into those that are needed, not needed, unfinished and strange."""
    ours: list[tuple[UUID, str]] = []
    for name in names:
        home, _, last = name.partition("/")
        sha256 = last.rpartition("/")[2]
        if sha256.startswith(UNFINISHED):
            found.unfinished.append(name)
        elif home in homes and name == storage.name_of(homes[home], sha256):
            ours.append((homes[home], sha256))
        else:
            found.strangers.append(name)
    found.files += len(ours)
    for home_id, group in groupby(ours, key=lambda each: each[0]):
        hashes = [sha256 for _, sha256 in group]
        unneeded = set(hashes) - storage.needed(home_id, hashes)
        found.files_without_rows += [(home_id, sha256) for sha256 in hashes if sha256 in unneeded]


def _check_row(document: OrderDocument, found: Findings) -> None:
    home = document.organization_id
    if storage.is_missing(home, document.sha256, document.size_bytes):
        found.rows_without_files.append(document)
    thumbnail = document.thumbnail_sha256
    if thumbnail and storage.is_missing(home, thumbnail):
        found.thumbnails_without_files.append(document)


def _is_older(place: Storage, name: str, instant: datetime) -> bool:
    try:
        return place.get_modified_time(name) < instant
    except FileNotFoundError:  # gone meanwhile
        return False
