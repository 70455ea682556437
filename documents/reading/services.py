"""How a reading begins, ends, fails, and is asked for again.

A reading is two transactions with the work between them: no connection waits while tesseract reads.
It is known by when it began. What was asked for again, or taken up by another worker meanwhile, is
no longer ours to write, so a document is written once, however often its job is run.
"""

import hashlib
import io
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import IO
from uuid import UUID

import structlog
from django.db import DatabaseError
from django.utils import timezone

from core import tenancy
from core.errors import NotFound, Refusal
from documents import storage
from documents.models import OrderDocument, OrderDocumentText, ReadingStatus
from documents.reading import queue
from documents.reading.extraction import Extracted, Interrupted, extract
from documents.reading.program import NO_OCR

log = structlog.stdlib.get_logger("documents.reading")

MAX_ATTEMPTS = 5
INTERRUPTED = "The reading was interrupted {} times."
NO_FILE = "The file is missing from the storage."
WAITS = (ReadingStatus.PENDING, ReadingStatus.RUNNING)


class TryAgain(Exception):
    """The reading failed for now; the job is to be run again."""


class GaveUp(Exception):
    """The reading has been tried often enough; the document says why it failed."""


@dataclass(frozen=True)
class _Begun:
    """One reading of one document."""

    text_id: UUID
    organization_id: UUID
    document_id: UUID
    sha256: str
    content_type: str
    attempt: int
    started_at: datetime


def read(organization_id: UUID, document_id: UUID) -> None:
    """Read the document, unless it is gone or read already.

    Raises:
        TryAgain: the storage, the database or the machine failed it.
        GaveUp: that was the last of `MAX_ATTEMPTS`; or its workers were killed as often.
    """
    begun = _begin(organization_id, document_id)
    if begun is None:
        return
    try:
        with _file(begun) as file:
            found = extract(file, begun.content_type)
        _end(begun, found)
    except NotFound:
        _end(begun, Extracted(ReadingStatus.FAILED, [], "", "", NO_FILE, b""))
    except (Interrupted, Refusal, DatabaseError, OSError) as error:
        log.warning("reading_failed", attempt=begun.attempt, kind=type(error).__name__)
        _fail(begun, _told(error))


def _begin(organization_id: UUID, document_id: UUID) -> _Begun | None:
    with tenancy.within(organization_id):
        text = (
            OrderDocumentText.objects.locked()
            .filter(document_id=document_id, status__in=WAITS)
            .select_related("document")
            .defer("pages")
            .first()
        )
        if text is None:
            return None
        gave_up = text.attempts >= MAX_ATTEMPTS
        if gave_up:
            text.status, text.finished_at = ReadingStatus.FAILED, timezone.now()
            text.error = text.error or INTERRUPTED.format(text.attempts)
        else:
            text.attempts += 1
            text.status, text.started_at = ReadingStatus.RUNNING, timezone.now()
        text.save(update_fields=["attempts", "status", "started_at", "finished_at", "error"])
    if gave_up:
        raise GaveUp
    return _Begun(
        text_id=text.pk,
        organization_id=organization_id,
        document_id=document_id,
        sha256=text.document.sha256,
        content_type=text.document.content_type,
        attempt=text.attempts,
        started_at=text.started_at or timezone.now(),
    )


@contextmanager
def _file(begun: _Begun) -> Iterator[IO[bytes]]:
    """The document's file with a descriptor of its own, wherever the storage has it."""
    with (
        storage.open_file(begun.organization_id, begun.sha256) as kept,
        tempfile.TemporaryFile() as file,
    ):
        shutil.copyfileobj(kept, file)
        file.flush()
        yield file


def _ours(begun: _Begun) -> OrderDocumentText | None:
    """The reading's row, held; None where it is no longer ours."""
    return (
        OrderDocumentText.objects.locked()
        .filter(pk=begun.text_id, status=ReadingStatus.RUNNING, started_at=begun.started_at)
        .defer("pages")
        .first()
    )


def _end(begun: _Begun, found: Extracted) -> None:
    """Write down what was found, and keep the thumbnail."""
    thumbnail = hashlib.sha256(found.thumbnail).hexdigest() if found.thumbnail else ""
    with tenancy.within(begun.organization_id):
        if thumbnail:
            storage.hold(begun.organization_id, [thumbnail])
            size = len(found.thumbnail)
            storage.put(begun.organization_id, thumbnail, io.BytesIO(found.thumbnail), size=size)
        text = _ours(begun)
        if text is not None:
            if thumbnail:
                OrderDocument.objects.filter(pk=begun.document_id).update(
                    thumbnail_sha256=thumbnail
                )
            text.status, text.finished_at = found.status, timezone.now()
            text.pages, text.error = found.pages, found.error
            text.language, text.extractor = found.language, found.extractor
            text.save(
                update_fields=["status", "finished_at", "pages", "error", "language", "extractor"]
            )
    if text is None and thumbnail:
        storage.quietly(storage.remove_unneeded, begun.organization_id, thumbnail)


def _fail(begun: _Begun, why: str) -> None:
    is_last = begun.attempt >= MAX_ATTEMPTS
    with tenancy.within(begun.organization_id):
        text = _ours(begun)
        if text is None:
            return
        text.status, text.error = ReadingStatus.PENDING, why
        if is_last:
            text.status, text.finished_at = ReadingStatus.FAILED, timezone.now()
        text.save(update_fields=["status", "error", "finished_at"])
    raise GaveUp if is_last else TryAgain


def _told(error: Exception) -> str:
    """For people: nothing of the machine's particulars."""
    if isinstance(error, Refusal):
        return error.detail[:500]
    if isinstance(error, Interrupted):
        return "The reading ended by itself: the file may be hostile, or the memory too small."
    return "The reading failed; the log of the worker says why."


def ask_again(document: OrderDocument) -> OrderDocumentText:
    """Have the document read anew, whatever came of it; its text stays until then.

    What waits already, waits on. Part of the caller's transaction. Returns the row as stored.
    """
    text = OrderDocumentText.objects.locked().defer("pages").get(document=document)
    text.status, text.error, text.attempts = ReadingStatus.PENDING, "", 0
    text.queued_at, text.started_at, text.finished_at = timezone.now(), None, None
    text.save(
        update_fields=["status", "error", "attempts", "queued_at", "started_at", "finished_at"]
    )
    queue.enqueue(document)
    return text


def to_retry(organization_id: UUID) -> Iterable[OrderDocument]:
    """Documents whose reading failed, or had nothing to read a picture with, or was lost.

    Lost is what waits without a job to come; no crash can bring that about, only a hand in the
    table of jobs.
    """
    texts = OrderDocumentText.objects.filter(organization_id=organization_id)
    readings = texts.filter(status=ReadingStatus.FAILED) | texts.filter(
        status=ReadingStatus.SKIPPED, error__contains=NO_OCR
    )
    waiting = list(texts.filter(status__in=WAITS).values_list("document_id", flat=True))
    lost = set(waiting) - queue.with_jobs(waiting)
    chosen = {*readings.values_list("document_id", flat=True), *lost}
    return OrderDocument.objects.filter(pk__in=chosen).order_by("pk")
