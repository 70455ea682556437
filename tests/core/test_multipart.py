"""Forms with files, piece by piece: counted while they come, and refused where they are broken."""

import base64
import io
import tempfile

import pytest
from django.conf import settings

from documents.models import OrderDocument
from orders.models import Order
from tests.documents import files
from tests.orders.factories import OrderFactory

pytestmark = pytest.mark.django_db

FORM = "multipart/form-data; boundary=BOUNDARY"
CHUNKED = {"HTTP_TRANSFER_ENCODING": "chunked", "CONTENT_LENGTH": "", "CONTENT_TYPE": FORM}
TEXT = b"Goods for Hitra.\n"


def head(name: str, file_name: str | None = None, *more: str) -> bytes:
    named = f'; filename="{file_name}"' if file_name is not None else ""
    lines = [f'Content-Disposition: form-data; name="{name}"{named}', *more, "", ""]
    return "\r\n".join(lines).encode()


def form(*parts: bytes, end: bytes = b"--BOUNDARY--\r\n") -> bytes:
    return b"".join(b"--BOUNDARY\r\n" + each + b"\r\n" for each in parts) + end


FILE, TYPE = head("file", "a.txt") + TEXT, head("type") + b"cmr"


@pytest.fixture
def send(api, order, stored, monkeypatch):
    """POST raw bytes; returns status and code. No temporary file of it is left afterwards."""
    made = []
    temporary = tempfile.TemporaryFile

    def watched(*args, **kwargs):
        made.append(temporary(*args, **kwargs))
        return made[-1]

    monkeypatch.setattr("core.api.multipart.tempfile.TemporaryFile", watched)

    def post(body: bytes, content_type: str = FORM, **headers):
        answer = api.generic("POST", f"/orders/{order.pk}/documents", body, content_type, **headers)
        assert all(file.closed for file in made)
        assert not list(settings.UPLOAD_DIR.glob("*"))
        kept = OrderDocument.objects.count()
        assert kept == len(stored()) == (answer.status_code == 201)
        return answer.status_code, answer.json().get("code")

    return post


@pytest.fixture
def order(dispatcher) -> Order:
    return OrderFactory(terminal__organization=dispatcher.organization)


MALFORMED = (400, "malformed-request")


class TestAForm:
    def test_is_taken(self, send):
        assert send(form(FILE, TYPE)) == (201, None)

    def test_may_come_in_any_order_with_words_behind(self, send):
        assert send(form(TYPE, FILE) + b"and an epilogue" * 10_000) == (201, None)

    @pytest.mark.parametrize(
        ("body", "content_type"),
        [
            (form(FILE, TYPE), "multipart/form-data"),
            (form(FILE, TYPE), "multipart/form-data; boundary="),
            (form(FILE, TYPE), "multipart/form-data; boundary=OTHER"),
            (form(FILE, TYPE, end=b""), FORM),
            (form(FILE, TYPE, end=b"--BOUNDARY"), FORM),
            (form(TYPE)[:40], FORM),
            (b"{}", FORM),
            (form(b"No header here" + FILE, TYPE), FORM),
            (form(b"\r\n" + TEXT, TYPE), FORM),
            (form(b"Content-Disposition: form-data\r\n\r\nx", FILE, TYPE), FORM),
            (form(b"Content-Disposition: attachment; name=x\r\n\r\nx", FILE, TYPE), FORM),
            (form(head("file", "a.txt", "X-Long: " + "x" * 100_000) + TEXT, TYPE), FORM),
            (form(head("file", "a.txt", *["X: y"] * 20) + TEXT, TYPE), FORM),
            (form(b'Content-Disposition: form-data; name="f\xff"\r\n\r\nx', FILE), FORM),
            (form(head("type") + b"\xff\xfe", FILE), FORM),
            (form(*[head(f"n{n}") + b"x" for n in range(1_001)]), FORM),
            (form(*[head("file", f"{n}.txt") + TEXT for n in range(101)], TYPE), FORM),
            (form(head("file", "a.txt", "Content-Transfer-Encoding: gzip") + TEXT, TYPE), FORM),
            (form(FILE, TYPE).replace(b"\r\n", b"\n"), FORM),
        ],
    )
    def test_is_refused_where_it_is_broken(self, send, body, content_type):
        assert send(body, content_type) == MALFORMED

    def test_is_refused_where_it_is_cut(self, send):
        whole = form(TYPE, FILE)
        for length in (1, 40, len(whole) // 2, len(whole) - 10):
            assert send(whole[:length]) == MALFORMED

    @pytest.mark.parametrize(
        "content_type",
        [
            *("application/json", "text/plain", "", "multipart/", f"{FORM}; charset=utf-16"),
            "multipart/mixed; boundary=BOUNDARY",
        ],
    )
    def test_is_the_only_thing_taken(self, send, content_type):
        assert send(form(FILE, TYPE), content_type) == (415, "unsupported-media-type")

    def test_is_not_compressed(self, send):
        told = send(form(FILE, TYPE), HTTP_CONTENT_ENCODING="gzip")
        assert told == (415, "unsupported-media-type")

    def test_within_a_form_is_a_file_of_no_kind(self, send):
        inner = head("file", "a.txt", "Content-Type: multipart/mixed; boundary=I") + b"--I\r\n\r\nx"
        assert send(form(inner.replace(b"a.txt", b"a.pdf"), TYPE))[0] == 415


class TestASize:
    @pytest.mark.parametrize(("more", "status"), [(0, 201), (1, 413), (1_048_576, 413)])
    def test_is_counted_to_the_byte(self, send, settings, more, status):
        settings.MAX_FILE_BYTES = 100_000
        text = b"x" * (100_000 + more)
        assert send(form(head("file", "a.txt") + text, TYPE))[0] == status

    def test_is_judged_as_it_is_declared(self, api, order, stored):
        class Unread:
            def read(self, *_):
                raise AssertionError("read")

            readline = read

        for size in (settings.MAX_UPLOAD_BYTES + 1, 10**12):
            extra = {"CONTENT_LENGTH": str(size), "wsgi.input": Unread(), "CONTENT_TYPE": FORM}
            answer = api.generic("POST", f"/orders/{order.pk}/documents", **extra)
            assert (answer.status_code, answer.json()["code"]) == (413, "too-large")
            assert f"{settings.MAX_UPLOAD_BYTES:,}" in answer.json()["detail"]

    def test_is_counted_where_it_is_not_declared(self, api, order, stored):
        class Endless:
            """A form whose file never ends."""

            def __init__(self):
                self.read_bytes, self.start = 0, b"--BOUNDARY\r\n" + head("file", "a.txt")

            def read(self, size=-1):
                piece, self.start = self.start or b"x" * size, b""
                self.read_bytes += len(piece)
                return piece

            readline = read

        body = Endless()
        extra = {**CHUNKED, "wsgi.input": body}
        answer = api.generic("POST", f"/orders/{order.pk}/documents", **extra)
        assert (answer.status_code, answer.json()["code"]) == (413, "too-large")
        assert f"{settings.MAX_FILE_BYTES:,}" in answer.json()["detail"]
        assert body.read_bytes < settings.MAX_FILE_BYTES + 200_000
        assert stored() == set()

    def test_of_a_chunked_form_is_whatever_comes(self, api, order, stored):
        extra = {**CHUNKED, "wsgi.input": io.BytesIO(form(FILE, TYPE))}
        answer = api.generic("POST", f"/orders/{order.pk}/documents", **extra)
        assert answer.status_code == 201

    def test_of_a_field_is_small(self, send):
        assert send(form(head("type") + b"x" * 5_000, FILE)) == (413, "too-large")


class TestBase64:
    def part(self, encoded: bytes) -> bytes:
        return head("file", "a.pdf", "Content-Transfer-Encoding: base64") + encoded

    def test_is_decoded(self, send):
        encoded = base64.encodebytes(files.pdf())
        assert send(form(self.part(encoded), TYPE)) == (201, None)
        assert OrderDocument.objects.get().size_bytes == len(files.pdf())

    def test_may_be_mostly_spaces(self, send):
        encoded = b" " * 2_000_000 + base64.b64encode(files.pdf())
        assert send(form(self.part(encoded), TYPE)) == (201, None)

    @pytest.mark.parametrize("broken", [b"abc", b"a===", b"????", b"YWJj=YWJj"])
    def test_is_refused_where_it_is_broken(self, send, broken):
        assert send(form(self.part(broken), TYPE)) == MALFORMED

    def test_counts_decoded(self, send, settings):
        settings.MAX_FILE_BYTES = len(files.pdf()) - 1
        assert send(form(self.part(base64.b64encode(files.pdf())), TYPE))[0] == 413
