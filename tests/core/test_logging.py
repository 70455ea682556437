"""The log: one line for each request, none forged, nothing secret in it."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from config import logging as house
from tests.core.factories import PASSWORD, UserFactory
from tests.orders.factories import OrderFactory

ODD = [
    "\r\n",
    '\n{"event":"request"}',
    "a\rb",
    "\x1b[2J\x1b[31m",
    "\x00",
    "\u2028",
    "\u2029",
    "\x85",
    "\u202e",
    "\x7f",
    "x" * 10_000,
    '"}\n{"level":"error","event":"forged"}',
]


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    """What the process would write to standard error, as JSON."""
    config = house.dict_config("json", "INFO")
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    options = dict(config["formatters"]["line"])
    handler.setFormatter(options.pop("()")(**options))
    root = logging.getLogger()
    root.addHandler(handler)
    yield stream
    root.removeHandler(handler)


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    """Each line parsed; any reader's idea of a line end would do."""
    text = stream.getvalue()
    assert text.splitlines() == text.split("\n")[:-1]
    return [json.loads(line) for line in text.splitlines()]


def requests(stream: io.StringIO) -> list[dict[str, Any]]:
    return [line for line in lines(stream) if line["event"] == "request"]


@pytest.mark.django_db
class TestALineOfARequest:
    def test_says_who_did_what_and_how_it_ended(self, api, dispatcher, written):
        order = OrderFactory(terminal__organization=dispatcher.organization)
        answer = api.get(f"/orders/{order.pk}?", headers={"X-Request-ID": "abc-1"})
        (line,) = requests(written)
        assert line.pop("timestamp").endswith("Z")
        assert line.pop("duration_ms") > 0
        assert line == {
            "event": "request",
            "level": "info",
            "logger": "core.requests",
            "method": "GET",
            "organization_id": str(dispatcher.organization_id),
            "path": f"/api/v1/orders/{order.pk}",
            "request_id": "abc-1",
            "resource": "orders-detail",
            "status": 200,
            "user_id": str(dispatcher.pk),
        }
        assert answer["X-Request-ID"] == "abc-1"

    def test_is_written_once_whatever_the_answer(self, api, anonymous, written):
        api.get("/orders")
        api.get("/nothing")
        api.get("/orders/1")
        api.post("/orders", {})
        anonymous.get("/orders")
        anonymous.get("/orders", headers={"Host": "evil.example"})
        found = [line["status"] for line in requests(written)]
        assert found == [200, 404, 404, 422, 401, 400]

    @pytest.mark.parametrize("odd", ODD, ids=lambda odd: repr(odd)[:20])
    def test_cannot_be_forged(self, api, written, odd):
        """In the path, a name, a reference, the user agent, the request id: one line each."""
        api.get(f"/orders/{odd}x".replace("?", "%3F"))
        api.post("/auth/token", {"username": odd, "password": "x"})
        api.post("/orders", {"reference": odd})
        api.get("/orders", headers={"User-Agent": odd.replace("\x00", "").replace("\n", " ")})
        answer = api.get("/orders", headers={"X-Request-ID": odd})
        assert len(requests(written)) == 5
        assert {line["event"] for line in lines(written)} == {"request"}
        assert len(answer["X-Request-ID"]) == 36

    def test_holds_no_query_body_or_secret(self, api, dispatcher, anonymous, written):
        UserFactory(username="marked", organization=dispatcher.organization)
        tokens = anonymous.post("/auth/token", {"username": "marked", "password": PASSWORD}).json()
        anonymous.post("/auth/token", {"username": "marked", "password": "MARKED-PASSWORD"})
        anonymous.post("/auth/token/refresh", {"refresh": tokens["refresh"]})
        api.get("/orders?q=MARKED-QUERY")
        api.post("/orders", {"reference": "MARKED-BODY"})
        anonymous.get("/orders", headers={"Authorization": "Bearer MARKED-TOKEN"})
        anonymous.get("/orders", headers={"Cookie": "sessionid=MARKED-COOKIE"})
        text = written.getvalue()
        assert len(requests(written)) == 7
        for secret in ("MARKED", PASSWORD, tokens["access"], tokens["refresh"]):
            assert secret not in text


@pytest.mark.django_db
class TestALineOfTheDatabase:
    def test_names_constraint_and_sqlstate_and_no_value(self, api, dispatcher, written):
        OrderFactory(terminal__organization=dispatcher.organization)
        body = {"name": "Secret Quay", "account_code": "SQ"}
        assert api.post("/terminals", body).status_code == 201
        assert api.post("/terminals", body | {"account_code": "SR"}).status_code == 409
        (line,) = [line for line in lines(written) if line["event"] == "database_refused"]
        assert line["constraint"] == "terminals_terminal_name_unique"
        assert line["sqlstate"] == "23505"
        assert line["code"] == "conflict"
        assert line["request_id"] == requests(written)[-1]["request_id"]
        assert "Secret Quay" not in written.getvalue()


class TestFormats:
    def test_an_exception_is_one_line_with_its_trace(self, written):
        log = structlog.stdlib.get_logger("core.errors")
        try:
            raise ValueError("first\nsecond")
        except ValueError:
            log.exception("internal_error")
        (line,) = lines(written)
        assert "Traceback" in line["exception"]
        assert line["level"] == "error"

    def test_other_libraries_write_the_same_lines(self, written):
        logging.getLogger("somebody").warning("Lost %s\n%s", "a", "b")
        (line,) = lines(written)
        assert (line["event"], line["logger"]) == ("Lost a\\nb", "somebody")

    def test_a_terminal_gets_words_instead_of_json(self):
        config = house.dict_config("console", "INFO")
        options = dict(config["formatters"]["line"])
        formatter = options.pop("()")(**options)
        record = logging.LogRecord("x", logging.INFO, "", 0, "hello\x1b[2J", None, None)
        text = formatter.format(record)
        assert "hello\\x1b[2J" in text
        assert not text.startswith("{")
