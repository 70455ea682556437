"""What tests of documents may ask for."""

from collections.abc import Callable
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test.client import MULTIPART_CONTENT

from orders.models import Order
from tests.documents import files
from tests.orders.factories import OrderFactory


@pytest.fixture
def order(dispatcher: Any) -> Order:
    return OrderFactory(terminal__organization=dispatcher.organization)


def part(name: str = "cmr.pdf", content: bytes | None = None, declared: str = "") -> Any:
    """A file of a form."""
    content = files.pdf() if content is None else content
    return SimpleUploadedFile(name, content, declared or "application/octet-stream")


@pytest.fixture
def upload(api: Any, order: Order, stored: Any) -> Callable[..., Any]:
    """`upload("cmr.pdf", content, type="cmr")`: POST to the order's documents."""

    def send(name: Any = "cmr.pdf", content: bytes | None = None, **fields: Any) -> Any:
        to, who = fields.pop("to", order), fields.pop("api", api)
        sent = {"file": part(name, content), "type": "cmr", **fields}
        form = {name: value for name, value in sent.items() if value is not None}
        return who.post(f"/orders/{to.pk}/documents", form, content_type=MULTIPART_CONTENT)

    return send
