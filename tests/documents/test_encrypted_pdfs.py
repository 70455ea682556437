"""PDFs under passwords: read where they open without one, else kept and skipped, never an error."""

import io
from typing import Any

import pytest
from pypdf import PdfWriter

from documents.models import OrderDocument, OrderDocumentText
from documents.reading import services
from tests.documents import files

pytestmark = pytest.mark.django_db

# By how a password becomes a key: R2, R3, R4, R5, R6. Before R5 passwords are of Latin letters.
PASSWORDS = {
    "RC4-40": "blåbærsyltetøy",
    "RC4-128": "blåbærsyltetøy",
    "AES-128": "blåbærsyltetøy",
    "AES-256-R5": "пароль 密码 🔑",
    "AES-256": "пароль 密码 🔑",
}


def encrypted(algorithm: str, *, user: str, owner: str) -> bytes:
    writer = PdfWriter(clone_from=io.BytesIO(files.pdf("Frachtbrief 204518")))
    writer.encrypt(user, owner, algorithm=algorithm)
    out = io.BytesIO()
    writer.write(out)
    assert b"/Encrypt" in out.getvalue()
    assert b"Frachtbrief" not in out.getvalue()
    return out.getvalue()


@pytest.fixture
def uploaded(upload: Any) -> Any:
    """The document and its reading, after a worker had the chance to read it."""

    def send(content: bytes) -> tuple[OrderDocument, OrderDocumentText]:
        answer = upload("a.pdf", content)
        assert answer.status_code == 201, answer.content
        document = OrderDocument.objects.get(pk=answer.json()["id"])
        services.read(document.organization_id, document.pk)
        return document, OrderDocumentText.objects.get(document=document)

    return send


@pytest.mark.parametrize("algorithm", PASSWORDS)
class TestUnderEachKindOfEncryption:
    def test_a_pdf_that_asks_for_a_password_is_kept_and_skipped(self, uploaded, algorithm):
        password = PASSWORDS[algorithm]
        document, text = uploaded(encrypted(algorithm, user=password, owner="owner"))
        assert (document.page_count, document.thumbnail_sha256) == (None, "")
        assert (text.status, text.pages, text.attempts) == ("skipped", [], 0)
        assert text.error == "The PDF is protected by a password."

    def test_a_pdf_that_only_its_owner_may_change_is_read(self, uploaded, algorithm):
        """The password of its user is empty: whoever opens it is asked for none."""
        document, text = uploaded(encrypted(algorithm, user="", owner=PASSWORDS[algorithm]))
        assert document.page_count == 1
        assert (text.status, text.pages) == ("done", ["Frachtbrief 204518"])
        assert document.__class__.objects.get(pk=document.pk).thumbnail_sha256


@pytest.mark.parametrize("user", ["", "x"])
def test_a_password_of_user_and_owner_alike(uploaded, user):
    _, text = uploaded(encrypted("AES-256", user=user, owner=user))
    assert text.status == ("skipped" if user else "done")


HANDLERS = {
    "of certificates": "/Filter/Adobe.PubSec/V 4/SubFilter/adbe.pkcs7.s5",
    "that nobody knows": "/Filter/Nobodys/V 1",
    "of a future version": "/Filter/Standard/V 9/R 9",
    "without any keys": "/Filter/Standard/V 2/R 3/Length 128",
}


@pytest.mark.parametrize("handler", HANDLERS)
def test_encryption_that_pdfium_does_not_know(uploaded, handler):
    identity = f"/ID[<{'ab' * 16}><{'ab' * 16}>]"
    document, text = uploaded(files.pdf(trailer=f"{identity}/Encrypt<<{HANDLERS[handler]}>>"))
    assert (text.status, text.error) == ("skipped", "The PDF is protected by a password.")
    assert not document.page_count
