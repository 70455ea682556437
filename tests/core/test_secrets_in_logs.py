"""No line of the log holds what must stay secret, and an accident's answer leads to its line."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import OperationalError
from django.test import Client

from core.models import User
from tests.conftest import ApiClient
from tests.core.factories import PASSWORD, UserFactory
from tests.orders.factories import OrderFactory

pytestmark = pytest.mark.django_db

MARK = "c0ffee5ecret"


@pytest.fixture
def lines() -> Iterator[Any]:
    """Every line that the process writes from here on, as it is written, at the lowest level."""
    root = logging.getLogger()
    (ours,) = [each for each in root.handlers if type(each) is logging.StreamHandler]
    stream, level = io.StringIO(), root.level
    handler = logging.StreamHandler(stream)
    handler.setFormatter(ours.formatter)
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield lambda: stream.getvalue().splitlines()
    root.removeHandler(handler)
    root.setLevel(level)


def with_marked_secrets(user: User) -> Iterator[Any]:
    """Requests that carry a marked secret wherever one can be, and mostly fail."""
    stranger = Client(raise_request_exception=False)
    known = ApiClient(user, raise_request_exception=False)
    session = Client(raise_request_exception=False)
    session.force_login(user)
    paths = ("/api/v1/orders", "/api/v1/auth/me", "/api/v1/terminals/x", "/admin/", "/nowhere")

    for path in paths:
        for value in (
            f"Bearer {MARK}",
            f"Bearer a.{MARK}.c",
            f"Api-Key {MARK}",
            f"Api-Key dk_Ab3dEf9h.{MARK}{'x' * 20}",
            f"Basic {MARK}",
            MARK,
        ):
            yield stranger.get(path, headers={"authorization": value})
        yield stranger.get(path, headers={"cookie": f"sessionid={MARK}; csrftoken={MARK}"})
        yield stranger.get(f"{path}?token={MARK}&key={MARK}&password={MARK}")
        yield known.get(f"{path}?q={MARK}&api_key={MARK}")
        yield stranger.get(path, headers={"x-api-key": MARK, "referer": f"http://x/?t={MARK}"})
    for username in (user.username, "nobody", MARK):
        secret = {"username": username, "password": MARK}
        yield stranger.post("/api/v1/auth/token", secret, content_type="application/json")
        yield stranger.post("/admin/login/", secret)
    for name in ("token", "token/refresh", "logout"):
        body = {"refresh": MARK, "password": MARK, "access": MARK}
        yield stranger.post(f"/api/v1/auth/{name}", body, content_type="application/json")
        yield stranger.post(f"/api/v1/auth/{name}", f'{{"refresh": "{MARK}', content_type="x/y")
    change = {"old_password": PASSWORD, "new_password1": MARK, "new_password2": f"{MARK}-other"}
    yield session.post("/admin/password_change/", change)
    yield session.post("/admin/core/user/add/", {"username": "x", "password1": MARK})
    yield session.post("/admin/two-factor/", {"code": MARK})
    file = SimpleUploadedFile(f"{MARK}.pdf", MARK.encode(), "application/pdf")
    order = OrderFactory(terminal__organization=user.organization)
    yield session.post(f"/admin/orders/order/{order.pk}/change/", {"file": file, "notes": MARK})
    yield known.generic(
        "POST",
        "/orders",
        f'--b\r\nContent-Disposition: form-data; name="f"; filename="{MARK}.pdf"\r\n\r\n{MARK}',
        content_type="multipart/form-data; boundary=b",
    )
    yield known.post("/orders", {"notes": MARK, "reference": MARK, MARK: 1})
    yield known.patch(f"/orders/{order.pk}", {"notes": MARK, "pallets": MARK})


class TestSecrets:
    def test_stand_in_no_line_of_the_log(self, lines):
        user = UserFactory(admin=True)
        answers = list(with_marked_secrets(user))
        assert len(answers) > 60
        written = lines()
        assert len([line for line in written if '"event":"request"' in line]) >= len(answers)
        assert [line for line in written if MARK in line] == []

    def test_stand_in_none_when_it_is_an_accident(self, lines, monkeypatch):
        user = UserFactory(admin=True)
        monkeypatch.setattr("core.tenancy.unit_of_work", lambda: 1 / 0)
        answers = list(with_marked_secrets(user))
        assert len([answer for answer in answers if answer.status_code == 500]) > 30
        assert [line for line in lines() if MARK in line] == []

    def test_of_the_database_stand_in_none_when_it_is_away(self, lines, monkeypatch):
        def away() -> None:
            dsn = f"postgres://dockside:{MARK}@127.0.0.1:1/dockside?connect_timeout=1"
            try:
                psycopg.connect(dsn)
            except psycopg.OperationalError as error:
                raise OperationalError(*error.args) from error

        monkeypatch.setattr("core.tenancy.unit_of_work", away)
        api = ApiClient(UserFactory(), raise_request_exception=False)
        answer = api.get("/orders")
        assert answer.status_code == 503
        assert MARK not in answer.content.decode()
        assert [line for line in lines() if MARK in line] == []
        assert any("database_refused" in line for line in lines())


class TestAnAccident:
    @pytest.mark.parametrize("path", ["/api/v1/orders", "/admin/"])
    def test_shares_its_request_id_with_the_log(self, lines, monkeypatch, path):
        user = UserFactory()
        monkeypatch.setattr("core.tenancy.unit_of_work", lambda: 1 / 0)
        for number in range(50):
            client = Client(raise_request_exception=False)
            client.force_login(user)
            headers = {"x-request-id": f"mine-{number}-"} if number % 2 else {}
            answer = client.get(path, headers=headers)
            assert answer.status_code == 500
            request_id = answer["X-Request-ID"]
            if path.startswith("/api/"):
                assert answer.json()["request_id"] == request_id
            mine = [json.loads(line) for line in lines() if request_id in line]
            trace = [line for line in mine if line["event"] == "internal_error"]
            assert len(trace) == 1
            assert "ZeroDivisionError" in trace[0]["exception"]
            assert [line["status"] for line in mine if line["event"] == "request"] == [500]
            assert "ZeroDivisionError" not in answer.content.decode()
