"""What a crash leaves behind is found, and what is still on its way is left alone."""

import hashlib
import os
import time
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from documents import storage
from documents.files.content import UNFINISHED
from documents.models import AbandonedFile, OrderDocument
from tests.documents.factories import OrderDocumentFactory, kept_document

pytestmark = pytest.mark.django_db


def check(*options: str) -> list[str]:
    out = StringIO()
    call_command("check_documents", *options, stdout=out)
    return out.getvalue().splitlines()


@pytest.fixture
def keep(order, stored):
    """Write a file of the order's organization as old as a day, without a row."""

    def write(name: str | bytes, *, age_s: int = 86_400) -> str:
        if isinstance(name, bytes):
            sha256 = hashlib.sha256(name).hexdigest()
            name = storage.name_of(order.organization_id, sha256)
        path = storage.place().path(name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(b"x")
        os.utime(path, (time.time() - age_s,) * 2)
        return name

    return write


class TestCheckDocuments:
    def test_finds_nothing_where_all_is_well(self, order, stored):
        assert check() == ["documents: all is well."]
        kept_document(order)
        assert check("--fix") == ["documents: all is well."]
        assert len(stored()) == OrderDocument.objects.count() == 1

    def test_finds_files_without_rows(self, order, keep, stored):
        kept_document(order)
        orphan, young = keep(b"old"), keep(b"young", age_s=60)
        unfinished = keep(f"{order.organization_id}/ab/{UNFINISHED}x1")
        stranger = keep("somebody/elses.txt")
        told = check()
        assert any(orphan.split("/")[2] in line for line in told)
        assert any(unfinished in line for line in told)
        assert any(f"{stranger} is nothing of ours" in line for line in told)
        assert not any(young.split("/")[2] in line for line in told)
        assert told[-1] == "documents: 2 faults found; --fix removes them."
        assert len(stored()) == 5
        check("--fix")
        left = stored()
        assert len(left) == 3
        assert {young, stranger} < left

    def test_finds_rows_without_files(self, order, stored):
        kept, thumbless = kept_document(order), kept_document(order, b"Another.")
        lost = OrderDocumentFactory(order=order)
        OrderDocument.objects.filter(pk=thumbless.pk).update(thumbnail_sha256="0" * 64)
        told = check("--fix")
        assert f"documents: the file of document {lost.pk} is lost." in told
        assert f"documents: the thumbnail of document {thumbless.pk} is lost." in told
        assert {row.pk for row in OrderDocument.objects.all()} == {kept.pk, thumbless.pk}
        thumbless.refresh_from_db()
        assert thumbless.thumbnail_sha256 == ""
        assert check() == ["documents: all is well."]
        assert not AbandonedFile.objects.exists()

    def test_finds_a_file_that_was_cut(self, order, stored):
        document = kept_document(order)
        name = storage.name_of(document.organization_id, document.sha256)
        with open(storage.place().path(name), "wb") as file:
            file.write(b"A te")
        assert f"documents: the file of document {document.pk} is lost." in check()

    def test_does_not_take_an_empty_place_for_the_storage(self, order, stored):
        OrderDocumentFactory(order=order)
        with pytest.raises(CommandError, match="is the storage the right one"):
            check("--fix")
        assert OrderDocument.objects.count() == 1

    def test_removes_what_a_deletion_left_behind(self, order, stored):
        document = kept_document(order)
        OrderDocument.objects.filter(pk=document.pk).delete()
        assert len(stored()) == 1
        assert AbandonedFile.objects.filter(sha256=document.sha256).exists()
        check("--fix")
        assert (len(stored()), AbandonedFile.objects.count()) == (0, 0)
