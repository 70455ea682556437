"""The documents of an order in the admin."""

import re

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from core.models import Role
from documents.models import OrderDocument, OrderDocumentText
from terminals.models import TerminalStaff
from tests.core.admin_pages import as_sent, errors_of, messages_of, signed_in, text_of
from tests.core.factories import UserFactory
from tests.documents.conftest import part
from tests.documents.factories import OrderDocumentFactory, kept_document
from tests.terminals.factories import TerminalFactory

pytestmark = pytest.mark.django_db


def page_of(order) -> str:
    return f"/admin/orders/order/{order.pk}/change/"


def own_page(document, what: str = "change") -> str:
    return f"/admin/documents/orderdocument/{document.pk}/{what}/"


def rows_of(order) -> str:
    return f"/admin/documents/orderdocument/of/{order.pk}/"


def failed(document, status: str = "failed", why: str = "The PDF is damaged."):
    OrderDocumentText.objects.filter(document=document).update(
        status=status, error=why, finished_at=timezone.now()
    )
    return document


def status_of(document) -> str:
    return OrderDocumentText.objects.get(document=document).status


@pytest.fixture
def client(dispatcher) -> Client:
    return signed_in(dispatcher)


@pytest.fixture
def document(order) -> OrderDocument:
    return OrderDocumentFactory(
        order=order, title="Frakt <b>", file_name="cmr.pdf", size_bytes=12_345, page_count=2
    )


@pytest.fixture
def viewer(order) -> Client:
    return signed_in(UserFactory(organization=order.organization, role=Role.VIEWER))


@pytest.fixture(params=["another organization", "another terminal"])
def stranger(request, order) -> Client:
    if request.param == "another organization":
        return signed_in(UserFactory(admin=True))
    user = UserFactory(organization=order.organization)
    other = TerminalFactory(organization=order.organization)
    TerminalStaff.objects.create(organization=order.organization, terminal=other, user=user)
    return signed_in(user)


class TestThePageOfAnOrder:
    def test_tells_what_is_known_of_each_document(self, client, order, document):
        failed(document)
        shown = text_of(client.get(page_of(order)))
        for told in ("Frakt <b> CMR Failed", "The PDF is damaged.", "cmr.pdf · 12.1", "2 pages"):
            assert told in shown
        assert re.search(r"kari, \w+ \d+ \w+ \d{4} \d\d:\d\d \(Europe/Oslo\)", shown)

    def test_shows_thumbnails_and_files_by_the_api_which_knows_the_session(
        self, client, order, stored
    ):
        kept = kept_document(order)
        shown = client.get(page_of(order)).content.decode()
        (thumbnail,) = re.findall(r'<img src="(/api/[^"]+)"', shown)
        (file,) = re.findall(r'href="(/api/[^"]+/content)"', shown)
        assert client.get(thumbnail)["Content-Type"] == "image/webp"
        answer = client.get(file)
        assert answer["Content-Disposition"] == 'attachment; filename="text.txt"'
        assert answer["X-Content-Type-Options"] == "nosniff"
        assert "sandbox" in answer["Content-Security-Policy"]
        assert b"".join(answer.streaming_content) == b"A text."
        assert signed_in(UserFactory()).get(file).status_code == 404
        assert kept.thumbnail_sha256

    def test_costs_the_same_however_many_documents_there_are(self, client, order, statements):
        OrderDocumentFactory(order=order)

        def cost(path) -> int:
            with statements() as done:
                assert client.get(path).status_code == 200
            return len(done.sql)

        for path in (page_of(order), rows_of(order)):
            cost(path)
            before = cost(path)
            failed(OrderDocumentFactory(order=order))
            OrderDocumentFactory.create_batch(5, order=order)
            assert cost(path) == before

    def test_of_very_many_shows_the_newest_and_leads_to_all(self, client, order, monkeypatch):
        monkeypatch.setattr("documents.admin_of_order.SHOWN", 1)
        for name in ("old.pdf", "new.pdf"):
            OrderDocumentFactory(order=order, file_name=name)
        page = client.get(page_of(order))
        assert "new.pdf" in text_of(page)
        assert "old.pdf" not in text_of(page)
        (to_all,) = re.findall(
            r'href="(/admin/documents/[^"]+\?order=[^"]+)"', page.content.decode()
        )
        OrderDocumentFactory(order__terminal=order.terminal, file_name="other.pdf")
        listed = text_of(client.get(to_all))
        assert "old.pdf" in listed
        assert "other.pdf" not in listed

    def test_without_documents_offers_the_upload(self, client, order):
        page = client.get(page_of(order))
        assert "There are no documents yet." in text_of(page)
        assert 'id="document-upload"' in page.content.decode()

    def test_of_a_new_order_has_no_place_for_documents(self, client):
        page = client.get("/admin/orders/order/add/")
        assert page.status_code == 200
        assert 'id="documents"' not in page.content.decode()

    def test_shows_viewers_all_and_lets_them_do_nothing(self, viewer, order, document):
        failed(document)
        page = viewer.get(page_of(order))
        assert "Frakt <b>" in text_of(page)
        section = page.content.decode().partition('<section id="documents"')[2]
        section = section.partition("</section>")[0]
        assert section.count("<form") == 0
        assert re.findall(r"<a [^>]*>\s*(\w+)", section) == ["Download"]

    def test_and_its_rows_show_nothing_to_strangers(self, stranger, order, document):
        assert stranger.get(rows_of(order)).status_code == 404
        assert "Frakt" not in text_of(stranger.get(page_of(order), follow=True))

    def test_is_asked_again_for_rows_while_one_waits(self, client, order, document):
        def waits() -> bool:
            return "data-waiting" in client.get(rows_of(order)).content.decode()

        assert waits()
        failed(document)
        assert not waits()


class TestReadingAgain:
    def path(self, document) -> str:
        return reverse("admin:document-again", args=[document.pk])

    @pytest.mark.parametrize(
        ("status", "offered"), [("failed", True), ("skipped", True), ("done", False)]
    )
    def test_is_offered_where_it_makes_sense(self, client, order, document, status, offered):
        failed(document, status)
        shown = client.get(page_of(order)).content.decode()
        assert (f'action="{self.path(document)}"' in shown) is offered

    def test_asks_as_the_api_does_and_leads_back(self, client, order, document):
        answer = client.post(self.path(failed(document)))
        assert answer["Location"] == f"{page_of(order)}#documents"
        assert messages_of(answer) == ["To be read again: Frakt <b>."]
        assert status_of(document) == "pending"

    def test_changes_nothing_by_a_look(self, client, document):
        assert client.get(self.path(failed(document))).status_code == 405
        assert status_of(document) == "failed"

    def test_is_not_for_viewers(self, viewer, document):
        assert viewer.post(self.path(failed(document))).status_code == 403
        assert status_of(document) == "failed"

    def test_is_not_for_strangers(self, stranger, document):
        assert stranger.post(self.path(failed(document))).status_code == 404
        assert status_of(document) == "failed"

    def test_takes_the_token_of_its_page(self, dispatcher, document):
        careful = Client(enforce_csrf_checks=True)
        careful.force_login(dispatcher)
        assert careful.post(self.path(failed(document))).status_code == 403
        assert status_of(document) == "failed"


class TestADocumentsOwnPage:
    def test_changes_what_people_say_and_leads_back(self, client, order, document):
        page = client.get(own_page(document))
        answer = client.post(own_page(document), as_sent(page, type="invoice", title="Faktura"))
        assert answer["Location"] == f"{page_of(order)}#documents"
        document.refresh_from_db()
        assert (document.type, document.title, document.version) == ("invoice", "Faktura", 2)

    def test_overwrites_nobody_but_minds_no_reading(self, client, document):
        page = client.get(own_page(document))
        OrderDocument.objects.filter(pk=document.pk).update(thumbnail_sha256="ab" * 32)
        assert client.post(own_page(document), as_sent(page, title="One")).status_code == 302
        answer = client.post(own_page(document), as_sent(page, title="Two"))
        assert "It has been changed meanwhile" in str(errors_of(answer))
        document.refresh_from_db()
        assert document.title == "One"

    def test_sets_nothing_that_is_not_people_s_to_say(self, client, document):
        page = client.get(own_page(document))
        forged = {"file_name": "x.exe", "sha256": "0" * 64, "organization": "", "order": ""}
        assert client.post(own_page(document), as_sent(page, **forged)).status_code == 302
        before = document.file_name, document.sha256, document.order_id
        document.refresh_from_db()
        assert (document.file_name, document.sha256, document.order_id) == before

    def test_deletes_it_with_its_file(
        self, client, order, stored, django_capture_on_commit_callbacks
    ):
        kept = kept_document(order)
        assert stored()
        assert client.get(own_page(kept, "delete")).status_code == 200
        with django_capture_on_commit_callbacks(execute=True):
            answer = client.post(own_page(kept, "delete"), {"post": "yes"})
        assert answer["Location"] == f"{page_of(order)}#documents"
        assert not OrderDocument.objects.exists()
        assert not stored()

    def test_is_for_viewers_to_look_at(self, viewer, document):
        assert viewer.get(own_page(document)).status_code == 200
        assert viewer.post(own_page(document), {"type": "t1"}).status_code == 403
        assert viewer.post(own_page(document, "delete"), {"post": "yes"}).status_code == 403

    @pytest.mark.parametrize("what", ["change", "delete"])
    def test_is_not_there_for_strangers(self, stranger, document, what):
        answer = stranger.post(own_page(document, what), {"post": "yes", "type": "t1"})
        assert answer["Location"] == "/admin/"
        assert OrderDocument.objects.get().type == document.type


class TestTheUploadOfABrowserWithoutScripts:
    @pytest.fixture
    def send(self, client, order, stored):
        """What the browser sends when the form is submitted; it has the page's own token."""

        def send(*parts, by: Client = client, to=order, **values):
            page = by.get(page_of(order))
            token = re.search(r'csrfmiddlewaretoken" value="(\w+)"', page.content.decode())
            fields = {"csrfmiddlewaretoken": token[1] if token else "", "type": "cmr", **values}
            return by.post(f"/forms/orders/{to.pk}/documents", {**fields, "file": list(parts)})

        return send

    @pytest.fixture
    def client(self, dispatcher) -> Client:
        careful = Client(enforce_csrf_checks=True)
        careful.force_login(dispatcher)
        return careful

    def test_keeps_a_file_as_the_api_does(self, send, order, dispatcher):
        answer = send(part("cmr.pdf"))
        assert answer["Location"] == f"{page_of(order)}#documents"
        assert messages_of(answer) == ["cmr.pdf: uploaded."]
        document = OrderDocument.objects.get()
        assert (document.order, document.type, status_of(document)) == (order, "cmr", "pending")
        assert document.uploaded_by_name == dispatcher.username

    def test_tells_what_each_of_several_came_to(self, send):
        answer = send(
            part("cmr.pdf"),
            part("again.pdf"),
            part("setup.pdf", b"MZ" + b"\0" * 99),
            part("a.txt", b""),
        )
        kept, duplicate, wrong, empty = messages_of(answer)
        assert kept == "cmr.pdf: uploaded."
        assert duplicate == "again.pdf: The order has this file already, as cmr.pdf."
        assert wrong.startswith("setup.pdf: The name ends in .pdf, but the content is")
        assert empty == "a.txt: The file is empty."
        assert OrderDocument.objects.count() == 1

    def test_tells_what_a_file_alone_was_refused_for(self, send, settings):
        assert messages_of(send(part("a.txt", b""))) == ["The file is empty."]
        assert messages_of(send(part(), type="")) == ['Type: "" is not a valid choice.']
        settings.MAX_FILE_BYTES = 100
        assert messages_of(send(part())) == ["A file may have at most 100 bytes."]
        settings.CLAMAV_HOST, settings.CLAMAV_PORT = "127.0.0.1", 1
        assert messages_of(send(part("a.txt", b"Clean."))) == [
            "The virus scanner is away; try again later."
        ]
        assert not OrderDocument.objects.exists()

    @pytest.mark.parametrize("token", ["", "x" * 64])
    def test_takes_nothing_without_the_token_of_its_page(self, send, stored, token):
        answer = send(part(), csrfmiddlewaretoken=token)
        assert messages_of(answer)[0].startswith("You")
        assert not OrderDocument.objects.exists()
        assert not stored()

    def test_takes_nothing_from_viewers_and_nobody(self, send, viewer, order):
        send(part(), by=viewer)
        answer = Client().post(f"/forms/orders/{order.pk}/documents", {"file": part()})
        assert answer["Location"].startswith("/admin/login/")
        assert not OrderDocument.objects.exists()

    def test_takes_nothing_for_orders_of_others(self, send, stranger):
        answer = send(part(), by=stranger)
        assert messages_of(answer)[-1] == "There is no such thing here."
        assert not OrderDocument.objects.exists()

    def test_refuses_what_is_no_form(self, client, order):
        path = f"/forms/orders/{order.pk}/documents"
        assert client.get(path).status_code == 405
        assert messages_of(client.post(path, b"{}", content_type="application/json"))
