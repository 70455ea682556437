"""Documents over REST: up, listed, read, changed, fetched, deleted."""

import hashlib

import pytest
from django.test.client import MULTIPART_CONTENT

from core.models import ApiKey
from documents.api.of_orders import SHOWN
from documents.models import AbandonedFile, OrderDocument, OrderDocumentText
from orders.models import Order
from tests.core.factories import UserFactory
from tests.core.keys import client_with, make_key
from tests.documents import files
from tests.documents.conftest import part
from tests.documents.factories import OrderDocumentFactory
from tests.orders.factories import OrderFactory

pytestmark = pytest.mark.django_db


def path_of(document) -> str:
    key = document["id"] if isinstance(document, dict) else document.pk
    order = document["order_id"] if isinstance(document, dict) else document.order_id
    return f"/orders/{order}/documents/{key}"


class TestUpload:
    def test_keeps_the_file_and_tells_of_it(self, api, upload, order, dispatcher, stored):
        content = files.pdf(pages=3)
        answer = upload("Frakt brev.pdf", content, type="cmr", title=" Signed ")
        assert answer.status_code == 201, answer.content
        document = OrderDocument.objects.get()
        sha256 = hashlib.sha256(content).hexdigest()
        assert answer["Location"] == f"/api/v1{path_of(document)}"
        assert answer["ETag"] == '"v1"'
        told = answer.json()
        assert {name: told.pop(name) for name in ("created_at", "updated_at")}
        assert told == {
            "id": str(document.pk),
            "order_id": str(order.pk),
            "type": "cmr",
            "title": "Signed",
            "file_name": "Frakt brev.pdf",
            "size_bytes": len(content),
            "sha256": sha256,
            "content_type": "application/pdf",
            "page_count": 3,
            "has_thumbnail": False,
            "status": "pending",
            "status_reason": "",
            "uploaded_by": {"type": "user", "name": dispatcher.username},
            "version": 1,
        }
        assert stored() == {f"{order.organization_id}/{sha256[:2]}/{sha256}"}
        assert api.get(answer["Location"]).json()["id"] == told["id"]
        event = document.events.get()
        assert event.pgh_context["by"]["name"] == dispatcher.username

    def test_is_signed_by_a_key(self, upload, order):
        key, text = make_key(order.organization, name="Customer's ERP")
        told = upload(api=client_with(text)).json()
        assert told["uploaded_by"] == {"type": "api_key", "name": "Customer's ERP"}
        assert OrderDocument.objects.get().uploaded_by_id == ApiKey.objects.get().pk

    @pytest.mark.parametrize("suffix", files.GOOD)
    def test_takes_each_kind(self, upload, suffix):
        answer = upload(f"file.{suffix}", files.GOOD[suffix](), type="other")
        assert answer.status_code == 201, answer.content

    def test_judges_by_content_whatever_the_sender_declares(self, api, order, stored):
        sent = part("cmr.pdf", declared="image/png")
        form = {"file": sent, "type": "cmr"}
        answer = api.post(f"/orders/{order.pk}/documents", form, content_type=MULTIPART_CONTENT)
        assert (answer.status_code, answer.json()["content_type"]) == (201, "application/pdf")

    def test_keeps_an_encrypted_pdf_unread(self, upload):
        told = upload(content=files.encrypted_pdf()).json()
        assert (told["status"], told["page_count"]) == ("skipped", None)
        assert told["status_reason"] == "The PDF is protected by a password."

    def test_refuses_the_same_bytes_twice_on_one_order(self, upload, order, stored):
        first = upload("cmr.pdf").json()
        again = upload("copy.pdf", type="other")
        assert (again.status_code, again.json()["code"]) == (409, "duplicate-document")
        assert again.json()["document_id"] == first["id"]
        assert again.json()["errors"][0]["field"] == "file"
        elsewhere = upload("copy.pdf", to=OrderFactory(terminal=order.terminal))
        assert elsewhere.status_code == 201
        assert len(stored()) == 1

    def test_has_a_result_for_each_of_several(self, upload, stored):
        several = [part("a.pdf"), part("b.pdf"), part("c.png", b"no picture"), part("d.csv", b"")]
        answer = upload(file=several, type="pictures")
        assert answer.status_code == 207
        results = answer.json()["data"]
        assert [each["file_name"] for each in results] == ["a.pdf", "b.pdf", "c.png", "d.csv"]
        assert [each["status"] for each in results] == [201, 409, 415, 422]
        assert [each["problem"] and each["problem"]["code"] for each in results] == [
            None,
            "duplicate-document",
            "unsupported-media-type",
            "empty-file",
        ]
        assert results[0]["document"]["type"] == "pictures"
        assert results[1]["problem"]["document_id"] == results[0]["document"]["id"]
        assert OrderDocument.objects.count() == len(stored()) == 1

    def test_is_created_where_all_of_several_are_kept(self, upload, stored):
        answer = upload(file=[part("a.pdf"), part("b.txt", b"b"), part("c.png", files.picture())])
        assert answer.status_code == 201
        assert [each["status"] for each in answer.json()["data"]] == [201, 201, 201]
        assert len(stored()) == OrderDocument.objects.count() == 3

    def test_is_for_the_orders_one_can_see(self, upload, stored):
        assert upload(to=OrderFactory()).status_code == 404
        assert upload(to=Order()).status_code == 404
        assert stored() == set()

    def test_stops_at_the_most_that_an_order_has(self, upload, order, settings, stored):
        settings.MAX_DOCUMENTS_PER_ORDER = 2
        assert upload("a.txt", b"a").status_code == 201
        assert upload("b.txt", b"b").status_code == 201
        answer = upload("c.txt", b"c")
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["code"] == "too-many-documents"
        assert len(stored()) == 2

    def test_has_a_limit_of_its_own(self, upload, settings, stored):
        settings.LIMIT_UPLOAD = "2/hour"
        answers = [upload(f"{n}.txt", b"x" * n) for n in range(1, 4)]
        assert [answer.status_code for answer in answers] == [201, 201, 429]
        assert answers[2]["RateLimit-Policy"] == '"upload";q=2;w=3600'
        assert len(stored()) == 2

    def test_counts_each_file_of_a_form(self, upload, settings, stored):
        settings.LIMIT_UPLOAD = "4/hour"
        forms = [[part(f"{n}-{k}.txt", b"%d-%d" % (n, k)) for k in range(3)] for n in range(2)]
        answers = [upload(file=form) for form in forms]
        assert [answer.status_code for answer in answers] == [201, 429]
        assert answers[0]["RateLimit"].startswith('"upload";r=1;')
        assert int(answers[1]["Retry-After"]) > 0
        assert len(stored()) == 3

    def test_lets_a_form_pass_that_is_more_than_the_limit(self, upload, settings, stored):
        settings.LIMIT_UPLOAD = "2/hour"
        files_ = [part(f"{n}.txt", b"%d" % n) for n in range(3)]
        assert upload(file=files_).status_code == 201
        assert upload("d.txt", b"d").status_code == 429
        assert len(stored()) == 3


class TestAForm:
    @pytest.mark.parametrize(
        ("fields", "field", "code"),
        [
            ({"type": None}, "type", "required"),
            ({"type": "diary"}, "type", "invalid_choice"),
            ({"type": ["cmr", "other"]}, "type", "repeated"),
            ({"type": part("type.txt", b"cmr")}, "type", "not-a-text"),
            ({"file": None}, "file", "required"),
            ({"file": "a text"}, "file", "not-a-file"),
            ({"page": "1"}, "page", "unknown-field"),
            ({"scan": part()}, "scan", "unknown-field"),
            ({"title": "x" * 201}, "title", "max_length"),
            ({"version": "3"}, "version", "unknown-field"),
        ],
    )
    def test_is_refused_for_what_is_wrong_with_it(self, upload, stored, fields, field, code):
        answer = upload(**fields)
        assert answer.status_code == 422
        assert [(each["field"], each["code"]) for each in answer.json()["errors"]] == [
            (field, code)
        ]
        assert stored() == set()

    def test_is_no_json(self, api, order):
        answer = api.post(f"/orders/{order.pk}/documents", {"type": "cmr"})
        assert (answer.status_code, answer.json()["code"]) == (415, "unsupported-media-type")

    def test_tells_of_the_file_and_of_the_field(self, upload):
        answer = upload(content=b"", type="diary")
        found = {(each["field"], each["code"]) for each in answer.json()["errors"]}
        assert found == {("file", "empty-file"), ("type", "invalid_choice")}


class TestReading:
    def test_lists_an_orders_documents(self, api, order):
        mine = [OrderDocumentFactory(order=order) for _ in range(3)]
        OrderDocumentFactory(order=OrderFactory(terminal=order.terminal))
        page = api.get(f"/orders/{order.pk}/documents").json()
        assert page["total"] == 3
        assert [each["id"] for each in page["data"]] == [str(each.pk) for each in reversed(mine)]
        assert api.get(f"/orders/{OrderFactory().pk}/documents").status_code == 404

    def test_lists_those_of_all_orders(self, api, order):
        mine = OrderDocumentFactory(order=order)
        other = OrderDocumentFactory(
            order=OrderFactory(terminal__organization=order.organization), type="t1"
        )
        OrderDocumentFactory()

        def found(**query):
            answer = api.get("/documents", query)
            assert answer.status_code == 200, answer.content
            return {each["id"] for each in answer.json()["data"]}

        both = {str(mine.pk), str(other.pk)}
        assert found() == both
        assert found(type="t1") == {str(other.pk)}
        assert found(type=["t1", "cmr"]) == both
        assert found(order_id=order.pk) == {str(mine.pk)}
        assert found(terminal_id=other.order.terminal_id) == {str(other.pk)}
        assert found(status="pending") == both
        assert found(status=["done", "failed"]) == set()
        made = mine.created_at.isoformat().replace("+00:00", "Z")
        assert str(mine.pk) in found(created_at_from=made, created_at_until=made)

    def test_costs_as_much_for_one_as_for_many(self, api, order, statements):
        OrderDocumentFactory(order=order)
        for path in ("/documents", f"/orders/{order.pk}/documents"):
            with statements() as one:
                api.get(path)
            OrderDocumentFactory.create_batch(5, order=order)
            with statements() as many:
                assert len(api.get(path).json()["data"]) > 5
            assert len(many.sql) == len(one.sql)
            assert not any('"pages"' in sql for sql in many.sql)

    def test_shows_one(self, api, order):
        document = OrderDocumentFactory(order=order)
        answer = api.get(path_of(document))
        assert (answer.status_code, answer["ETag"]) == (200, '"v1"')
        assert answer.json()["order_id"] == str(order.pk)

    def test_finds_a_document_only_under_its_order(self, api, order):
        document = OrderDocumentFactory(order=order)
        other = OrderFactory(terminal=order.terminal)
        for path in (
            f"/orders/{other.pk}/documents/{document.pk}",
            f"/orders/{order.pk}/documents/{order.pk}",
            f"/orders/{order.pk}/documents/0",
            f"/orders/0/documents/{document.pk}",
        ):
            for address in (path, f"{path}/content"):
                assert api.get(address).status_code == 404
            assert api.delete(path).status_code == 404


class TestChanging:
    def test_changes_type_and_title(self, api, order):
        document = OrderDocumentFactory(order=order)
        answer = api.patch(
            path_of(document), {"type": "t1", "title": "Transit"}, HTTP_IF_MATCH='"v1"'
        )
        assert (answer.status_code, answer["ETag"]) == (200, '"v2"')
        assert (answer.json()["type"], answer.json()["title"]) == ("t1", "Transit")
        again = api.patch(path_of(document), {"title": "Transit"})
        assert again.json()["version"] == 2

    def test_refuses_who_judged_by_an_older_version(self, api, order):
        document = OrderDocumentFactory(order=order)
        api.patch(path_of(document), {"title": "Newer"})
        for answer in (
            api.patch(path_of(document), {"type": "diary"}, HTTP_IF_MATCH='"v1"'),
            api.delete(path_of(document), HTTP_IF_MATCH='"v1"'),
        ):
            assert (answer.status_code, answer.json()["current_version"]) == (412, 2)

    @pytest.mark.parametrize(
        ("body", "field"),
        [({"type": "diary"}, "type"), ({"sha256": "0" * 64}, "sha256"), ({"title": 5}, "title")],
    )
    def test_refuses_what_is_wrong(self, api, order, body, field):
        document = OrderDocumentFactory(order=order)
        answer = api.patch(path_of(document), body)
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field)


class TestDeleting:
    def test_takes_row_text_and_file_away(
        self, api, upload, stored, django_capture_on_commit_callbacks
    ):
        document = upload().json()
        with django_capture_on_commit_callbacks(execute=True):
            assert api.delete(path_of(document)).status_code == 204
            assert len(stored()) == 1
        assert stored() == set()
        for model in (OrderDocument, OrderDocumentText, AbandonedFile):
            assert not model.objects.exists()

    def test_leaves_a_file_that_another_order_has(
        self, api, upload, order, stored, django_capture_on_commit_callbacks
    ):
        first = upload().json()
        second = upload(to=OrderFactory(terminal=order.terminal)).json()
        with django_capture_on_commit_callbacks(execute=True):
            api.delete(path_of(first))
        assert len(stored()) == 1
        assert b"".join(api.get(f"{path_of(second)}/content").streaming_content) == files.pdf()
        assert not AbandonedFile.objects.exists()

    def test_happens_with_the_order(
        self, api, upload, order, stored, django_capture_on_commit_callbacks
    ):
        upload("a.txt", b"a")
        upload("b.txt", b"b")
        with django_capture_on_commit_callbacks(execute=True):
            assert api.delete(f"/orders/{order.pk}").status_code == 204
        assert not OrderDocument.objects.exists()
        assert stored() == set()


class TestContent:
    @pytest.fixture
    def document(self, upload):
        return upload("Lasteplan – Jøsnøya.txt", b"0123456789").json()

    @pytest.fixture
    def fetch(self, api, document):
        def get(method="get", **headers):
            answer = getattr(api, method)(f"{path_of(document)}/content", **headers)
            answers.append(answer)
            return answer

        answers = []
        yield get
        for answer in answers:
            answer.close()

    def test_is_the_file_to_be_saved(self, fetch, document):
        answer = fetch()
        assert b"".join(answer.streaming_content) == b"0123456789"
        assert answer["Content-Type"] == "text/plain"
        assert answer["Content-Length"] == "10"
        assert answer["ETag"] == f'"{document["sha256"]}"'
        assert answer["Content-Disposition"] == (
            "attachment; filename*=utf-8''Lasteplan%20%E2%80%93%20J%C3%B8sn%C3%B8ya.txt"
        )
        assert answer["X-Content-Type-Options"] == "nosniff"
        assert "sandbox" in answer["Content-Security-Policy"].split("; ")
        assert "default-src 'none'" in answer["Content-Security-Policy"]
        assert answer["Cache-Control"] == "private, no-cache"

    def test_has_a_head(self, fetch):
        answer = fetch("head")
        assert (answer.status_code, answer["Content-Length"]) == (200, "10")
        assert answer.content == b""

    def test_ignores_what_is_accepted(self, fetch):
        assert fetch(HTTP_ACCEPT="text/html").status_code == 200

    def test_is_not_sent_to_who_has_it(self, fetch, document):
        for tag in (f'"{document["sha256"]}"', f'W/"{document["sha256"]}"', "*"):
            assert fetch(HTTP_IF_NONE_MATCH=tag).status_code == 304
        assert fetch(HTTP_IF_NONE_MATCH='"v1"').status_code == 200

    @pytest.mark.parametrize(
        ("wanted", "status", "content", "told"),
        [
            ("bytes=0-0", 206, b"0", "bytes 0-0/10"),
            ("bytes=2-4", 206, b"234", "bytes 2-4/10"),
            ("bytes=7-", 206, b"789", "bytes 7-9/10"),
            ("bytes=-1", 206, b"9", "bytes 9-9/10"),
            ("bytes=-3", 206, b"789", "bytes 7-9/10"),
            ("bytes=5-99", 206, b"56789", "bytes 5-9/10"),
            ("bytes=-99", 200, b"0123456789", None),
            ("bytes=0-", 200, b"0123456789", None),
            ("bytes=4-2", 200, b"0123456789", None),
            ("bytes=0-1,3-4", 200, b"0123456789", None),
            (",".join(["bytes=0-9"] * 100), 200, b"0123456789", None),
            ("bytes=a-b", 200, b"0123456789", None),
            ("bytes=-", 200, b"0123456789", None),
            ("pages=1-2", 200, b"0123456789", None),
            (f"bytes={'9' * 30}-", 200, b"0123456789", None),
        ],
    )
    def test_comes_in_parts(self, fetch, wanted, status, content, told):
        answer = fetch(HTTP_RANGE=wanted)
        assert answer.status_code == status
        assert b"".join(answer.streaming_content) == content
        assert int(answer["Content-Length"]) == len(content)
        assert answer.get("Content-Range") == told

    @pytest.mark.parametrize("wanted", ["bytes=10-", "bytes=9999999-", "bytes=-0"])
    def test_has_nothing_behind_its_end(self, fetch, wanted):
        answer = fetch(HTTP_RANGE=wanted)
        assert (answer.status_code, answer["Content-Range"]) == (416, "bytes */10")
        assert answer.json()["code"] == "range-not-satisfiable"

    def test_comes_whole_where_the_part_is_of_something_else(self, fetch, document):
        tag = f'"{document["sha256"]}"'
        assert fetch(HTTP_RANGE="bytes=0-0", HTTP_IF_RANGE=tag).status_code == 206
        assert fetch(HTTP_RANGE="bytes=0-0", HTTP_IF_RANGE='"other"').status_code == 200

    def test_is_not_there_without_its_file(self, api, order, stored):
        document = OrderDocumentFactory(order=order)
        answer = api.get(f"{path_of(document)}/content")
        assert (answer.status_code, answer.json()["code"]) == (404, "not-found")

    def test_is_for_those_who_see_the_order(self, api_of, anonymous, document, order):
        path = f"{path_of(document)}/content"
        assert anonymous.get(path).status_code == 401
        assert api_of(UserFactory()).get(path).status_code == 404
        viewer = UserFactory(organization=order.organization, viewer=True)
        answer = api_of(viewer).get(path)
        assert (answer.status_code, b"".join(answer.streaming_content)) == (200, b"0123456789")


class TestTheAdminsSession:
    def test_uploads_with_its_token_in_the_header(self, dispatcher, order, stored):
        from django.test import Client

        client = Client(enforce_csrf_checks=True)
        client.force_login(dispatcher)
        path = f"/api/v1/orders/{order.pk}/documents"
        form = {"file": part(), "type": "cmr"}
        assert client.post(path, form).status_code == 403
        client.cookies["csrftoken"] = token = "a" * 32
        assert client.post(path, {"file": part(), "type": "cmr", "csrfmiddlewaretoken": token})
        answer = client.post(path, {"file": part(), "type": "cmr"}, HTTP_X_CSRFTOKEN=token)
        assert answer.status_code == 201


class TestAnOrder:
    def test_tells_of_its_documents(self, api, order, upload):
        assert api.get(f"/orders/{order.pk}").json()["documents"] == []
        first, second = upload("a.txt", b"a").json(), upload("b.txt", b"b").json()
        OrderDocumentFactory(order=OrderFactory(terminal=order.terminal))
        detail = api.get(f"/orders/{order.pk}").json()
        assert detail["documents_count"] == 2
        assert detail["documents"] == [second, first]
        listed = {each["id"]: each for each in api.get("/orders").json()["data"]}
        assert sorted(each["documents_count"] for each in listed.values()) == [1, 2]
        assert "documents" not in listed[str(order.pk)]
        for answer in (
            api.patch(f"/orders/{order.pk}", {"notes": "Call ahead"}),
            api.post(f"/orders/{order.pk}/arrive"),
        ):
            assert answer.json()["documents_count"] == len(answer.json()["documents"]) == 2

    def test_shows_the_newest_of_very_many(self, api, order):
        made = OrderDocumentFactory.create_batch(SHOWN + 1, order=order)
        for detail in (
            api.get(f"/orders/{order.pk}").json(),
            api.patch(f"/orders/{order.pk}", {"notes": "Call ahead"}).json(),
        ):
            assert detail["documents_count"] == SHOWN + 1
            assert [each["id"] for each in detail["documents"]] == [
                str(each.pk) for each in reversed(made[1:])
            ]

    def test_had_only_those_that_had_come(self, api, order, upload):
        before = api.get(f"/orders/{order.pk}").json()["updated_at"]
        upload()
        then = api.get(f"/orders/{order.pk}", {"as_of": before}).json()
        assert (then["documents_count"], then["documents"]) == (0, [])
        assert api.get(f"/orders/{order.pk}").json()["documents_count"] == 1

    def test_is_listed_by_as_many_statements(self, api, order, statements):
        with statements() as none:
            api.get("/orders")
        OrderDocumentFactory.create_batch(3, order=order)
        with statements() as many:
            api.get("/orders")
        assert len(many.sql) == len(none.sql)
