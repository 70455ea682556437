"""Every change of a document.

Each is part of the caller's transaction. A document that is changed or deleted is one that the
caller holds; `expected` is what `If-Match` asked for, as in `orders.services`.
"""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import IO, Any

from django.conf import settings

from core import history, services
from core.constraints import keep_rules
from core.errors import FieldError, NotAllowed, NotFound, RuleBroken, StaleVersion
from core.models import Principal
from documents import storage
from documents.errors import DuplicateDocument, TooManyDocuments
from documents.files.inspection import Inspected
from documents.models import OrderDocument, OrderDocumentText, ReadingStatus
from documents.reading import queue
from orders.models import Order

ENCRYPTED = "The PDF is protected by a password."


def add_document(
    order: Order,
    file: IO[bytes],
    found: Inspected,
    *,
    sha256: str,
    size_bytes: int,
    values: Mapping[str, Any],
    by: Principal,
    now: datetime,
) -> OrderDocument:
    """Keep a file as a document of `order`; returns it as stored, with its reading at hand.

    The file has been inspected (`documents.files.inspection`). `values` are what people say of it.
    The order is held only once the file is written, which can take a while. If the transaction
    fails after that, `storage.remove_unneeded` takes the file away again.

    Raises:
        NotFound: the order is gone meanwhile.
        DuplicateDocument: the order has the file already.
        TooManyDocuments: the order has as many as it may have.
        RuleBroken: `values` break a rule.
        StorageUnavailable: the file could not be kept.
    """
    _expect_room(order, sha256)
    storage.hold(order.organization_id, [sha256])
    storage.put(order.organization_id, sha256, file, size=size_bytes)
    if not Order.objects.filter(pk=order.pk).select_for_update(no_key=True).exists():
        raise NotFound
    _expect_room(order, sha256)
    document = OrderDocument(
        organization_id=order.organization_id,
        order=order,
        file_name=found.name,
        size_bytes=size_bytes,
        sha256=sha256,
        content_type=found.content_type,
        page_count=found.pages,
        **_uploaded_by(by),
        **values,
    )
    keep_rules(document)
    document.save_new()
    skipped = {"status": ReadingStatus.SKIPPED, "error": ENCRYPTED, "finished_at": now}
    OrderDocumentText(
        organization_id=order.organization_id,
        document=document,
        **(skipped if found.is_encrypted else {}),
    ).save_new()
    if not found.is_encrypted:
        queue.enqueue(document)
    return document


def _uploaded_by(who: Principal) -> dict[str, Any]:
    actor = history.actor_of(who)
    if actor is None:
        raise NotAllowed("A document is uploaded by somebody.")
    return {f"uploaded_by_{name}": getattr(actor, name) for name in ("type", "id", "name")}


def _expect_room(order: Order, sha256: str) -> None:
    """Raises `DuplicateDocument` or `TooManyDocuments` where the order cannot take the file."""
    mine = OrderDocument.objects.filter(order=order)
    if first := mine.filter(sha256=sha256).first():
        raise DuplicateDocument(first)
    if mine.count() >= settings.MAX_DOCUMENTS_PER_ORDER:
        raise TooManyDocuments(settings.MAX_DOCUMENTS_PER_ORDER)


def update_document(
    document: OrderDocument,
    values: Mapping[str, Any],
    *,
    expected: Collection[int] | None = None,
    refused: Collection[FieldError] = (),
) -> OrderDocument:
    """Change what people say of a document; returns it as stored.

    Raises:
        StaleVersion: it has none of the `expected` versions.
        RuleBroken: `values` break a rule.
    """
    _expect(document, expected)
    if refused:
        raise RuleBroken(refused)
    return services.update(document, values)


def delete_document(document: OrderDocument, *, expected: Collection[int] | None = None) -> None:
    """Delete a document, and after the commit its files, unless others need them.

    Raises:
        StaleVersion: it has none of the `expected` versions.
    """
    _expect(document, expected)
    organization_id = document.organization_id
    services.delete(document)
    storage.after_commit(storage.remove_abandoned, organization_id)


def _expect(document: OrderDocument, expected: Collection[int] | None) -> None:
    if expected is not None and document.version not in expected:
        raise StaleVersion(document.version)
