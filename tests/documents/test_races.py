"""Two at once over one file: never a row without its file, never a file without a row."""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest
from django.db import transaction
from django.test.client import MULTIPART_CONTENT

from documents import storage
from documents.models import AbandonedFile, OrderDocument
from orders.models import Order
from tests.documents.conftest import part
from tests.orders.factories import OrderFactory
from tests.orders.test_races import (  # noqa: F401
    PATIENCE_S,
    callers,
    held,
    statuses,
    user,
    wait_until_blocked,
)

pytestmark = pytest.mark.django_db(transaction=True)

ROUNDS, AT_ONCE = 50, 10


@pytest.fixture
def api(user, api_of):  # noqa: F811
    client = api_of(user)
    client.raise_request_exception = False
    return client


@pytest.fixture
def order(user):  # noqa: F811
    return OrderFactory(terminal__organization=user.organization)


def send(api, order, content: bytes):
    form = {"file": part("a.txt", content), "type": "other"}
    return api.post(f"/orders/{order.pk}/documents", form, content_type=MULTIPART_CONTENT)


def kept(stored) -> tuple[int, int]:
    """Files and rows; each row has its file."""
    rows = OrderDocument.objects.all()
    for row in rows:
        assert not storage.is_missing(row.organization_id, row.sha256, row.size_bytes)
    return len(stored()), len(rows)


@pytest.fixture
def rounds(order, callers, settings) -> Callable[[Any, Any], Counter[tuple[int, int]]]:  # noqa: F811
    """Sends two requests for each of many orders, the first of them ahead; counts their statuses.

    All wait for rows that are held here, several orders at a time; they go on in their order.
    """
    crowd = callers(2 * AT_ONCE)
    settings.LIMIT_UPLOAD = "1000/minute"

    def run(first: Any, second: Any) -> Counter[tuple[int, int]]:
        found: Counter[tuple[int, int]] = Counter()
        for _ in range(ROUNDS // AT_ONCE):
            orders = [OrderFactory(terminal=order.terminal) for _ in range(AT_ONCE)]
            answers: list[list[Future[Any]]] = []
            with transaction.atomic():
                list(Order.objects.locked().filter(pk__in=[each.pk for each in orders]))
                for request in (first, second):
                    answers.append([crowd.send(request, each) for each in orders])
                    wait_until_blocked(AT_ONCE * len(answers))
            for one, other in zip(*answers, strict=True):
                found[one.result(PATIENCE_S).status_code, other.result(PATIENCE_S).status_code] += 1
        return found

    return run


class TestOneFileTwiceAtOnce:
    def test_is_kept_once(self, api, stored, rounds):
        def upload(order):
            return send(api, order, str(order.pk).encode())

        assert rounds(upload, upload) == {(201, 409): ROUNDS}
        assert kept(stored) == (ROUNDS, ROUNDS)

    def test_is_shared_by_two_orders(self, api, order, stored, callers):  # noqa: F811
        crowd, other = callers(2), OrderFactory(terminal=order.terminal)
        with held(order):
            first = crowd.send(send, api, order, b"Shared.")
            wait_until_blocked(1)
            second = crowd.send(send, api, other, b"Shared.")
            wait_until_blocked(2)  # it waits for the file
        assert statuses(first, second) == [201, 201]
        assert kept(stored) == (1, 2)


class TestAnUploadAndTheEndOfItsOrder:
    """Whichever comes first, nothing is left behind."""

    @pytest.fixture
    def upload(self, api):
        return lambda order: send(api, order, str(order.pk).encode())

    @pytest.fixture
    def end(self, api):
        return lambda order: api.delete(f"/orders/{order.pk}")

    def test_where_the_upload_is_first(self, stored, rounds, upload, end):
        assert rounds(upload, end) == {(201, 204): ROUNDS}
        assert kept(stored) == (0, 0)
        assert not AbandonedFile.objects.exists()

    def test_where_the_end_is_first(self, stored, rounds, upload, end):
        assert rounds(end, upload) == {(204, 404): ROUNDS}
        assert kept(stored) == (0, 0)
        assert not AbandonedFile.objects.exists()


class TestAnUploadAndACancellation:
    """A cancelled order takes documents like any other: both come about."""

    def test_in_either_order(self, api, stored, rounds):
        def upload(order):
            return send(api, order, str(order.pk).encode())

        def cancel(order):
            return api.post(f"/orders/{order.pk}/cancel", {"reason": "No truck came."})

        assert rounds(upload, cancel) == {(201, 200): ROUNDS}
        assert rounds(cancel, upload) == {(200, 201): ROUNDS}
        assert kept(stored) == (2 * ROUNDS, 2 * ROUNDS)
        assert Order.objects.filter(status="cancelled").count() == 2 * ROUNDS


class TestAFileThatIsNeededAgain:
    def test_is_not_removed_under_an_open_transaction(self, api, order, stored, callers):  # noqa: F811
        """Its last document goes while another order is just getting the same bytes."""
        crowd, other = callers(2), OrderFactory(terminal=order.terminal)
        first = send(api, order, b"Shared.").json()
        with held(other):
            upload = crowd.send(send, api, other, b"Shared.")
            wait_until_blocked(1)
            end = crowd.send(api.delete, f"/orders/{order.pk}/documents/{first['id']}")
            wait_until_blocked(2)  # the row is gone, its file waits for the upload
            assert not OrderDocument.objects.filter(pk=first["id"]).exists()
        assert statuses(upload, end) == [201, 204]
        assert kept(stored) == (1, 1)
        assert not AbandonedFile.objects.exists()

    def test_is_left_alone_by_the_check(self, order, stored, callers):  # noqa: F811
        """The sweep judges under the lock, so it waits for an upload that is under way."""
        crowd, home = callers(1), order.organization_id
        sha256 = "ab" * 32
        with transaction.atomic():
            storage.hold(home, [sha256])
            sweep = crowd.send(storage.remove_unneeded, home, sha256)
            wait_until_blocked(1)
        assert sweep.result(20) is True
