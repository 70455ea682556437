"""Two at once over one file: never a row without its file, never a file without a row."""

import pytest
from django.db import transaction
from django.test.client import MULTIPART_CONTENT

from core import tenancy
from documents import storage
from documents.models import AbandonedFile, OrderDocument
from orders.models import Order
from tests.documents.conftest import part
from tests.orders.factories import OrderFactory
from tests.orders.test_races import callers, held, statuses, user, wait_until_blocked  # noqa: F401

pytestmark = pytest.mark.django_db(transaction=True)

ROUNDS = 5


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


class TestOneFileTwiceAtOnce:
    def test_is_kept_once(self, api, order, stored, callers):  # noqa: F811
        crowd = callers(2)
        for number in range(ROUNDS):
            content = b"Round %d." % number
            with held(order):
                answers = [crowd.send(send, api, order, content) for _ in range(2)]
                wait_until_blocked(2)
            assert statuses(*answers) == [201, 409]
            assert kept(stored) == (number + 1, number + 1)

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
    def test_leave_nothing_behind(self, api, order, stored, callers):  # noqa: F811
        crowd = callers(1)
        for number in range(ROUNDS):
            doomed = OrderFactory(terminal=order.terminal)
            with tenancy.within(order.organization_id):
                Order.objects.locked().get(pk=doomed.pk).delete()
                answer = crowd.send(send, api, doomed, b"Round %d." % number)
                wait_until_blocked(1)
            assert statuses(answer) == [404]
            assert kept(stored) == (0, 0)
            assert not AbandonedFile.objects.exists()

    def test_leave_nothing_behind_the_other_way_round(self, api, order, stored, callers):  # noqa: F811
        crowd = callers(2)
        with held(order):
            upload = crowd.send(send, api, order, b"First.")
            wait_until_blocked(1)
            end = crowd.send(api.delete, f"/orders/{order.pk}")
            wait_until_blocked(2)
        assert statuses(upload, end) == [201, 204]
        assert kept(stored) == (0, 0)


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
