"""A file's name is only a name."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from documents.files.names import MAX_BYTES, MAX_CHARS, clean, extension

HOSTILE = {
    "../../x.pdf": "x.pdf",
    "..\\..\\x.pdf": "x.pdf",
    "/etc/passwd": "passwd",
    "C:\\scans\\cmr.pdf": "cmr.pdf",
    "a.pdf%00.exe": "a.pdf%00.exe",
    "a.pdf\x00.exe": "a.pdf.exe",
    "a\r\nSet-Cookie: x=1.pdf": "aSet-Cookie_ x=1.pdf",
    ".htaccess": "htaccess",
    "CON": "_CON",
    "con.pdf": "_con.pdf",
    "x.pdf.php": "x.pdf.php",
    "\u202efdp.exe": "fdp.exe",
    "a\u200bb.pdf": "ab.pdf",
    "": "document",
    ".": "document",
    "..": "document",
    ".pdf": "pdf",
    "-rf": "-rf",
    "~": "~",
    "|id": "_id",
    'say "hi".pdf': "say _hi_.pdf",
    "  two   spaces .pdf ": "two spaces.pdf",
    "A\u030angstro\u0308m.pdf": "Ångström.pdf",
    "Lasteplan – Jøsnøya.pdf": "Lasteplan – Jøsnøya.pdf",
}


@pytest.mark.parametrize("sent", HOSTILE)
def test_a_name_is_cleaned(sent):
    assert clean(sent) == HOSTILE[sent]


def test_a_long_name_keeps_its_extension():
    assert clean("x" * 300 + ".pdf") == "x" * (MAX_CHARS - 4) + ".pdf"
    emoji = clean("🚚" * 100 + ".pdf")
    assert (extension(emoji), len(emoji.encode()) <= MAX_BYTES) == ("pdf", True)
    assert clean("First sentence. " + "x" * 400)[:16] == "First sentence. "


@given(st.text(max_size=400))
def test_every_name_is_one(sent):
    name = clean(sent)
    assert clean(name) == name
    assert 0 < len(name) <= MAX_CHARS
    assert len(name.encode()) <= MAX_BYTES
    assert not set(name) & set('/\\<>:"|?*')
    assert not any(unicodedata.category(char)[0] == "C" for char in name)
    assert name not in {".", ".."}
