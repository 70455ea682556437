"""What is read in files of every kind, within which limits, and what becomes of a reading."""

import io
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, transaction
from PIL import Image, ImageDraw, ImageFont

from core import tenancy
from documents import services as documents
from documents import storage
from documents.files.types import BY_EXTENSION
from documents.models import OrderDocument, OrderDocumentText, ReadingStatus
from documents.reading import extraction, queue, services
from documents.reading.extraction import Extracted, extract
from tests.documents import files

SITE_PACKAGES = Path(extraction.__file__).parents[2] / ".venv"


def read(content: bytes, kind: str) -> Extracted:
    with tempfile.TemporaryFile() as file:
        file.write(content)
        file.flush()
        return extract(file, BY_EXTENSION[kind].content_type)


def page(text: str, size: tuple[int, int] = (900, 420)) -> Image.Image:
    image = Image.new("RGB", size, "white")
    ImageDraw.Draw(image).text((40, 40), text, fill="black", font=ImageFont.load_default(size=36))
    return image


def saved(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


class TestExtraction:
    def test_reads_the_text_of_each_page_of_a_pdf(self):
        found = read(files.pdf("Frachtbrief 204518", pages=3), "pdf")
        assert found.status == "done"
        assert [text.strip() for text in found.pages] == ["Frachtbrief 204518"] * 3
        assert found.extractor == "pdfium"

    def test_reads_pages_without_text_as_pictures(self):
        found = read(saved(page("Consignment 204518"), "PDF", resolution=150), "pdf")
        assert (found.status, found.extractor) == ("done", "tesseract")
        assert "204518" in found.pages[0]

    def test_reads_a_picture_right_way_up(self):
        exif = Image.Exif()
        exif[0x0112] = 6  # turned by a quarter
        exif[0x8825] = {1: "N", 2: (63.0, 30.0, 0.0)}  # where it was taken
        turned = page("Consignment 204518").transpose(Image.Transpose.ROTATE_90)
        found = read(saved(turned, "JPEG", exif=exif.tobytes()), "jpg")
        assert "204518" in found.pages[0]
        thumbnail = Image.open(io.BytesIO(found.thumbnail))
        assert thumbnail.width > thumbnail.height
        assert not thumbnail.getexif()
        assert max(thumbnail.size) == 320

    def test_reads_each_frame_of_a_tiff(self):
        frames = [page("Consignment 204518"), page("Pallets 33")]
        found = read(saved(frames[0], "TIFF", save_all=True, append_images=frames[1:]), "tiff")
        assert ["204518" in found.pages[0], "33" in found.pages[1]] == [True, True]

    def test_reads_the_paragraphs_of_a_text_document(self):
        space = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
        body = (
            f"<w:document {space}><w:body><w:p><w:r><w:t>Laks til </w:t></w:r><w:r><w:t>Hitra</w:t>"
            "</w:r></w:p><w:p><w:r><w:t>33 paller</w:t></w:r></w:p></w:body></w:document>"
        )
        found = read(files.office("docx", **{"word/document.xml": body}), "docx")
        assert (found.status, found.pages) == ("done", ["Laks til Hitra\n33 paller"])

    def test_refuses_entities_in_a_text_document(self):
        bomb = '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><x>&b;</x>'
        found = read(files.office("docx", **{"word/document.xml": bomb}), "docx")
        assert (found.status, found.pages) == ("failed", [])

    def test_reads_the_sheets_of_a_workbook(self):
        found = read(workbook([["Pallet", "Kilos"], ["A1", 520]]), "xlsx")
        assert (found.status, found.pages) == ("done", ["Laster\nPallet\tKilos\nA1\t520"])

    @pytest.mark.parametrize("kind", ["csv", "txt"])
    def test_reads_text_in_whichever_way_it_is_written(self, kind):
        for encoding in ("utf-8", "utf-16", "cp1252"):
            assert read("Jøsnøya;33\n".encode(encoding), kind).pages == ["Jøsnøya;33"]

    def test_tells_the_language(self):
        told = "Godset skal til Hitra og er ikke fra Oslo.\nDet ble lastet med truck."
        assert read(told.encode(), "txt").language == "nor"
        assert read(b"204518 33 520", "txt").language == ""

    def test_skips_pictures_where_no_ocr_is_installed(self, settings):
        settings.OCR = False
        found = read(saved(page("Consignment")), "png")
        assert (found.status, found.error) == ("skipped", "OCR is not installed.")
        assert found.thumbnail
        assert read(files.pdf(), "pdf").status == "done"  # which needs none

    def test_skips_what_asks_for_a_password(self):
        found = read(files.encrypted_pdf(), "pdf")
        assert (found.status, found.error) == ("skipped", "The PDF is protected by a password.")


def workbook(rows: list[list[Any]]) -> bytes:
    """A real workbook with one sheet, `Laster`."""
    cells = "".join(
        "<row>"
        + "".join(
            f"<c><v>{cell}</v></c>"
            if isinstance(cell, int)
            else f'<c t="inlineStr"><is><t>{cell}</t></is></c>'
            for cell in row
        )
        + "</row>"
        for row in rows
    )
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    relations = "application/vnd.openxmlformats-package.relationships+xml"
    package = "http://schemas.openxmlformats.org/package/2006"
    content = "application/vnd.openxmlformats-officedocument.spreadsheetml"
    return files.archive(
        {
            "[Content_Types].xml": f'<Types xmlns="{package}/content-types">'
            f'<Default Extension="rels" ContentType="{relations}"/>'
            f'<Override PartName="/xl/workbook.xml" ContentType="{content}.sheet.main+xml"/>'
            '<Override PartName="/xl/worksheets/sheet1.xml"'
            f' ContentType="{content}.worksheet+xml"/></Types>',
            "_rels/.rels": f'<Relationships xmlns="{package}/relationships"><Relationship'
            f' Id="rId1" Type="{office}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
            "xl/workbook.xml": f'<workbook xmlns="{main}" xmlns:r="{office}"><sheets><sheet'
            ' name="Laster" sheetId="1" r:id="rId1"/></sheets></workbook>',
            "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{package}/relationships">'
            f'<Relationship Id="rId1" Type="{office}/worksheet"'
            ' Target="worksheets/sheet1.xml"/></Relationships>',
            "xl/worksheets/sheet1.xml": f'<worksheet xmlns="{main}"><sheetData>{cells}</sheetData>'
            "</worksheet>",
        }
    )


def looping_pdf() -> bytes:
    """Its tree of pages leads back to itself, and so does its table of objects."""
    return (
        files.pdf()
        .replace(b"/Kids[4 0 R]", b"/Kids[2 0 R]")
        .replace(b"/Root 1 0 R", b"/Root 1 0 R/Prev 9")
    )


def many_objects() -> bytes:
    objects = b"".join(b"%d 0 obj\n[%d 0 R]\nendobj\n" % (n, n + 1) for n in range(10, 100_000))
    return files.pdf().replace(b"%PDF-1.7\n", b"%PDF-1.7\n" + objects)


class TestAHostileFile:
    @pytest.mark.parametrize(
        "content",
        [
            pytest.param(lambda: files.pdf(pages=5)[:900], id="cut"),
            pytest.param(looping_pdf, id="looping"),
            pytest.param(many_objects, id="many objects"),
            pytest.param(
                lambda: files.pdf().replace(b"[0 0 595 842]", b"[0 0 2e9 2e9]"),
                id="as large as a wall",
            ),
            pytest.param(lambda: b"%PDF-1.7\n" + b"[" * 500_000, id="nested"),
        ],
    )
    def test_ends_soon_one_way_or_the_other(self, content):
        began = time.process_time(), os.times()
        found = read(content(), "pdf")
        spent = os.times()
        assert found.status in {"done", "failed", "skipped"}
        assert found.status == "done" or found.error
        # Of a processor rather than of a clock: the machine may have other things to do.
        assert spent.children_user - began[1].children_user < 5

    def test_is_ended_where_it_takes_too_long(self, settings, monkeypatch, tmp_path):
        endless = tmp_path / "endless.py"
        endless.write_text("import time\ntime.sleep(600)\n")
        monkeypatch.setattr(extraction, "PROGRAM", endless)
        monkeypatch.setattr(extraction, "GRACE_S", 0.3)
        settings.READING_SECONDS = 0
        found = read(files.pdf(), "pdf")
        assert (found.status, found.error) == ("failed", "The file takes too long to read.")

    def test_has_no_more_memory_than_it_may(self, settings):
        settings.READING_MEMORY_MB = 256
        bomb = saved(Image.new("1", (7_000, 7_000)), "PNG")
        found = read(bomb, "png")
        assert found.status == "failed"
        assert found.error

    def test_reaches_no_network(self, monkeypatch, tmp_path):
        """Where the machine lets a process leave it; else there is nothing that would ask."""
        caller = tmp_path / "caller.py"
        program = Path(extraction.PROGRAM).read_text()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            caller.write_text(
                program.replace('if __name__ == "__main__":', "if False:")
                + "\nleave_the_network()\nimport socket\n"
                + f"socket.create_connection({listener.getsockname()!r}, 2)\n"
            )
            code = subprocess.run(
                [sys.executable, "-I", caller], stderr=subprocess.DEVNULL
            ).returncode
        if code == 0:
            pytest.skip("this machine lets no process leave the network")
        assert code == 1


def installed(kinds: set[str], most: int) -> Iterator[Path]:
    """Some files of each kind that Python's and Debian's packages brought along."""
    found: dict[str, list[Path]] = {kind: [] for kind in kinds}
    for place in (SITE_PACKAGES, Path("/usr/share")):
        for folder, _, names in os.walk(place):
            for name in names:
                path = Path(folder, name)
                if (kind := path.suffix[1:].lower()) in kinds and 0 < size_of(path) < 300_000:
                    found[kind].append(path)
    for paths in found.values():
        yield from sorted(paths)[:: -(-len(paths) // most) or 1]


def size_of(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


class TestFilesThatNobodyHereMade:
    def test_are_read_or_refused_with_a_reason(self, settings):
        settings.READING_SECONDS = 20
        kinds = {"pdf", "png", "jpg", "tiff", "webp", "heic", "docx", "xlsx", "csv", "txt"}
        picked = list(installed(kinds, most=4))
        assert len({path.suffix for path in picked}) > 3
        for path in picked:
            result = read(path.read_bytes(), path.suffix[1:].lower())
            assert result.status == "done" or result.error, path


@pytest.fixture
def uploaded(upload: Any) -> Any:
    """`uploaded(content, name)`: a document as after an upload."""

    def send(content: bytes | None = None, name: str = "cmr.pdf") -> OrderDocument:
        answer = upload(name, content)
        assert answer.status_code == 201, answer.content
        return OrderDocument.objects.get(pk=answer.json()["id"])

    return send


def jobs(document: OrderDocument) -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM procrastinate_jobs WHERE args->>'document_id' = %s",
            [str(document.pk)],
        )
        return int(cursor.fetchone()[0])


def reading(document: OrderDocument) -> OrderDocumentText:
    return OrderDocumentText.objects.get(document=document)


def run(document: OrderDocument) -> None:
    services.read(document.organization_id, document.pk)


@pytest.mark.django_db
class TestAnUpload:
    def test_leaves_one_job_with_ids_only(self, uploaded):
        document = uploaded()
        with connection.cursor() as cursor:
            cursor.execute("SELECT args FROM procrastinate_jobs")
            (args,) = cursor.fetchone()
        assert args in (
            f'{{"document_id": "{document.pk}", "organization_id": "{document.organization_id}"}}',
            {"document_id": str(document.pk), "organization_id": str(document.organization_id)},
        )

    def test_that_is_rolled_back_leaves_none(self, uploaded):
        with transaction.atomic():
            document = uploaded()
            transaction.set_rollback(True)
        assert jobs(document) == 0

    def test_of_what_asks_for_a_password_leaves_none(self, uploaded):
        document = uploaded(files.encrypted_pdf())
        assert (jobs(document), reading(document).status) == (0, "skipped")


@pytest.mark.django_db
class TestAReading:
    def test_writes_text_and_thumbnail_and_no_version(self, uploaded, stored):
        document = uploaded(files.pdf("Frachtbrief 204518"))
        run(document)
        document.refresh_from_db()
        text = reading(document)
        assert (text.status, text.attempts, text.error) == ("done", 1, "")
        assert "204518" in text.pages[0]
        assert (document.version, len(document.thumbnail_sha256)) == (1, 64)
        assert storage.name_of(document.organization_id, document.thumbnail_sha256) in stored()

    def test_again_does_nothing(self, uploaded):
        document = uploaded()
        run(document)
        first = reading(document)
        run(document)
        assert reading(document).updated_at == first.updated_at

    def test_of_a_document_that_is_gone_does_nothing(self, uploaded):
        document = uploaded()
        documents.delete_document(document)
        run(document)

    def test_works_behind_the_wall(self, uploaded, monkeypatch):
        seen = []
        monkeypatch.setattr(
            services, "extract", lambda *_: Extracted(ReadingStatus.DONE, ["x"], "", "", "", b"")
        )
        within = tenancy.within
        monkeypatch.setattr(tenancy, "within", lambda home: seen.append(home) or within(home))
        document = uploaded()
        seen.clear()
        run(document)
        assert set(seen) == {document.organization_id}

    def test_that_fails_is_tried_five_times(self, uploaded, monkeypatch):
        def fails(*_: Any) -> Any:
            raise extraction.Interrupted

        monkeypatch.setattr(services, "extract", fails)
        document = uploaded()
        for attempt in range(1, 5):
            with pytest.raises(services.TryAgain):
                run(document)
            text = reading(document)
            assert (text.status, text.attempts) == ("pending", attempt)
            assert text.error
        with pytest.raises(services.GaveUp):
            run(document)
        text = reading(document)
        assert (text.status, text.attempts) == ("failed", 5)
        assert "ended by itself" in text.error

    def test_whose_workers_are_killed_is_given_up_in_the_end(self, uploaded):
        document = uploaded()
        texts = OrderDocumentText.objects.filter(document=document)
        texts.update(status="running", attempts=5, started_at=document.created_at)
        with pytest.raises(services.GaveUp):
            run(document)
        assert (reading(document).status, reading(document).error) == (
            "failed",
            "The reading was interrupted 5 times.",
        )

    def test_that_another_took_up_meanwhile_writes_nothing(self, uploaded, monkeypatch):
        document = uploaded()

        def slowly(*_: Any) -> Extracted:
            services.ask_again(document)
            return Extracted(ReadingStatus.DONE, ["stale"], "", "", "", b"")

        monkeypatch.setattr(services, "extract", slowly)
        run(document)
        assert (reading(document).status, reading(document).pages) == ("pending", [])

    def test_of_a_file_that_is_missing_fails_at_once(self, uploaded, monkeypatch):
        document = uploaded()
        storage.place().delete(storage.name_of(document.organization_id, document.sha256))
        run(document)
        assert reading(document).error == "The file is missing from the storage."


@pytest.mark.django_db
class TestAskingAgain:
    def test_keeps_the_text_until_it_is_read_anew(self, uploaded):
        document = uploaded(files.pdf("Frachtbrief"))
        run(document)
        services.ask_again(document)
        text = reading(document)
        assert (text.status, text.attempts, text.pages) == ("pending", 0, ["Frachtbrief"])
        services.ask_again(document)
        assert jobs(document) == 1  # which waited already

    def test_is_what_the_command_does_for_failed_and_for_missing_ocr(
        self, uploaded, settings, monkeypatch, capsys
    ):
        from django.core.management import call_command

        settings.OCR = False
        picture, damaged, done = (
            uploaded(saved(page("Consignment 204518")), "scan.png"),
            uploaded(files.pdf("a")),
            uploaded(files.pdf("b")),
        )
        for document in (picture, done):
            run(document)
        OrderDocumentText.objects.filter(document=damaged).update(
            status="failed", error="x", finished_at=damaged.created_at
        )
        settings.OCR = True
        call_command("retry_failed_extractions", "--dry-run")
        call_command("retry_failed_extractions")
        assert capsys.readouterr().out == "2 to be read again\n2 will be read again\n"
        run(picture)
        assert "204518" in reading(picture).pages[0]
        assert [reading(each).status for each in (damaged, done)] == ["pending", "done"]

    def test_finds_what_lost_its_job(self, uploaded):
        document = uploaded()
        assert not services.to_retry(document.organization_id)
        with connection.cursor() as cursor:
            cursor.execute("DELETE FROM procrastinate_jobs")
        assert list(services.to_retry(document.organization_id)) == [document]


@pytest.mark.django_db
class TestJobs:
    def test_of_a_worker_that_is_silent_wait_again(self, uploaded):
        document = uploaded()
        with connection.cursor() as cursor:
            cursor.execute("INSERT INTO procrastinate_workers DEFAULT VALUES RETURNING id")
            (worker,) = cursor.fetchone()
            cursor.execute("SELECT id FROM procrastinate_fetch_job_v2(NULL, %s)", [worker])
            assert queue.rescue(60) == 0
            assert queue.counts()[:3] == (0, 1, 0)
            cursor.execute(
                "UPDATE procrastinate_workers SET last_heartbeat = now() - interval '1m'"
            )
        assert queue.rescue(30) == 1
        assert queue.counts()[:3] == (1, 0, 0)
        assert jobs(document) == 1
