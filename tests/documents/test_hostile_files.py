"""What is sent to do harm gets its answer, and leaves nothing behind."""

import io
import resource
import stat
import zipfile

import pytest
from PIL import Image

from documents.files import judge
from documents.models import OrderDocument
from tests.documents import files

pytestmark = pytest.mark.django_db

EXE = (
    b"MZ\x90\x00\x03\x00\x00\x00\x04\x00\x00\x00\xff\xff\x00\x00" + bytes(48) + b"\x80" + bytes(100)
)
SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
HTML = b"<!DOCTYPE html><html><script>alert(1)</script></html>"
XXE = b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><x>&e;</x>'
MHTML = b"MIME-Version: 1.0\r\nContent-Type: multipart/related; boundary=x\r\n\r\n--x\r\n\r\nhi\r\n"
JPEG, PNG, PDF = files.picture("JPEG"), files.picture(), files.pdf()


def symlink() -> bytes:
    entry = zipfile.ZipInfo("xl/media/link")
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    out = io.BytesIO(files.office())
    with zipfile.ZipFile(out, "a") as archive:
        archive.writestr(entry, "/etc/passwd")
    return out.getvalue()


def lying_zip() -> bytes:
    """Says that it is small, and is not."""
    whole = files.office(big=bytes(120_000_000))
    size = (120_000_000).to_bytes(4, "little")
    assert whole.count(size) == 2
    return whole.replace(size, (1_000).to_bytes(4, "little"))


WRONG_CONTENT = {
    "PNG as PDF": ("a.pdf", PNG),
    "PDF as PNG": ("a.png", PDF),
    "EXE as PDF": ("a.pdf", EXE),
    "EXE as text": ("a.txt", EXE),
    "HTML as JPEG": ("a.jpg", HTML),
    "HTML as text": ("a.txt", HTML),
    "SVG as PNG": ("a.png", SVG),
    "SVG": ("a.svg", SVG),
    "XML": ("a.xml", XXE),
    "XML as text": ("a.txt", XXE),
    "MHTML": ("a.mhtml", MHTML),
    "ZIP as DOCX": ("a.docx", files.archive({"a.txt": "a"})),
    "XLSX as DOCX": ("a.docx", files.office("xlsx")),
    "PDF behind HTML": ("a.pdf", HTML + PDF),
    "PDF that begins late": ("a.pdf", b"\0" * 1_020 + PDF),
    "GIF before PDF": ("a.pdf", b"GIF89a" + PDF),
    "GIF": ("a.gif", b"GIF89a\x01\x00\x01\x00\x00\x00\x00;"),
    "ICS": ("a.ics", b"BEGIN:VCALENDAR\r\nEND:VCALENDAR\r\n"),
    "link": ("a.url", b"[InternetShortcut]\r\nURL=file:///etc/passwd\r\n"),
    "no extension": ("Makefile", PDF),
    "double extension": ("a.pdf.php", PDF),
    "NUL before the extension": ("a.pdf%00.exe", PDF),
    "script": (".htaccess", b"AddType application/x-httpd-php .pdf\n"),
    "shell": ("a.txt", b"#!/bin/sh\nrm -rf /\n"),
}

REFUSED = {
    "cut PNG": ("a.png", PNG[:-30], "unreadable-file"),
    "cut JPEG": ("a.jpg", files.picture("JPEG", (800, 600))[:2_000], "unreadable-file"),
    "cut HEIC": ("a.heic", files.picture("HEIF")[:-50], "unreadable-file"),
    "PDF without pages": ("a.pdf", files.pdf(pages=0), "unreadable-file"),
    "only a PDF's head": ("a.pdf", b"%PDF-1.7\n", "unreadable-file"),
    "many pixels": ("a.png", files.wide_png(9_000, 9_000), "too-many-pixels"),
    "very many pixels": ("a.png", files.wide_png(13_000, 13_000), "too-many-pixels"),
    "zip bomb": ("a.xlsx", files.office(big=bytes(120_000_000)), "archive-bomb"),
    "packed too well": ("a.xlsx", files.office(big=bytes(20_000_000)), "archive-bomb"),
    "zip bomb that lies": ("a.xlsx", lying_zip(), "unreadable-file"),
    "many entries": (
        "a.docx",
        files.office("docx", **{f"e{n}": "" for n in range(1_001)}),
        "archive-bomb",
    ),
    "symbolic link": ("a.xlsx", symlink(), "unsafe-archive"),
    "entry that climbs": ("a.xlsx", files.office(**{"../../x": "x"}), "unsafe-archive"),
    "absolute entry": ("a.xlsx", files.office(**{"/etc/x": "x"}), "unsafe-archive"),
    "entry with a drive": ("a.xlsx", files.office(**{"C:\\x": "x"}), "unsafe-archive"),
    "one name twice": ("a.xlsx", files.office(**{"XL/workbook.xml": "x"}), "unsafe-archive"),
    "cut zip": ("a.xlsx", files.office()[:-10], "unreadable-file"),
    "text with controls": ("a.txt", b"plain\x07text" * 10, "unreadable-file"),
}


@pytest.fixture
def refused(upload, stored):
    def send(name: str, content: bytes, status: int):
        answer = upload(name, content)
        assert answer.status_code == status, answer.content
        assert not OrderDocument.objects.exists()
        assert stored() == set()
        return answer.json()

    return send


@pytest.mark.parametrize("case", WRONG_CONTENT)
def test_another_content_than_the_name_says_is_refused(refused, case):
    name, content = WRONG_CONTENT[case]
    told = refused(name, content, 415)
    assert told["code"] == "unsupported-media-type"
    assert "ends in" in told["detail"]


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_broken_or_a_bomb_is_refused(refused, case):
    name, content, code = REFUSED[case]
    told = refused(name, content, 422)
    assert [each["code"] for each in told["errors"]] == [code]


def test_an_empty_file_is_refused(refused):
    assert refused("a.pdf", b"", 422)["code"] == "empty-file"


POLYGLOTS = {
    "PDF with a ZIP behind": ("a.pdf", PDF + files.archive({"x.js": "alert(1)"})),
    "PDF with HTML behind": ("a.pdf", PDF + HTML),
    "JPEG with a script behind": ("a.jpg", JPEG + b"*/=alert(1);/*"),
    "PNG with PHP behind": ("a.png", PNG + b"<?php phpinfo(); ?>"),
    "active PDF": ("a.pdf", files.pdf("(hi)").replace(b"/Catalog", b"/Catalog/OpenAction 9 0 R")),
}


@pytest.mark.parametrize("case", POLYGLOTS)
def test_what_is_two_things_is_only_ever_saved(api, upload, case):
    document = upload(*POLYGLOTS[case]).json()
    path = f"/orders/{document['order_id']}/documents/{document['id']}/content"
    answer = api.get(path)
    assert answer.getvalue() == POLYGLOTS[case][1]
    assert answer["Content-Type"] in {"application/pdf", "image/jpeg", "image/png"}
    assert answer["Content-Disposition"].startswith("attachment")
    assert "sandbox" in answer["Content-Security-Policy"]
    assert answer["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    "name",  # as browsers write it in a form
    ["../../etc/x.pdf", "a%0D%0ASet-Cookie: x=1.pdf", "a%22; x=%22b.pdf", "🚚" * 90 + ".pdf"],
)
def test_a_hostile_name_becomes_a_name(api, upload, stored, name, order):
    document = upload(name).json()
    assert "/" not in document["file_name"]
    assert all(path.startswith(f"{order.organization_id}/") for path in stored())
    path = f"/orders/{document['order_id']}/documents/{document['id']}/content"
    answer = api.get(path)
    assert answer.getvalue() == PDF
    assert "Set-Cookie" not in answer
    assert answer["Content-Disposition"].isascii()


class TestTheJudge:
    """What would end a process ends one of its own."""

    @pytest.mark.parametrize(
        "act",
        [
            "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)",
            "while True: pass",
            "x = [bytes(1 << 20) for _ in range(1 << 12)]",
            "print('no verdict')",
        ],
    )
    def test_may_die_over_a_file(self, refused, monkeypatch, tmp_path, act):
        dying = tmp_path / "judge.py"
        limits = "import resource\nfor what, most in (('CPU', 1), ('AS', 1 << 28)):\n"
        limits += "    resource.setrlimit(getattr(resource, f'RLIMIT_{what}'), (most, most))\n"
        dying.write_text(limits + act)
        monkeypatch.setattr("documents.files.inspection.JUDGE", dying)
        told = refused("a.pdf", PDF, 422)
        assert told["errors"][0]["code"] == "unreadable-file"

    def test_is_given_up_after_a_while(self, refused, monkeypatch, tmp_path):
        sleeping = tmp_path / "judge.py"
        sleeping.write_text("import time; time.sleep(60)")
        monkeypatch.setattr("documents.files.inspection.JUDGE", sleeping)
        monkeypatch.setattr("documents.files.inspection.PATIENCE_S", 0.2)
        assert refused("a.pdf", PDF, 422)["errors"][0]["code"] == "unreadable-file"

    def test_measures_every_frame(self):
        out = io.BytesIO()
        frames = [Image.new("1", (10, 10)), Image.new("1", (9_000, 9_000))]
        frames[0].save(out, "TIFF", save_all=True, append_images=frames[1:], compression="group4")
        with pytest.raises(judge.Refused, match="9,000 x 9,000"):
            judge.picture(out, "image/tiff")

    def test_decodes_no_bomb(self):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with pytest.raises(judge.Refused):
            judge.picture(io.BytesIO(files.wide_png(13_000, 13_000)), "image/png")
        with pytest.raises(judge.Refused):
            judge.container(
                io.BytesIO(REFUSED["zip bomb that lies"][1]),
                "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
            )
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        assert grown < 64 * 1_024  # kilobytes
