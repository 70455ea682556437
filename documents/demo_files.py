"""The files of the demo's documents, drawn from an order: a note, a photo and a list."""

import csv
import io
from collections.abc import Iterator
from ctypes import c_ushort
from random import Random

import pypdfium2
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from pypdfium2 import raw

from orders.legs import ARRIVAL
from orders.models import Order

SENDER = ("Havbruk Sjømat AS", "Sistranda 14, 7260 Sistranda, Norway")
CONSIGNEE = ("Fischgroßhandel Bremerhaven GmbH", "Am Lunedeich 9, 27572 Bremerhaven, Germany")
A4 = (595, 842)  # points
MARGIN, FIELD = 40, 62


def truck_of(order: Order) -> str:
    """The plate of the truck that brings the goods, as it was registered or typed in."""
    _, truck, _ = ARRIVAL.parts
    return str(getattr(order, truck.registered) or getattr(order, truck.typed[0]))


def consignment_note(order: Order) -> bytes:
    """A PDF of one page with a text layer."""
    document = pypdfium2.PdfDocument.new()
    page = document.new_page(*A4)
    _write(document, page, MARGIN, 790, 16, "INTERNATIONAL CONSIGNMENT NOTE (CMR)")
    for number, (label, lines) in enumerate(_fields(order), 1):
        top = 770 - number * FIELD
        _frame(page, top)
        _write(document, page, MARGIN + 6, top + FIELD - 14, 8, f"{number}  {label}")
        for line, text in enumerate(lines):
            _write(document, page, MARGIN + 18, top + FIELD - 31 - 15 * line, 11, text)
    page.gen_content()
    out = io.BytesIO()
    document.save(out)
    document.close()
    return out.getvalue()


def _fields(order: Order) -> Iterator[tuple[str, tuple[str, ...]]]:
    goods = order.get_commodity_display() or "Goods"
    yield "Sender", SENDER
    yield "Consignee", CONSIGNEE
    yield "Place of taking over", (order.terminal.name, *order.terminal.address.splitlines()[-1:])
    yield "Carrier's vehicle", (truck_of(order),)
    yield "Sender's reference", (order.reference,)
    yield "Nature of the goods", (f"{goods}, {order.boxes} boxes on {order.pallets} pallets",)
    yield "Gross weight", (f"{order.kilos} kg",)
    yield "Sender's instructions", ("Keep at 0 to 2 °C.",)


def _write(
    document: pypdfium2.PdfDocument,
    page: pypdfium2.PdfPage,
    x: float,
    y: float,
    size: float,
    text: str,
) -> None:
    written = raw.FPDFPageObj_NewTextObj(document, b"Helvetica", size)
    encoded = (text + "\0").encode("utf-16-le")
    raw.FPDFText_SetText(written, (c_ushort * (len(encoded) // 2)).from_buffer_copy(encoded))
    raw.FPDFPageObj_Transform(written, 1, 0, 0, 1, x, y)
    raw.FPDFPage_InsertObject(page, written)


def _frame(page: pypdfium2.PdfPage, bottom: float) -> None:
    box = raw.FPDFPageObj_CreateNewRect(MARGIN, bottom, A4[0] - 2 * MARGIN, FIELD)
    raw.FPDFPath_SetDrawMode(box, raw.FPDF_FILLMODE_NONE, True)
    raw.FPDFPage_InsertObject(page, box)


def photo(order: Order) -> bytes:
    """A JPEG of pallets before a trailer, whose plate can be read."""
    rng = Random(order.reference)  # noqa: S311 - where boxes stand, no secret
    size = (1200, 900)
    picture = Image.linear_gradient("L").resize(size).convert("RGB")
    picture = Image.blend(picture, Image.new("RGB", size, (150, 170, 185)), 0.7)
    draw = ImageDraw.Draw(picture)
    draw.rectangle((0, 640, 1200, 900), fill=(96, 98, 100))
    draw.rectangle((140, 90, 1060, 660), fill=(232, 235, 236), outline=(90, 95, 100), width=8)
    draw.line((600, 98, 600, 652), fill=(120, 125, 130), width=6)
    draw.rectangle((440, 560, 760, 630), fill="white", outline="black", width=4)
    font = ImageFont.load_default(size=52)
    draw.text((600, 595), truck_of(order), fill="black", font=font, anchor="mm")
    for column in range(5):
        for row in range(rng.randint(2, 4)):
            x, y = 150 + column * 185, 800 - row * 75
            shade = rng.randint(-14, 14)
            colour = (205 + shade, 214 + shade, 222 + shade)
            draw.rectangle((x, y, x + 160, y + 70), fill=colour, outline=(80, 90, 100), width=3)
    picture = picture.filter(ImageFilter.GaussianBlur(1))
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=80)
    return out.getvalue()


def packing_list(order: Order) -> bytes:
    """A CSV with a line for each pallet."""
    rng = Random(order.reference)  # noqa: S311 - weights of invented pallets
    out = io.StringIO()
    lines = csv.writer(out, delimiter=";")
    lines.writerow(["Order", "Pallet", "SSCC", "Boxes", "Net kg"])
    for pallet in range(1, (order.pallets or 0) + 1):
        sscc = f"3705{rng.randrange(10**14):014}"
        lines.writerow([order.reference, pallet, sscc, 27, f"{rng.uniform(520, 565):.1f}"])
    return out.getvalue().encode("utf-8-sig")
