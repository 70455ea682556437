"""The demo's documents: what a dispatcher would have dropped on the first orders of today.

They are made here, go through the same inspection and service as any upload, and are read by the
worker. Orders that have documents are left alone.
"""

import hashlib
import tempfile
from collections.abc import Iterator
from datetime import datetime

from core.models import User
from documents import services
from documents.demo_files import consignment_note, packing_list, photo
from documents.files.inspection import inspect
from documents.models import DocumentType, OrderDocument
from orders import demo
from orders.models import Order

WITH_DOCUMENTS = 3  # orders of the first terminal


def load(*, now: datetime) -> int:
    """Add what is missing; returns how many documents. Part of the caller's transaction.

    Raises:
        StorageUnavailable, ScannerUnavailable: the demo can do without.
    """
    by = User.objects.get(username="demo-dispatcher")
    today = now.astimezone(demo.CLOCK).date()
    orders = Order.objects.visible_to(by).moving_on(today).with_details().order_by("reference")
    orders = orders.filter(terminal__account_code=demo.SITES[0].code)[:WITH_DOCUMENTS]
    present = set(
        OrderDocument.objects.filter(order__in=[*orders]).values_list("order_id", flat=True)
    )
    made = [
        _add(order, *each, by=by, now=now)
        for number, order in enumerate(orders)
        if order.pk not in present
        for each in _documents_of(order, number)
    ]
    return len(made)


def _documents_of(order: Order, number: int) -> Iterator[tuple[DocumentType, str, bytes]]:
    """Type, name and content of what the order has: each something else."""
    if number < 2:
        yield DocumentType.CMR, f"CMR {order.reference}.pdf", consignment_note(order)
    if number == 0:
        yield DocumentType.PICTURES, "IMG_2041.jpg", photo(order)
    else:
        name = f"Packing list {order.reference}.csv"
        yield DocumentType.PACKING_LIST, name, packing_list(order)


def _add(
    order: Order, kind: DocumentType, name: str, content: bytes, *, by: User, now: datetime
) -> OrderDocument:
    with tempfile.TemporaryFile() as file:
        file.write(content)
        file.flush()
        return services.add_document(
            order,
            file,
            inspect(file, size=len(content), name=name),
            sha256=hashlib.sha256(content).hexdigest(),
            size_bytes=len(content),
            values={"type": kind},
            by=by,
            now=now,
        )
