"""The plainest valid document: a row as after an upload, without a file in the storage."""

import hashlib
import io

import factory
from factory.django import DjangoModelFactory

from documents import storage
from documents.models import DocumentType, OrderDocument, OrderDocumentText
from orders.models import Order
from tests.orders.factories import OrderFactory


class OrderDocumentFactory(DjangoModelFactory[OrderDocument]):
    """`order=…` or `order__terminal__organization=…` says whose it is; its reading waits."""

    class Meta:
        model = OrderDocument
        skip_postgeneration_save = True

    order = factory.SubFactory(OrderFactory)
    organization = factory.LazyAttribute(lambda document: document.order.organization)
    type = DocumentType.CMR
    file_name = factory.Sequence("cmr-{}.pdf".format)
    size_bytes = 1_000
    sha256 = factory.Sequence(lambda n: hashlib.sha256(str(n).encode()).hexdigest())
    content_type = "application/pdf"
    page_count = 1
    uploaded_by_type = "user"
    uploaded_by_name = "kari"
    text = factory.RelatedFactory(
        "tests.documents.factories.OrderDocumentTextFactory", factory_related_name="document"
    )


class OrderDocumentTextFactory(DjangoModelFactory[OrderDocumentText]):
    class Meta:
        model = OrderDocumentText

    document = factory.SubFactory(OrderDocumentFactory, text=None)
    organization = factory.LazyAttribute(lambda text: text.document.organization)


def kept_document(order: Order, content: bytes = b"A text.") -> OrderDocument:
    """A plain text with a thumbnail, were it one: the row, and the one file in the storage."""
    sha256 = hashlib.sha256(content).hexdigest()
    storage.put(order.organization_id, sha256, io.BytesIO(content), size=len(content))
    document: OrderDocument = OrderDocumentFactory(
        order=order,
        sha256=sha256,
        thumbnail_sha256=sha256,
        size_bytes=len(content),
        file_name="text.txt",
        content_type="text/plain",
        page_count=None,
    )
    return document
