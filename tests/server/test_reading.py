"""Documents go in by HTTP, are read by real workers, and are found again."""

import io
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.db import connection
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont

from documents.models import OrderDocument, OrderDocumentText
from tests.documents import files
from tests.orders.bodies import order_body
from tests.server.conftest import ROOT, _environment

pytestmark = [pytest.mark.server, pytest.mark.django_db]

PATIENCE_S = 60
CMR = """INTERNATIONAL CONSIGNMENT NOTE  CMR
No 204518
Sender: Havbruk Sjømat AS, Trondheim
Consignee: Fischgroßhandel Bremerhaven
Goods: Fresh salmon, 33 pallets, 19840 kg
Truck: DK 12345
Container: MSKU 1234565"""


@pytest.fixture(scope="module")
def desk(server, django_db_blocker) -> Iterator[httpx.Client]:
    """A dispatcher's program."""
    headers = {"Authorization": f"Bearer {server.token}"}
    with httpx.Client(base_url=f"{server.url}/api/v1", headers=headers, timeout=30) as client:
        yield client
    with django_db_blocker.unblock(), connection.cursor() as cursor:
        cursor.execute("DELETE FROM procrastinate_jobs")


@pytest.fixture
def order(server, desk) -> str:
    body = order_body(server.terminal, reference=uuid.uuid4().hex)
    return str(desk.post("/orders", json=body).json()["id"])


@contextmanager
def worker(log: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A worker beside the server; ended as a supervisor would, and at the latest with the test."""
    environment = _environment() | {"WORKER_STALLED_S": "1.5"}
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "manage.py", "worker", *arguments],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.terminate()
            assert process.wait(PATIENCE_S) in {0, -signal.SIGKILL}, log.read_text()


def wait_for(condition: Callable[[], Any], log: Path) -> Any:
    end = time.monotonic() + PATIENCE_S
    while not (found := condition()):
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.05)
    return found


def statuses(order: str) -> list[str]:
    return list(
        OrderDocumentText.objects.filter(document__order_id=order).values_list("status", flat=True)
    )


def all_ended(order: str) -> bool:
    return not {"pending", "running"} & set(statuses(order))


def scanned(text: str) -> bytes:
    """A page as a cheap scanner sends it: grey, aslant, soft, with dust, and packed too hard."""
    page = Image.new("L", (1240, 900), 246)
    font = ImageFont.load_default(size=34)
    ImageDraw.Draw(page).multiline_text((90, 90), text, fill=40, font=font, spacing=22)
    page = page.rotate(0.7, Image.Resampling.BICUBIC, fillcolor=246)
    page = page.filter(ImageFilter.GaussianBlur(0.8))
    dust = Image.effect_noise(page.size, 24)
    page = ImageChops.blend(page, dust, 0.12)
    out = io.BytesIO()
    page.convert("RGB").save(out, "JPEG", quality=45, dpi=(150, 150))
    return out.getvalue()


def upload(desk: httpx.Client, order: str, *parts: tuple[str, bytes]) -> list[str]:
    sent = [("file", (name, content, "application/octet-stream")) for name, content in parts]
    answer = desk.post(f"/orders/{order}/documents", files=sent, data={"type": "cmr"})
    assert answer.status_code == 201, answer.text
    found = answer.json()
    documents = [each["document"] for each in found["data"]] if len(parts) > 1 else [found]
    return [each["id"] for each in documents]


class TestAScannedPage:
    def test_finds_its_order(self, desk, order, tmp_path):
        (document,) = upload(desk, order, ("scan.jpg", scanned(CMR)))
        upload(desk, order, ("other.txt", b"Stockfish, CMR 998877."))
        with worker(tmp_path / "log"):
            wait_for(lambda: all_ended(order), tmp_path / "log")
        assert set(statuses(order)) == {"done"}
        for words in ("salmon", "204518", "2O4578", "DK12346", "MSKU1234S65"):
            found = desk.get("/documents", params={"q": words}).json()
            text = desk.get(f"/orders/{order}/documents/{document}/text").text
            assert [each["id"] for each in found["data"]] == [document], (words, text)
            assert found["snippets"][document][0]["page"] == 1
            orders = desk.get("/orders", params={"q_documents": words}).json()["data"]
            assert [each["id"] for each in orders] == [order]
        picture = desk.get(f"/orders/{order}/documents/{document}/thumbnail")
        assert Image.open(io.BytesIO(picture.content)).size[0] == 320


class TestAWorker:
    def test_that_is_killed_loses_nothing(self, desk, order, tmp_path):
        """Twenty files, a worker killed while it reads: another one reads them all, once."""
        parts = [(f"{n}.pdf", files.pdf(f"Number {n}", pages=n + 1)) for n in range(20)]
        documents = upload(desk, order, *parts)
        log = tmp_path / "log"
        with worker(log) as first:
            wait_for(lambda: "running" in statuses(order) and "done" in statuses(order), log)
            first.kill()
            first.wait()
        left = statuses(order)
        assert "done" in left
        assert set(left) > {"done"}
        with worker(log):
            wait_for(lambda: all_ended(order), log)
        assert statuses(order) == ["done"] * 20
        texts = OrderDocumentText.objects.filter(document__order_id=order)
        for text in texts.select_related("document"):
            assert len(text.pages) == text.document.page_count
            assert text.attempts <= 2
            assert (text.document.version, bool(text.document.thumbnail_sha256)) == (1, True)
        assert len(documents) == OrderDocument.objects.filter(order_id=order).count()

    def test_ends_what_it_is_at_when_told_to_stop(self, desk, order, tmp_path):
        log = tmp_path / "log"
        upload(desk, order, ("scan.jpg", scanned("A bill of lading\n" * 8)))
        with worker(log) as process:
            wait_for(lambda: statuses(order) == ["running"], log)
            process.terminate()
            assert process.wait(PATIENCE_S) == 0
        assert statuses(order) == ["done"]

    def test_ends_by_itself_where_it_is_to_run_once(self, desk, order, tmp_path):
        upload(desk, order, ("a.txt", b"Once."))
        with worker(tmp_path / "log", "--once") as process:
            assert process.wait(PATIENCE_S) == 0
        assert statuses(order) == ["done"]
