"""The admin's page over all documents."""

import pytest

from documents.models import OrderDocumentText
from tests.core.admin_pages import messages_of, signed_in, text_of
from tests.core.factories import UserFactory
from tests.documents.factories import OrderDocumentFactory

pytestmark = pytest.mark.django_db
PAGE = "/admin/documents/orderdocument/"


@pytest.fixture
def document(order):
    document = OrderDocumentFactory(order=order, title="Frakt")
    OrderDocumentText.objects.filter(document=document).update(
        pages=["<b>Fersk</b> laks & sild No 204518"], status="done", finished_at="2026-01-01T00:00Z"
    )
    return document


class TestTheSearchPage:
    @pytest.mark.parametrize(("words", "found"), [("laks", "laks"), ("2O4S1B", "204518")])
    def test_shows_the_lines_found_and_leads_to_the_order(self, dispatcher, document, words, found):
        OrderDocumentFactory(order=document.order, title="Another")
        page = signed_in(dispatcher).get(PAGE, {"q": words})
        assert f"/admin/orders/order/{document.order_id}/change/" in page.content.decode()
        assert f"<mark>{found}</mark>" in page.content.decode()
        assert "<b>Fersk" not in page.content.decode()
        assert "Another" not in text_of(page)

    def test_shows_nothing_of_others(self, document):
        page = signed_in(UserFactory()).get(PAGE, {"q": "laks"})
        assert (page.status_code, "Frakt" in text_of(page)) == (200, False)

    def test_has_documents_read_again(self, dispatcher, document):
        sent = {"action": "read_again", "_selected_action": [str(document.pk)]}
        answer = signed_in(dispatcher).post(PAGE, sent)
        assert messages_of(answer) == ["To be read again: 1."]
        assert OrderDocumentText.objects.get(document=document).status == "pending"

    def test_lets_viewers_look_only(self, document):
        viewer = signed_in(UserFactory(organization=document.organization, role="viewer"))
        assert viewer.get(PAGE).status_code == 200
        viewer.post(PAGE, {"action": "read_again", "_selected_action": [str(document.pk)]})
        assert OrderDocumentText.objects.get(document=document).status == "done"

    @pytest.mark.parametrize("words", ["\0", "'", "x" * 500, "%", "1" * 300])
    def test_takes_whatever_is_typed(self, dispatcher, document, words):
        assert signed_in(dispatcher).get(PAGE, {"q": words}).status_code in {200, 302}
