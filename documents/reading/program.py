"""Reads one file, in a process of its own: `program.py SETTINGS < FILE`, SETTINGS being JSON.

What anybody sent is read here and nowhere else in the worker, with little time and memory, without
a network and without the house's settings and secrets. Prints JSON: the `status` (`done`, `failed`
or `skipped`), `pages` of text, `extractor`, a `thumbnail` in base64, and in `error` what people
should know. A hostile file ends this process and nothing else. It stands alone: nothing of the
house is imported, and each library only where its kind of file is read.
"""

import base64
import contextlib
import ctypes
import io
import json
import os
import resource
import signal
import subprocess
import sys
import time
import warnings
import zipfile
from collections.abc import Iterator
from typing import Any, BinaryIO

CLONE_NEWUSER, CLONE_NEWNET = 0x1000_0000, 0x4000_0000
PR_SET_PDEATHSIG = 1
THUMBNAIL_PIXELS = (320, 320)
THUMBNAIL_SOURCE = 1_000  # pixels along the longer side, of which a thumbnail is made
OCR_DPI = 200
OCR_MAX_PIXELS = 12_000_000  # of what tesseract is given; A4 at 300 dpi is 9 million
OCR_MIN_SIDE = 16
OCR_PAGE_S = 60.0
FEW_CHARS = 16  # a page of a scan often has as much text as a stamp of the scanner
CHUNK = 65_536
_WORD = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_OOXML = "application/vnd.openxmlformats-officedocument"

NO_OCR = "OCR is not installed."
NOT_READABLE = "The file cannot be read: it is damaged."
TOO_LONG = "Only a part was read: the rest would take too long."


class Unreadable(Exception):
    """The file cannot be read, and never will be; the message is for people."""


class NeedsOcr(Exception):
    """There is a picture to read, and nothing to read it with."""


class Reader:
    """One reading: its limits, and what has been found so far."""

    def __init__(self, limits: dict[str, Any]) -> None:
        self.limits = limits
        self.deadline = time.monotonic() + float(limits["seconds"])
        self.left = int(limits["chars"])
        self.pages: list[str] = []
        self.extractors: list[str] = []
        self.thumbnail = b""
        self.notices: list[str] = []
        self.wants_ocr = False

    @property
    def is_late(self) -> bool:
        return time.monotonic() >= self.deadline

    def notice(self, text: str) -> None:
        if text not in self.notices:
            self.notices.append(text)

    def by(self, extractor: str) -> None:
        if extractor not in self.extractors:
            self.extractors.append(extractor)

    def add(self, text: str) -> None:
        """One more page."""
        self.pages.append(self.cleaned(text))

    def cleaned(self, text: str) -> str:
        """The text as a page has it, counted towards what may be read.

        NUL, which PostgreSQL does not keep, and lone surrogates are taken out.
        """
        clean = text.replace("\0", "").encode("utf-8", "ignore").decode()
        lines = (line.rstrip() for line in clean.replace("\r\n", "\n").splitlines())
        clean = "\n".join(lines).strip()
        if len(clean) > self.left:
            clean = clean[: self.left]
            self.notice(f"Only the first {self.limits['chars']:,} characters were read.")
        self.left -= len(clean)
        return clean

    def picture(self, image: Any) -> str:
        """The text in a picture. It is empty, and noted, where nothing can read it."""
        if not self.limits["tesseract"]:
            self.wants_ocr = True
            return ""
        if self.is_late:
            self.notice(TOO_LONG)
            return ""
        self.by("tesseract")
        return recognised(image, self.limits, min(OCR_PAGE_S, self.deadline - time.monotonic()))

    def show(self, image: Any) -> None:
        """Make the thumbnail of a picture: new pixels in a new file, so no metadata come along."""
        from PIL import Image

        small = image.convert("RGB")
        small.thumbnail(THUMBNAIL_PIXELS)
        bare = Image.new("RGB", small.size)
        bare.paste(small)
        out = io.BytesIO()
        bare.save(out, "WEBP", quality=80)
        self.thumbnail = out.getvalue()


def recognised(image: Any, limits: dict[str, Any], seconds: float) -> str:
    """What tesseract reads in a picture; nothing where it takes too long."""
    from PIL import Image

    grey = image.convert("L")
    if min(grey.size) < OCR_MIN_SIDE:
        return ""
    pixels = grey.width * grey.height
    if pixels > OCR_MAX_PIXELS:
        shrink = (OCR_MAX_PIXELS / pixels) ** 0.5
        size = max(1, int(grey.width * shrink)), max(1, int(grey.height * shrink))
        grey = grey.resize(size, Image.Resampling.LANCZOS)
    given = io.BytesIO()
    grey.save(given, "PPM")
    command = [limits["tesseract"], "stdin", "stdout", "-l", limits["languages"]]
    command += ["--dpi", str(OCR_DPI), "--psm", "3"]
    try:
        done = subprocess.run(  # noqa: S603 - the program that the settings name
            command,
            input=given.getvalue(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=max(1.0, seconds),
            check=False,
            preexec_fn=die_with_parent,  # this process has one thread
            env={
                "OMP_THREAD_LIMIT": "1",
                "TESSDATA_PREFIX": limits["tessdata"],
            },
        )
    except subprocess.TimeoutExpired:
        return ""
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else ""


# --------------------------------------------------------------------------------------- by kind


def pdf(reader: Reader, file: BinaryIO) -> None:
    """The text of each page; a page without one is read as a picture."""
    import pypdfium2
    from pypdfium2 import raw

    try:
        document = pypdfium2.PdfDocument(file)
        count = len(document)
    except pypdfium2.PdfiumError as error:
        if getattr(error, "err_code", None) in {raw.FPDF_ERR_PASSWORD, raw.FPDF_ERR_SECURITY}:
            raise Skipped("The PDF is protected by a password.") from None
        raise Unreadable(NOT_READABLE) from None
    most = int(reader.limits["pages"])
    if count > most:
        reader.notice(f"Only the first {most} of {count:,} pages were read.")
    without_text = []
    for number in range(min(count, most)):
        try:
            page = document[number]
            text = page.get_textpage().get_text_bounded()
            if number == 0:
                reader.show(_rendered(page, THUMBNAIL_SOURCE / 842 * 72))
            if len("".join(text.split())) < FEW_CHARS and _has_picture(page):
                without_text.append(number)
            page.close()
        except (pypdfium2.PdfiumError, ValueError, OSError):
            text = ""
            reader.notice(f"Page {number + 1} is damaged.")
        if text.strip():
            reader.by("pdfium")
        reader.add(text)
        if reader.is_late or not reader.left:
            reader.notice(TOO_LONG)
            break
    for number in without_text:
        with contextlib.suppress(pypdfium2.PdfiumError, ValueError, OSError):
            page = document[number]
            read = reader.picture(_rendered(page, OCR_DPI))
            page.close()
            if read.strip():
                reader.pages[number] = reader.cleaned(f"{reader.pages[number]}\n{read}")


class Skipped(Exception):
    """There is nothing to read in it for us; the message is for people."""


def _has_picture(page: Any) -> bool:
    """Whether anything but text is drawn: a blank page needs no OCR."""
    from pypdfium2 import raw

    return any(each.type != raw.FPDF_PAGEOBJ_TEXT for each in page.get_objects(max_depth=3))


def _rendered(page: Any, dpi: float) -> Any:
    """The page as a picture; a page of the size of a wall with fewer dots."""
    width, height = page.get_size()
    if width <= 0 or height <= 0:
        raise ValueError("a page without a size")
    scale = min(dpi / 72, (OCR_MAX_PIXELS / (width * height)) ** 0.5)
    return page.render(scale=scale, grayscale=False).to_pil()


def picture(reader: Reader, file: BinaryIO) -> None:
    """Each frame of a picture is a page; its first is the thumbnail, right way up."""
    from PIL import Image, ImageOps, ImageSequence, UnidentifiedImageError

    warnings.simplefilter("ignore")
    Image.MAX_IMAGE_PIXELS = None  # counted here, before anything is decoded
    with contextlib.suppress(ImportError):
        import pillow_heif

        pillow_heif.register_heif_opener(thumbnails=False)
    try:
        with Image.open(file, formats=["PNG", "JPEG", "TIFF", "WEBP", "HEIF"]) as image:
            for number, frame in enumerate(ImageSequence.Iterator(image)):
                if number >= int(reader.limits["pages"]) or reader.is_late:
                    reader.notice(TOO_LONG)
                    break
                if frame.width * frame.height > int(reader.limits["pixels"]):
                    raise Unreadable("The picture has too many pixels.")
                upright = ImageOps.exif_transpose(frame)
                if number == 0:
                    reader.show(upright)
                if upright.mode in {"RGBA", "LA", "PA", "P"}:  # what is transparent is paper
                    upright = upright.convert("RGBA")
                    paper = Image.new("RGBA", upright.size, "white")
                    upright = Image.alpha_composite(paper, upright)
                reader.add(reader.picture(upright))
    except UnidentifiedImageError:
        raise Unreadable(NOT_READABLE) from None
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError):
        if not reader.pages:
            raise Unreadable(NOT_READABLE) from None
        reader.notice("The picture is damaged.")


def workbook(reader: Reader, file: BinaryIO) -> None:
    """Each sheet is a page: its name, and its rows with tabs between the cells."""
    import python_calamine

    reader.by("calamine")
    try:
        book = python_calamine.CalamineWorkbook.from_filelike(file)
        for name in book.sheet_names[: int(reader.limits["pages"])]:
            rows = book.get_sheet_by_name(name).to_python(skip_empty_area=True)
            lines = ("\t".join(_cell(cell) for cell in row).rstrip() for row in rows)
            reader.add("\n".join([name, *(line for line in lines if line)]))
    except python_calamine.CalamineError:
        raise Unreadable("The workbook cannot be read.") from None


def _cell(value: Any) -> str:
    """As people see it: 520.0 is written 520."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def text_document(reader: Reader, file: BinaryIO) -> None:
    """The paragraphs of the body, headers and footers, without running any part of it."""
    reader.by("docx")
    try:
        with zipfile.ZipFile(file) as archive:
            names = [name for name in archive.namelist() if _is_read(name)]
            parts = [
                "\n".join(_paragraphs(archive, name, int(reader.limits["unpacked"])))
                for name in sorted(names, key=lambda name: (name != "word/document.xml", name))
            ]
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, RuntimeError):
        raise Unreadable(NOT_READABLE) from None
    reader.add("\n".join(part for part in parts if part))


def _is_read(name: str) -> bool:
    kinds = ("word/document.xml", "word/header", "word/footer", "word/footnotes.xml")
    return name.startswith(kinds) and name.endswith(".xml")


def _paragraphs(archive: zipfile.ZipFile, name: str, most: int) -> Iterator[str]:
    """The paragraphs of one part. A DOCTYPE, which no office program writes, is refused.

    Without one there are no entities of its own: neither a bomb of them nor a way to other files.
    """
    from xml.parsers import expat

    line: list[str] = []
    lines: list[str] = []
    in_text = False

    def begins(tag: str, _attributes: Any) -> None:
        nonlocal in_text
        in_text = tag == f"{_WORD}t"
        if tag in {f"{_WORD}tab", f"{_WORD}br"}:
            line.append("\t" if tag.endswith("tab") else "\n")

    def ends(tag: str) -> None:
        nonlocal in_text
        in_text = False
        if tag == f"{_WORD}p":
            lines.append("".join(line))
            line.clear()

    def refuse(*_: Any) -> None:
        raise Unreadable("The document holds a DOCTYPE.")

    parser = expat.ParserCreate(namespace_separator="}")
    parser.StartElementHandler = lambda tag, attributes: begins("{" + tag, attributes)
    parser.EndElementHandler = lambda tag: ends("{" + tag)
    parser.CharacterDataHandler = lambda data: line.append(data) if in_text else None
    parser.StartDoctypeDeclHandler = refuse
    read = 0
    try:
        with archive.open(name) as part:
            while piece := part.read(CHUNK):
                read += len(piece)
                if read > most:
                    raise Unreadable("The document is too large to be read.")
                parser.Parse(piece, False)
        parser.Parse(b"", True)
    except expat.ExpatError:
        raise Unreadable(NOT_READABLE) from None
    yield from lines


def text(reader: Reader, file: BinaryIO) -> None:
    raw = file.read()
    reader.by("text")
    marked = raw[:2] in {b"\xff\xfe", b"\xfe\xff"}
    for encoding in ["utf-16"] if marked else ["utf-8-sig", "cp1252"]:
        with contextlib.suppress(UnicodeDecodeError):
            reader.add(raw.decode(encoding))
            return
    raise Unreadable(NOT_READABLE)


KINDS = {
    "application/pdf": pdf,
    f"{_OOXML}.spreadsheetml.sheet": workbook,
    f"{_OOXML}.wordprocessingml.document": text_document,
    "text/csv": text,
    "text/plain": text,
}


# ------------------------------------------------------------------------------------ the process


def die_with_parent() -> None:
    """When the worker is killed, nobody wants to know any more."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def leave_the_network() -> None:
    """Go where there is no network, if the machine lets us: nothing here has need of one."""
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    for flags in (CLONE_NEWUSER | CLONE_NEWNET, CLONE_NEWNET):
        if libc.unshare(flags) == 0:
            return


def stay_small(limits: dict[str, Any]) -> None:
    """What is more than this ends the process; tesseract, its child, has the same limits."""
    memory, seconds = int(limits["memory"]), int(limits["seconds"]) + 1
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def read(limits: dict[str, Any], file: BinaryIO) -> dict[str, Any]:
    """What is found in the file, as it is printed."""
    reader = Reader(limits)
    status, error = "done", ""
    try:
        KINDS.get(limits["content_type"], picture)(reader, file)
    except Skipped as skipped:
        status, error = "skipped", str(skipped)
    except Unreadable as unreadable:
        status, error = "failed", str(unreadable)
    except MemoryError:
        status, error = "failed", "The file takes too much memory to read."
        reader.pages = []
    if status == "done":
        if reader.wants_ocr:
            reader.notice(NO_OCR)
            # Where some pages could be read, their text is worth finding; the rest can follow.
            status = "skipped"
        error = " ".join(reader.notices)
    return {
        "status": status,
        "pages": reader.pages,
        "extractor": "+".join(reader.extractors),
        "error": error,
        "thumbnail": base64.b64encode(reader.thumbnail).decode(),
    }


def main() -> None:
    limits = json.loads(sys.argv[1])
    die_with_parent()
    leave_the_network()
    stay_small(limits)
    with open(0, "rb", closefd=False) as file:
        found = read(limits, file)
    sys.stdout.write(json.dumps(found))
    sys.stdout.flush()
    os._exit(0)  # no library's last words


if __name__ == "__main__":
    main()
