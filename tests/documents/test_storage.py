"""Files in the storage: whole or not at all, once per content, gone with who needs them last."""

import errno
import io
import os
import socket
import threading
from urllib.parse import urlsplit

import boto3
import httpx
import pytest
from django.core.files.base import ContentFile
from moto.server import ThreadedMotoServer

from core.errors import NotFound
from documents import storage
from documents.errors import Infected, ScannerUnavailable, StorageUnavailable
from documents.files import content, scanner
from documents.models import AbandonedFile, OrderDocument
from tests.documents import files
from tests.documents.factories import OrderDocumentFactory, kept_document
from tests.orders.factories import OrderFactory

pytestmark = pytest.mark.django_db

SHA256 = "ab" + "0" * 62


def path_of(name: str) -> str:
    return storage.place().path(name)


class TestAFileOnDisk:
    def test_has_narrow_modes_whatever_the_umask(self, order, stored):
        before = os.umask(0o000)
        try:
            kept_document(order)
        finally:
            os.umask(before)
        path = path_of(next(iter(stored())))
        assert os.stat(path).st_mode & 0o777 == 0o640
        for _ in range(3):
            path = os.path.dirname(path)
            assert os.stat(path).st_mode & 0o777 == 0o750

    @pytest.mark.parametrize("step", ["write", "fsync", "replace"])
    def test_is_whole_or_not_there(self, order, stored, monkeypatch, step):
        def full(*args):
            raise OSError(errno.ENOSPC, "No space left on device")

        class Full(io.BytesIO):
            """Half of it can be read; the disk is full then."""

            def read(self, *args):
                full()

        file = Full(b"x") if step == "write" else io.BytesIO(b"x")
        if step != "write":
            monkeypatch.setattr(content.os, step, full)
        with pytest.raises(StorageUnavailable):
            storage.put(order.organization_id, SHA256, file, size=1)
        assert stored() == set()

    def test_takes_the_place_of_a_cut_one(self, order, stored):
        storage.put(order.organization_id, SHA256, io.BytesIO(b"whole"), size=5)
        name = storage.name_of(order.organization_id, SHA256)
        with open(path_of(name), "wb") as file:
            file.write(b"wh")
        storage.put(order.organization_id, SHA256, io.BytesIO(b"whole"), size=5)
        with storage.open_file(order.organization_id, SHA256) as file:
            assert file.read() == b"whole"
        assert stored() == {name}

    def test_that_is_missing_is_not_found(self, order, stored):
        with pytest.raises(NotFound):
            storage.open_file(order.organization_id, SHA256)


class TestAFullDisk:
    def test_refuses_an_upload_and_leaves_nothing(self, api, upload, stored, monkeypatch):
        monkeypatch.setattr(
            content.os, "fsync", lambda _: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full"))
        )
        answer = upload()
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
        assert "storage" in answer.json()["detail"]
        assert int(answer["Retry-After"]) > 0
        assert not OrderDocument.objects.exists()
        assert stored() == set()
        assert api.get("/orders").status_code == 200
        monkeypatch.undo()

    def test_is_told_of_each_file(self, upload, stored, monkeypatch):
        from tests.documents.conftest import part

        put = storage.put

        def full(home, sha256, file, *, size):
            if size == 2:
                raise StorageUnavailable
            put(home, sha256, file, size=size)

        monkeypatch.setattr(storage, "put", full)
        answer = upload(file=[part("a.txt", b"a"), part("b.txt", b"bb")])
        assert [each["status"] for each in answer.json()["data"]] == [201, 503]
        assert len(stored()) == 1

    def test_takes_no_temporary_file_either(self, upload, settings, stored, tmp_path):
        (tmp_path / "taken").write_text("a file where a folder should be")
        settings.UPLOAD_DIR = tmp_path / "taken"
        answer = upload()
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")


class TestAFileThatNobodyNeeds:
    def test_is_removed(self, order, stored):
        document = kept_document(order)
        assert not storage.remove_unneeded(document.organization_id, document.sha256)
        OrderDocument.objects.filter(pk=document.pk).delete()
        assert storage.remove_abandoned(order.organization_id) == 1
        assert stored() == set()
        assert not AbandonedFile.objects.exists()

    def test_is_one_that_is_no_thumbnail_either(self, order, stored):
        document = kept_document(order)
        other = OrderDocumentFactory(order=order, thumbnail_sha256=document.sha256)
        OrderDocument.objects.filter(pk=document.pk).delete()
        assert storage.remove_abandoned(order.organization_id) == 0
        OrderDocument.objects.filter(pk=other.pk).update(thumbnail_sha256="")
        assert storage.remove_abandoned(order.organization_id) == 1
        assert stored() == set()

    def test_stays_on_record_while_the_storage_is_away(self, order, stored, monkeypatch):
        document = kept_document(order)
        OrderDocument.objects.filter(pk=document.pk).delete()
        monkeypatch.setattr(
            content.ContentStorage, "delete", lambda *_: (_ for _ in ()).throw(OSError(5, "away"))
        )
        with pytest.raises(StorageUnavailable):
            storage.remove_abandoned(order.organization_id)
        assert AbandonedFile.objects.filter(sha256=document.sha256).exists()
        assert len(stored()) == 1

    def test_is_nobody_elses(self, order, stored):
        theirs = kept_document(OrderFactory())
        document = kept_document(order)
        assert theirs.sha256 == document.sha256
        OrderDocument.objects.filter(pk=document.pk).delete()
        storage.remove_abandoned(order.organization_id)
        assert stored() == {storage.name_of(theirs.organization_id, theirs.sha256)}


# ----------------------------------------------------------------------------- object storage


@pytest.fixture(scope="module")
def s3_address():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    server.start()
    yield f"http://127.0.0.1:{port}"
    server.stop()


@pytest.fixture
def bucket(s3_address, settings, tmp_path):
    keys = {"aws_access_key_id": "key", "aws_secret_access_key": "secret"}
    client = boto3.client("s3", endpoint_url=s3_address, region_name="us-east-1", **keys)
    client.create_bucket(Bucket="documents")
    options = {
        **settings.DOCUMENTS["s3"]["OPTIONS"],
        "bucket_name": "documents",
        "endpoint_url": s3_address,
        "region_name": "us-east-1",
        "access_key": "key",
        "secret_key": "secret",
        "addressing_style": "path",
    }
    settings.UPLOAD_DIR = tmp_path / "uploads"
    settings.STORAGES = {
        **settings.STORAGES,
        "documents": {**settings.DOCUMENTS["s3"], "OPTIONS": options},
    }

    def names() -> set[str]:
        found = client.list_objects_v2(Bucket="documents").get("Contents", [])
        return {each["Key"] for each in found}

    yield names
    for name in names():
        client.delete_object(Bucket="documents", Key=name)


class TestInS3:
    @pytest.fixture
    def stored(self, bucket):
        """Instead of the folder of the other tests."""
        return bucket

    def test_a_file_is_fetched_by_a_signed_link(self, api, upload, stored, order):
        document = upload("Frakt brev.pdf").json()
        name = storage.name_of(order.organization_id, document["sha256"])
        assert stored() == {name}
        answer = api.get(f"/orders/{order.pk}/documents/{document['id']}/content")
        assert (answer.status_code, answer["Cache-Control"]) == (302, "no-store")
        assert urlsplit(answer["Location"]).path == f"/documents/{name}"
        assert "X-Amz-Expires=60" in answer["Location"]
        fetched = httpx.get(answer["Location"])
        assert (fetched.status_code, fetched.content) == (200, files.pdf())
        assert fetched.headers["Content-Type"] == "application/pdf"
        assert fetched.headers["Content-Disposition"] == 'attachment; filename="Frakt brev.pdf"'

    def test_a_file_goes_with_its_document(
        self, api, upload, stored, order, django_capture_on_commit_callbacks
    ):
        document = upload().json()
        with django_capture_on_commit_callbacks(execute=True):
            api.delete(f"/orders/{order.pk}/documents/{document['id']}")
        assert stored() == set()

    def test_a_bucket_that_is_away_is_unavailable(self, upload, settings, stored):
        options = {
            **settings.STORAGES["documents"]["OPTIONS"],
            "endpoint_url": "http://127.0.0.1:9",
        }
        away = {**settings.STORAGES["documents"], "OPTIONS": options}
        settings.STORAGES = {**settings.STORAGES, "documents": away}
        answer = upload()
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
        assert not OrderDocument.objects.exists()

    def test_all_can_be_checked(self, upload, stored):
        from tests.documents.test_checking import check

        upload()
        assert check() == ["documents: all is well."]


# ---------------------------------------------------------------------------------- the scanner


class Daemon:
    """Speaks clamd's INSTREAM, and says what it is told to say."""

    def __init__(self, says: bytes | None) -> None:
        self.says, self.got = says, b""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        caller, _ = self._listener.accept()
        with caller, caller.makefile("rb") as coming:
            assert coming.read(10) == b"zINSTREAM\0"
            while length := int.from_bytes(coming.read(4)):
                self.got += coming.read(length)
            if self.says is not None:
                caller.sendall(self.says)
        self._listener.close()


@pytest.fixture
def daemon(settings):
    def start(says: bytes | None) -> Daemon:
        made = Daemon(says)
        settings.CLAMAV_HOST, settings.CLAMAV_PORT = "127.0.0.1", made.port
        settings.CLAMAV_TIMEOUT_S = 2.0
        return made

    return start


class TestTheScanner:
    def test_sees_the_whole_file(self, upload, daemon):
        listening = daemon(b"stream: OK\0")
        text = b"0123456789" * 20_000
        assert upload("a.txt", text).status_code == 201
        assert listening.got == text

    def test_refuses_what_it_knows(self, upload, daemon, stored):
        daemon(b"stream: Eicar-Test-Signature FOUND\0")
        answer = upload()
        assert (answer.status_code, answer.json()["code"]) == (422, "infected")
        assert "Eicar-Test-Signature" in answer.json()["detail"]
        assert stored() == set()

    @pytest.mark.parametrize("says", [None, b"", b"INSTREAM size limit exceeded. ERROR\0", b"OK\0"])
    def test_lets_nothing_pass_that_it_did_not_call_good(self, upload, daemon, stored, says):
        daemon(says)
        answer = upload()
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
        assert stored() == set()

    def test_lets_nothing_pass_while_it_is_away(self, upload, settings, stored):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            settings.CLAMAV_PORT = listener.getsockname()[1]
        settings.CLAMAV_HOST = "127.0.0.1"
        assert upload().status_code == 503
        assert stored() == set()

    def test_is_not_asked_where_there_is_none(self, settings):
        settings.CLAMAV_HOST = ""
        scanner.scan(ContentFile(b"X5O!P%@AP"))

    def test_says_so_by_its_own_words(self, settings, daemon):
        daemon(b"stream: Win.Test.EICAR_HDB-1 FOUND\0")
        with pytest.raises(Infected, match="EICAR_HDB-1"):
            scanner.scan(ContentFile(b"x"))
        daemon(b"stream: Can't allocate memory ERROR\0")
        with pytest.raises(ScannerUnavailable):
            scanner.scan(ContentFile(b"x"))
