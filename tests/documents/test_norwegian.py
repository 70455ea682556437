"""Norwegian scans, where Norwegian data is installed."""

import io
import tempfile
from pathlib import Path

import pypdfium2
import pytest
from PIL import Image, ImageChops, ImageFilter

from documents.reading import ocr
from documents.reading.extraction import extract
from tests.documents import files

TEXT = """FRAKTBREV 204518
Avsender: Bjørnstad Fiskeindustri på Frøya
Merknad: Kjølevare, må lastes før kvelden
Sjåfør: Bjørn Ødegård, kjører til Tromsø"""


def scan() -> bytes:
    """Soft, aslant and dusty, as a scanner sends it. PDFium's own fonts have our letters."""
    octal = "".join(char if char < "\x7f" else f"\\{ord(char):o}" for char in TEXT)
    drawn = files.pdf(") Tj 0 -30 Td (".join(octal.splitlines()))
    drawn = drawn.replace(b"/F1 24 Tf", b"/F1 14 Tf")
    drawn = drawn.replace(b"/Helvetica", b"/Helvetica/Encoding/WinAnsiEncoding")
    page = pypdfium2.PdfDocument(drawn)[0].render(scale=200 / 72).to_pil().convert("L")
    page = page.crop((0, 200, page.width, 900)).rotate(0.4, Image.Resampling.BICUBIC, fillcolor=250)
    page = page.filter(ImageFilter.GaussianBlur(0.8))
    page = ImageChops.blend(page, Image.effect_noise(page.size, 24), 0.08)
    out = io.BytesIO()
    page.convert("RGB").save(out, "JPEG", quality=60)
    return out.getvalue()


def test_a_scan_is_read_with_its_letters():
    engine = ocr.find()
    if engine is None or "nor" not in {Path(name).name for name in engine.languages}:
        pytest.skip("no Norwegian data is installed (Debian: tesseract-ocr-nor)")
    with tempfile.TemporaryFile() as file:
        file.write(scan())
        file.flush()
        found = extract(file, "image/jpeg")
    words = set(found.pages[0].replace(",", " ").replace(":", " ").split())
    wanted = {"Bjørnstad", "på", "Frøya", "Kjølevare", "må", "før", "Bjørn", "Tromsø"}
    assert len(wanted & words) >= 6, found.pages[0]
    assert "204518" in words


def test_data_of_another_folder_joins_that_of_the_wheel(monkeypatch, tmp_path):
    (tmp_path / "nor.traineddata").touch()
    monkeypatch.setenv("TESSDATA_PREFIX", str(tmp_path))
    engine = ocr.find()
    assert engine is not None
    assert {Path(name).name for name in engine.languages} == {"nor", "eng", "deu"}
    (norwegian,) = (name for name in engine.languages if name.endswith("nor"))
    assert (Path(engine.data) / f"{norwegian}.traineddata").is_file()


def test_a_folder_that_is_not_there_is_passed_over(monkeypatch, tmp_path):
    monkeypatch.setenv("TESSDATA_PREFIX", str(tmp_path / "none"))
    engine = ocr.find()
    assert engine is not None
    assert {"eng", "deu"} <= {Path(name).name for name in engine.languages}
