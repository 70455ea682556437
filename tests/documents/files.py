"""Small real files of every kind that is taken, and hostile ones, made on the spot."""

import io
import zipfile
import zlib
from typing import Any

from PIL import Image

OOXML = "application/vnd.openxmlformats-officedocument"
MAIN = {
    "xlsx": ("xl/workbook.xml", f"{OOXML}.spreadsheetml.sheet.main+xml"),
    "docx": ("word/document.xml", f"{OOXML}.wordprocessingml.document.main+xml"),
}


def pdf(text: str = "CMR 123456", *, pages: int = 1, trailer: str = "") -> bytes:
    """A PDF with `text` on each page; `trailer` is added to its own."""
    kids = " ".join(f"{4 + 2 * n} 0 R" for n in range(pages))
    objects = [
        "<</Type/Catalog/Pages 2 0 R>>",
        f"<</Type/Pages/Count {pages}/Kids[{kids}]>>",
        "<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    ]
    for n in range(pages):
        drawn = f"BT /F1 24 Tf 72 720 Td ({text}) Tj ET"
        objects.append(
            "<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]"
            f"/Resources<</Font<</F1 3 0 R>>>>/Contents {5 + 2 * n} 0 R>>"
        )
        objects.append(f"<</Length {len(drawn)}>>stream\n{drawn}\nendstream")
    out, offsets = b"%PDF-1.7\n", []
    for number, body in enumerate(objects, 1):
        offsets.append(len(out))
        out += f"{number} 0 obj\n{body}\nendobj\n".encode()
    table = "".join(f"{offset:010} 00000 n \n" for offset in offsets)
    start = len(out)
    out += f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}".encode()
    size = len(objects) + 1
    return (
        out + f"trailer\n<</Size {size}/Root 1 0 R{trailer}>>\nstartxref\n{start}\n%%EOF".encode()
    )


def encrypted_pdf() -> bytes:
    """Asks for a password that nobody has."""
    digest = "00" * 32
    return pdf(
        trailer=f"/ID[<{'ab' * 16}><{'ab' * 16}>]"
        f"/Encrypt<</Filter/Standard/V 1/R 2/O<{digest}>/U<{digest}>/P -4>>"
    )


def picture(kind: str = "PNG", size: tuple[int, int] = (64, 48), **options: Any) -> bytes:
    if kind == "HEIF":
        import pillow_heif

        pillow_heif.register_heif_opener()
    out = io.BytesIO()
    Image.linear_gradient("L").resize(size).convert("RGB").save(out, kind, **options)
    return out.getvalue()


def archive(entries: dict[str, bytes | str]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in entries.items():
            file.writestr(name, content)
    return out.getvalue()


def office(kind: str = "xlsx", **more: bytes | str) -> bytes:
    """A workbook or a text document, as bare as it may be; `more` are further entries."""
    part, main = MAIN[kind]
    types = (
        '<?xml version="1.0"?><Types xmlns="http://schemas.openxmlformats.org/package/2006/'
        f'content-types"><Override PartName="/{part}" ContentType="{main}"/></Types>'
    )
    return archive(
        {"[Content_Types].xml": types, "_rels/.rels": "<Relationships/>", part: "<x/>", **more}
    )


def wide_png(width: int, height: int) -> bytes:
    """A PNG of one bit a pixel, all of it black, that is packed to next to nothing."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return len(content).to_bytes(4) + kind + content + zlib.crc32(kind + content).to_bytes(4)

    header = width.to_bytes(4) + height.to_bytes(4) + bytes([1, 0, 0, 0, 0])
    packer = zlib.compressobj(9)
    row = bytes(1 + (width + 7) // 8)
    packed = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    parts = chunk(b"IHDR", header), chunk(b"IDAT", packed), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


GOOD = {
    "pdf": pdf,
    "png": picture,
    "jpg": lambda: picture("JPEG"),
    "tiff": lambda: picture("TIFF"),
    "webp": lambda: picture("WEBP"),
    "heic": lambda: picture("HEIF"),
    "xlsx": office,
    "docx": lambda: office("docx"),
    "csv": lambda: b"pallet;kilos\n1;520.5\n2;498\n",
    "txt": lambda: "Lasteplan for Hitra – Jøsnøya\n".encode(),
}
