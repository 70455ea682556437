"""What is always true of a document, whoever wrote it."""

import pytest
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from core import history, tenancy
from documents.models import AbandonedFile, DocumentType, OrderDocument, OrderDocumentText
from orders.models import Order
from tests.core.factories import UserFactory
from tests.documents.factories import OrderDocumentFactory
from tests.orders.factories import OrderFactory
from tests.terminals.factories import TerminalFactory

pytestmark = pytest.mark.django_db

OTHER = "0" * 64


@pytest.fixture
def document():
    return OrderDocumentFactory()


def abandoned():
    return set(AbandonedFile.objects.values_list("sha256", flat=True))


def labels(thing) -> list[str]:
    model = history.events_of(type(thing))
    rows = model.objects.filter(pgh_obj=thing.pk).order_by("pgh_id")
    return list(rows.values_list("pgh_label", flat=True))


class TestADocument:
    def test_is_there_once_per_order(self, document):
        with (
            pytest.raises(IntegrityError, match="once_per_order"),
            transaction.atomic(),
        ):
            OrderDocumentFactory(order=document.order, sha256=document.sha256)
        elsewhere = OrderFactory(terminal=document.order.terminal)
        OrderDocumentFactory(order=elsewhere, sha256=document.sha256)

    def test_has_one_of_nineteen_types(self):
        assert len(DocumentType.values) == 19

    @pytest.mark.parametrize(
        ("field", "value", "rule"),
        [
            ("type", "diary", "type_known"),
            ("file_name", "", "file_name_not_empty"),
            ("size_bytes", 0, "size_positive"),
            ("sha256", "A" * 64, "sha256_is_one"),
            ("thumbnail_sha256", "0", "thumbnail_is_sha256"),
            ("page_count", 0, "page_count_positive"),
            ("version", 0, "version_positive"),
        ],
    )
    def test_keeps_its_rules(self, field, value, rule):
        with pytest.raises(IntegrityError, match=f"documents_orderdocument_{rule}"):
            OrderDocumentFactory(**{field: value})

    def test_is_of_its_orders_organization(self, document):
        other = OrderFactory()
        OrderDocument.objects.filter(pk=document.pk).update(order=other)
        with pytest.raises(IntegrityError, match="order_same_organization"), transaction.atomic():
            connection.check_constraints()
        OrderDocument.objects.filter(pk=document.pk).update(order=document.order)

    def test_counts_what_people_change(self, document):
        rows = OrderDocument.objects.filter(pk=document.pk)
        rows.update(page_count=2, thumbnail_sha256=OTHER)
        assert rows.get().version == 1
        rows.update(title="Signed CMR")
        rows.update(title="Signed CMR")
        assert rows.get().version == 2
        assert rows.get().updated_at > document.created_at

    def test_is_of_its_orders_terminal(self, document):
        home = document.organization
        here = TerminalFactory(organization=home)
        bound = UserFactory(organization=home)
        bound.bound_terminal_ids = [here.pk]
        assert not OrderDocument.objects.visible_to(bound).exists()
        assert not OrderDocumentText.objects.visible_to(bound).exists()
        Order.objects.filter(pk=document.order_id).update(terminal=here)
        assert OrderDocument.objects.visible_to(bound).get() == document
        assert OrderDocumentText.objects.visible_to(bound).get() == document.text


class TestAReading:
    @pytest.mark.parametrize(
        ("values", "rule"),
        [
            ({"status": "asleep"}, "status_known"),
            ({"attempts": -1}, "attempts_not_negative"),
            ({"status": "done"}, "ends_when_finished"),
            ({"finished_at": timezone.now()}, "ends_when_finished"),
            ({"status": "running"}, "runs_when_started"),
            ({"status": "failed", "finished_at": timezone.now()}, "says_why_not"),
        ],
    )
    def test_keeps_its_rules(self, document, values, rule):
        with pytest.raises(IntegrityError, match=f"documents_orderdocumenttext_{rule}"):
            OrderDocumentText.objects.filter(document=document).update(**values)

    def test_is_of_its_documents_organization(self, document):
        OrderDocumentText.objects.filter(document=document).update(
            organization=OrderFactory().organization
        )
        with (
            pytest.raises(IntegrityError, match="document_same_organization"),
            transaction.atomic(),
        ):
            connection.check_constraints()
        OrderDocumentText.objects.all().update(organization=document.organization)

    def test_leaves_no_text_in_the_history(self):
        columns = {field.name for field in history.events_of(OrderDocumentText)._meta.fields}
        assert "status" in columns
        assert "pages" not in columns


class TestAnOrderThatGoes:
    def test_takes_its_documents_along(self, document):
        kept = OrderDocumentFactory(order=OrderFactory(terminal=document.order.terminal))
        with tenancy.within(document.organization_id):
            document.order.delete()
        assert list(OrderDocument.objects.all()) == [kept]
        assert list(OrderDocumentText.objects.all()) == [kept.text]
        assert labels(document) == labels(document.text) == ["insert", "delete"]

    def test_leaves_word_of_the_files(self, document):
        OrderDocument.objects.filter(pk=document.pk).update(thumbnail_sha256=OTHER)
        assert abandoned() == set()
        Order.objects.filter(pk=document.order_id)._raw_delete("default")
        assert abandoned() == {document.sha256, OTHER}

    def test_leaves_word_of_a_replaced_thumbnail(self, document):
        rows = OrderDocument.objects.filter(pk=document.pk)
        rows.update(thumbnail_sha256=OTHER)
        rows.update(thumbnail_sha256="1" * 64)
        assert abandoned() == {OTHER}
