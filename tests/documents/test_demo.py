"""The documents of the demo day."""

from datetime import UTC, datetime

import pytest

from documents import demo as documents
from documents.models import OrderDocument
from documents.reading import services as reading
from orders import demo

NOON = datetime(2026, 11, 23, 11, 0, tzinfo=UTC)

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("stored")]


def test_they_are_real_are_read_and_are_there_once(monkeypatch):
    monkeypatch.setattr(demo, "SITES", demo.SITES[:1])
    demo.load(now=NOON)
    assert documents.load(now=NOON) == 5
    assert documents.load(now=NOON) == 0
    for document in OrderDocument.objects.select_related("text", "order"):
        reading.read(document.organization_id, document.pk)
        document.refresh_from_db()
        document.text.refresh_from_db()
        text = " ".join(document.text.pages)
        assert document.text.status == "done", document.text.error
        if document.type != "pictures":
            assert document.order.reference in text
        assert bool(document.thumbnail_sha256) == (document.type != "packing_list")
    assert set(OrderDocument.objects.values_list("uploaded_by_name", flat=True)) == {
        "demo-dispatcher"
    }
