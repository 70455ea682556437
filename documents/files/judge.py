"""Looks into one file, in a process of its own: `judge.py KIND CONTENT_TYPE < FILE`.

What was sent by anybody is opened here and nowhere else in the server, with little time and
memory, without the house's settings and secrets. Prints what it found as JSON: the number of
`pages`, whether it is `encrypted`; or the `code` and the `message` of a refusal. A hostile file
ends this process and nothing else. It stands alone: nothing of the house is imported.
"""

import json
import resource
import stat
import sys
import zipfile
import zlib
from typing import Any, BinaryIO

CPU_S = 5
MEMORY_BYTES = 1 << 30
MAX_PIXELS = 50_000_000
MAX_FRAMES = 500
MAX_ENTRIES = 1_000
MAX_UNPACKED = 100_000_000
MAX_RATIO = 200
RATIO_COUNTS_FROM = 1_000_000  # less than that is no bomb, however well it is packed
CHUNK = 65_536

_PICTURES = {
    "image/png": "PNG",
    "image/jpeg": "JPEG",
    "image/tiff": "TIFF",
    "image/webp": "WEBP",
    "image/heic": "HEIF",
}
_OOXML = "application/vnd.openxmlformats-officedocument"
# What the list of an office file's parts says of the main one.
_MAIN_PART = {
    f"{_OOXML}.spreadsheetml.sheet": f"{_OOXML}.spreadsheetml.sheet.main+xml",
    f"{_OOXML}.wordprocessingml.document": f"{_OOXML}.wordprocessingml.document.main+xml",
}


class Refused(Exception):
    """It is not taken, and why."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.verdict = {"code": code, "message": message}


def picture(file: BinaryIO, content_type: str) -> dict[str, Any]:
    """A picture of a bearable size, whose first frame can be decoded to its end."""
    import warnings

    from PIL import Image

    warnings.simplefilter("ignore")
    Image.MAX_IMAGE_PIXELS = None  # counted here, before anything is decoded
    if content_type == "image/heic":
        import pillow_heif

        pillow_heif.register_heif_opener(thumbnails=False)
    try:
        with Image.open(file, formats=[_PICTURES[content_type]]) as image:
            _measure(image.size)
            frames = getattr(image, "n_frames", 1)
            if frames > MAX_FRAMES:
                raise Refused("too-many-frames", f"A picture has at most {MAX_FRAMES} frames.")
            for frame in range(frames - 1, -1, -1):
                image.seek(frame)
                _measure(image.size)
            image.load()
    except Refused:
        raise
    except Exception:  # noqa: BLE001 - each decoder has exceptions of its own
        raise Refused("unreadable-file", "The picture cannot be decoded.") from None
    return {}


def _measure(size: tuple[int, int]) -> None:
    width, height = size
    if width * height > MAX_PIXELS:
        raise Refused(
            "too-many-pixels",
            f"The picture has {width:,} x {height:,} pixels; at most {MAX_PIXELS:,} in all.",
        )


def pdf(file: BinaryIO, content_type: str) -> dict[str, Any]:
    """A PDF that opens and has a page, or asks for a password or a certificate."""
    import pypdfium2
    from pypdfium2 import raw

    try:
        document = pypdfium2.PdfDocument(file)
        pages = len(document)
    except pypdfium2.PdfiumError as error:
        if getattr(error, "err_code", None) in {raw.FPDF_ERR_PASSWORD, raw.FPDF_ERR_SECURITY}:
            return {"encrypted": True}
        raise Refused("unreadable-file", "The PDF cannot be opened.") from None
    if not pages:
        raise Refused("unreadable-file", "The PDF has no page.")
    return {"pages": pages}


def container(file: BinaryIO, content_type: str) -> dict[str, Any]:
    """A workbook or a text document: no bomb, and with no name that leads out of it."""
    try:
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            if len(entries) > MAX_ENTRIES:
                raise Refused("archive-bomb", f"More than {MAX_ENTRIES:,} entries.")
            if sum(entry.file_size for entry in entries) > MAX_UNPACKED:
                raise _too_much()
            for entry in entries:
                _check_entry(entry)
            if len({entry.filename.lower() for entry in entries}) != len(entries):
                raise Refused("unsafe-archive", "Two entries have one name.")
            left = MAX_UNPACKED
            for entry in entries:
                left -= _unpacked(archive, entry, left)
            parts = (
                archive.read("[Content_Types].xml")
                if "[Content_Types].xml" in {entry.filename for entry in entries}
                else b""
            )
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, NotImplementedError):
        raise Refused("unreadable-file", "The file cannot be unpacked.") from None
    except RuntimeError:  # zipfile's word for an encrypted entry
        raise Refused("unreadable-file", "An entry is encrypted.") from None
    if _MAIN_PART[content_type].encode() not in parts:
        raise Refused("wrong-content", "The content is another kind of container.")
    return {}


def _check_entry(entry: zipfile.ZipInfo) -> None:
    name = entry.orig_filename.replace("\\", "/")
    leads_out = name.startswith("/") or ".." in name.split("/") or name[1:2] == ":" or "\0" in name
    if leads_out or stat.S_ISLNK(entry.external_attr >> 16):
        raise Refused("unsafe-archive", "An entry leads out of the file.")
    if entry.file_size > max(RATIO_COUNTS_FROM, MAX_RATIO * entry.compress_size):
        raise _too_much()


def _unpacked(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, left: int) -> int:
    """How much an entry really is; it is unpacked piece by piece, and kept nowhere."""
    size = 0
    with archive.open(entry) as unpacking:
        while piece := unpacking.read(CHUNK):
            size += len(piece)
            if size > left:
                raise _too_much()
    return size


def _too_much() -> Refused:
    return Refused("archive-bomb", f"Unpacked it has more than {MAX_UNPACKED:,} bytes.")


def text(file: BinaryIO, content_type: str) -> dict[str, Any]:
    """Text in UTF-8, UTF-16 with its mark, or Windows-1252, without control characters."""
    raw = file.read()
    marked = raw[:2] in {b"\xff\xfe", b"\xfe\xff"}
    for encoding in ["utf-16"] if marked else ["utf-8-sig", "cp1252"]:
        try:
            decoded = raw.decode(encoding)
        except UnicodeDecodeError:
            continue
        if not any(char < " " and char not in "\t\r\n\f" for char in decoded):
            return {}
    raise Refused("unreadable-file", "The text is neither UTF-8, UTF-16 nor Windows-1252.")


KINDS = {"picture": picture, "pdf": pdf, "container": container, "text": text}


def main(kind: str, content_type: str) -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with open(0, "rb", closefd=False) as file:
        try:
            verdict = KINDS[kind](file, content_type)
        except Refused as refused:
            verdict = refused.verdict
        except MemoryError:
            verdict = {"code": "unreadable-file", "message": "It takes too much memory to open."}
    sys.stdout.write(json.dumps(verdict))


if __name__ == "__main__":
    main(*sys.argv[1:])
