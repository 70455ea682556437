"""Text, thumbnail, reading again and searching over REST."""

from typing import Any

import pytest

from documents.models import OrderDocument, OrderDocumentText
from documents.reading import services
from terminals.models import TerminalStaff
from tests.core.factories import UserFactory
from tests.documents import files
from tests.documents.factories import OrderDocumentFactory
from tests.orders.factories import OrderFactory
from tests.terminals.factories import TerminalFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def document(upload: Any) -> OrderDocument:
    """A document that was uploaded and read."""
    answer = upload("cmr.pdf", files.pdf("Fersk laks 204518", pages=2), title="Frakt")
    document = OrderDocument.objects.get(pk=answer.json()["id"])
    services.read(document.organization_id, document.pk)
    return document


@pytest.fixture
def address(document: OrderDocument) -> str:
    return f"/orders/{document.order_id}/documents/{document.pk}"


class TestText:
    def test_tells_what_was_read_page_by_page(self, api, address, document):
        answer = api.get(f"{address}/text").json()
        assert [page["number"] for page in answer["pages"]] == [1, 2]
        assert answer["pages"][1]["text"] == "Fersk laks 204518"
        assert (answer["status"], answer["extractor"], answer["attempts"]) == ("done", "pdfium", 1)

    def test_tells_why_there_is_none(self, api, upload, order):
        made = upload("a.pdf", files.encrypted_pdf()).json()
        answer = api.get(f"/orders/{order.pk}/documents/{made['id']}/text").json()
        assert (answer["status"], answer["pages"]) == ("skipped", [])
        assert answer["status_reason"] == "The PDF is protected by a password."


class TestThumbnail:
    def test_is_a_small_picture_that_runs_nothing(self, api, address, document):
        answer = api.get(f"{address}/thumbnail")
        assert (answer.status_code, answer["Content-Type"]) == (200, "image/webp")
        assert answer["X-Content-Type-Options"] == "nosniff"
        assert "sandbox" in answer["Content-Security-Policy"]
        known = api.get(f"{address}/thumbnail", HTTP_IF_NONE_MATCH=answer["ETag"])
        assert known.status_code == 304

    def test_is_not_there_before_it_is_made(self, api, upload, order):
        made = upload("a.txt", b"Text.").json()
        assert api.get(f"/orders/{order.pk}/documents/{made['id']}/thumbnail").status_code == 404


class TestExtract:
    def test_has_it_read_again(self, api, address, document):
        answer = api.post(f"{address}/extract")
        assert (answer.status_code, answer.json()["status"]) == (202, "pending")
        services.read(document.organization_id, document.pk)
        assert api.get(address).json()["status"] == "done"
        assert api.get(address).json()["version"] == 1


class TestSearch:
    def test_finds_documents_with_the_line_and_its_page(self, api, document):
        OrderDocumentFactory(order=document.order)
        answer = api.get("/documents?q=laksen").json()
        assert [each["id"] for each in answer["data"]] == [str(document.pk)]
        parts = ["Fersk ", "laks", " 204518"]
        assert answer["snippets"][str(document.pk)][0] == {"page": 1, "parts": parts}

    def test_finds_the_order_by_a_misread_number(self, api, document):
        OrderFactory(terminal=document.order.terminal)
        for words in ("204S18", "204513", "frakt"):
            found = api.get(f"/orders?q_documents={words}").json()
            assert [each["id"] for each in found["data"]] == [str(document.order_id)], words
        assert api.get("/orders?q_documents=torsk").json()["total"] == 0

    def test_shows_the_best_first_unless_another_order_is_asked_for(self, api, document):
        later = OrderDocumentFactory(order=document.order)
        OrderDocumentText.objects.filter(document=later).update(pages=["laks " + "sild " * 200])
        ids = lambda answer: [each["id"] for each in answer.json()["data"]]  # noqa: E731
        best, newest = [str(document.pk), str(later.pk)], [str(later.pk), str(document.pk)]
        OrderDocument.objects.filter(pk=document.pk).update(title="Laks")
        assert ids(api.get("/documents?q=laks")) == best
        assert ids(api.get("/documents?q=laks&ordering=-created_at")) == newest
        assert ids(api.get("/documents?q=laks&cursor=")) == newest

    def test_takes_as_many_statements_for_one_as_for_thirty(self, api, document, statements):
        api.get("/documents?q=laks")  # what the words come to is remembered
        with statements() as for_one:
            api.get("/documents?q=laks")
        for _ in range(10):
            each = OrderDocumentFactory(order=document.order)
            OrderDocumentText.objects.filter(document=each).update(pages=["laks"])
        with statements() as for_many:
            assert api.get("/documents?q=laks").json()["total"] == 11
        assert len(for_one.sql) == len(for_many.sql)

    def test_is_bound_to_ones_terminals(self, api_of, document):
        elsewhere = UserFactory(organization=document.organization)
        terminal = TerminalFactory(organization=elsewhere.organization)
        TerminalStaff.objects.create(
            user=elsewhere, terminal=terminal, organization=elsewhere.organization
        )
        assert api_of(elsewhere).get("/documents?q=laks").json()["total"] == 0
        assert api_of(elsewhere).get("/orders?q_documents=laks").json()["total"] == 0
