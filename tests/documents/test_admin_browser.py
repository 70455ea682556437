"""A dispatcher drops files on an order, in a real browser, and a real worker reads them."""

import base64

from django.utils import timezone

from documents.models import OrderDocument, OrderDocumentText
from tests.browser import MARKS, sign_in
from tests.documents import files
from tests.server.test_reading import worker

pytestmark = MARKS

TRANSFER = """files => {
    const transfer = new DataTransfer();
    for (const [name, content] of files) {
        const bytes = Uint8Array.from(atob(content), char => char.charCodeAt(0));
        transfer.items.add(new File([bytes], name));
    }
    return transfer;
}"""
THUMBNAILS = (
    "[...document.querySelectorAll('#document-rows img')].filter(each => each.naturalWidth > 0)"
)


def drop(page, *parts: tuple[str, bytes]) -> None:
    """Let go of files somewhere over the page, as a file manager's window would hand them over."""
    encoded = [[name, base64.b64encode(content).decode()] for name, content in parts]
    transfer = page.evaluate_handle(TRANSFER, encoded)
    page.dispatch_event("#order_form", "dragover", {"dataTransfer": transfer})
    page.dispatch_event("#order_form", "drop", {"dataTransfer": transfer})


def test_files_dropped_on_an_order_show_their_thumbnails(
    page, complaints, dispatcher, order, stored, tmp_path, monkeypatch
) -> None:
    monkeypatch.setenv("DATA_DIR", str(tmp_path))  # of the worker, where `stored` is
    sign_in(page, dispatcher)
    page.goto(f"/admin/orders/order/{order.pk}/change/")
    assert "no documents yet" in page.inner_text("#document-rows")

    cmr, photo = files.pdf("CMR 204518"), files.picture("JPEG", (640, 480))
    drop(page, ("cmr.pdf", cmr))  # before anybody said what it is
    assert page.evaluate("document.activeElement.id") == "document-type"
    assert not OrderDocument.objects.exists()
    page.select_option("#document-type", "cmr")
    page.click("#document-upload button")
    page.wait_for_selector("#document-results .done")
    drop(page, ("photo.jpg", photo), ("setup.pdf", b"MZ" + b"\0" * 200), ("again.pdf", cmr))
    page.wait_for_function("document.querySelectorAll('#document-results > li[class]').length == 4")
    told = [line.split(" ", 1) for line in page.locator("#document-results > li").all_inner_texts()]
    assert told[:2] == [["cmr.pdf", "uploaded"], ["photo.jpg", "uploaded"]]
    assert "The name ends in .pdf, but the content is" in told[2][1]
    assert told[3] == ["again.pdf", "The order has this file already, as cmr.pdf."]

    assert page.locator("#document-rows img").count() == 0
    with worker(tmp_path / "log"):
        page.wait_for_function(f"{THUMBNAILS}.length == 2")
        OrderDocumentText.objects.filter(document__file_name="photo.jpg").update(
            status="failed", error="The storage was away.", finished_at=timezone.now()
        )
        page.reload()
        row = page.locator("#document-rows > li", has_text="photo.jpg")
        assert "The storage was away." in row.inner_text()
        row.locator("button").click()
        row.locator("text=The storage was away.").wait_for(state="detached")
        page.wait_for_selector("#document-rows:not([data-waiting])")
    assert page.evaluate(f"{THUMBNAILS}.length") == 2
    assert set(OrderDocumentText.objects.values_list("status", flat=True)) == {"done"}
    for status in ("415", "409"):
        (expected,) = [line for line in complaints if f"a status of {status}" in line]
        complaints.remove(expected)
