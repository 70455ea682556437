"""One request, one line, whatever was in it; and what never stands in any line."""

import io
import json
import logging
import logging.config
import re
from datetime import datetime, timedelta
from urllib.parse import quote

import pytest
from django.test import Client
from django.utils import timezone
from rest_framework.views import APIView

from config.logging import dict_config
from tests.core.answers import blamed, problem
from tests.core.factories import PASSWORD, UserFactory
from tests.core.resources import ORDERS
from tests.fleet.factories import DriverFactory
from tests.orders.factories import OrderFactory

FORGED = '{"event": "forged", "level": "info"}'
LINE_ENDS = ["\n", "\r", "\r\n", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029"]
ODD = [
    *(f"a{end}{FORGED}" for end in LINE_ENDS),
    "\x00",
    "\x1b[2J\x1b[31mred",
    "\x1b]0;title\x07",
    "\x7f\x08\x08",
    "\u202egnp.exe",
    "\u2066x\u2069",
    '"}\n{"event":"forged"}',
    "%s %d %(x)s {0} {x}",
    "${jndi:ldap://example.invalid}",
    "\\n\\u000a\\x0a",
    "x" * 10_000,
    "👍" * 3_000,
    "Ærøskøbing",
    "\ufeff\ufffe\uffff",
    "]]>--><!-- ' \" ` \\",
]


class Lines(logging.Handler):
    """What the process writes to standard error, formatted as in production."""

    def __init__(self, log_format: str) -> None:
        super().__init__()
        settings = dict_config(log_format, "INFO")
        configurator = logging.config.DictConfigurator(settings)
        self.setFormatter(configurator.configure_formatter(settings["formatters"]["line"]))
        self.stream = io.StringIO()

    def emit(self, record: logging.LogRecord) -> None:
        self.stream.write(self.format(record) + "\n")

    @property
    def text(self) -> str:
        return self.stream.getvalue()

    def taken(self) -> list[dict]:
        """The lines since the last time, for whoever splits them at any line end there is."""
        written = [json.loads(line) for line in self.text.splitlines()]
        self.stream = io.StringIO()
        return written


@pytest.fixture(params=["json"])
def lines(request):
    lines = Lines(request.param)
    logging.getLogger().addHandler(lines)
    yield lines
    logging.getLogger().removeHandler(lines)


def requests(taken: list[dict]) -> list[dict]:
    """The lines of requests; one that fails to sign in, or looks beyond the wall, has a second."""
    assert {line["event"] for line in taken} <= {"request", "sign_in_failed", "tenant_wall_lifted"}
    return [line for line in taken if line["event"] == "request"]


def requests_with(odd: str, reference: str):
    """The places of a request that an odd text can be put in: how to send it there."""
    header = odd.encode("utf-8", "surrogateescape").decode("latin-1")
    yield lambda api: api.get(f"/orders/{quote(odd[:3_000], safe='')}")
    yield lambda api: api.get(f"/{quote(odd[:3_000], safe='')}/x")
    yield lambda api: api.get(f"/orders?q={quote(odd[:3_000])}")
    yield lambda api: api.get(f"/orders?{quote(odd[:3_000])}=1")
    yield lambda api: api.post("/drivers", {"name": odd, odd: 1})
    yield lambda api: api.post("/auth/token", {"username": odd, "password": odd})
    yield lambda api: api.get("/orders", HTTP_USER_AGENT=header)
    yield lambda api: api.get("/orders", HTTP_X_REQUEST_ID=header)
    yield lambda api: api.get("/orders", HTTP_REFERER=header)
    yield lambda api: api.get("/orders", HTTP_AUTHORIZATION=f"Bearer {header}")
    yield lambda api: api.get("/orders", HTTP_HOST=header)
    yield lambda api: api.get(f"/orders/{reference}", HTTP_IF_NONE_MATCH=header)
    yield lambda api: api.get("/orders", HTTP_ACCEPT=header)
    yield lambda api: api.generic(re.sub(r"\W", "", odd)[:20].upper() or "X", "/orders")


class TestOneRequest:
    @pytest.mark.parametrize("odd", ODD, ids=lambda odd: ascii(odd)[:24])
    def test_is_one_line_whatever_it_holds(self, api, dispatcher, lines, odd):
        order = OrderFactory(terminal__organization=dispatcher.organization)
        for send in requests_with(odd, str(order.pk)):
            response = send(api)
            assert response.status_code < 500
            (line,) = requests(lines.taken())
            assert line["request_id"] == response["X-Request-ID"]
            assert len(line["path"]) <= 2_100 * 12  # what is escaped grows

    @pytest.mark.parametrize("lines", ["console"], indirect=True)
    def test_cannot_command_a_terminal(self, api, dispatcher, lines):
        order = OrderFactory(terminal__organization=dispatcher.organization)
        sent = 0
        for odd in ODD:
            for send in requests_with(odd, str(order.pk)):
                send(api)
                sent += 1
        told = [line for line in lines.text.splitlines() if "sign_in_failed" not in line]
        assert len(told) == sent
        plain = re.sub(r"\x1b\[[0-9;]*m", "", lines.text)  # our own colours
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]", plain)
        assert "[2J" not in plain.replace("\\x1b[2J", "")

    def test_is_told_with_who_what_and_how_long(self, api, dispatcher, lines):
        response = api.get("/orders?page=1", HTTP_X_REQUEST_ID="mine-1")
        (line,) = lines.taken()
        assert set(line) == {
            *("timestamp", "level", "logger", "event", "request_id", "user_id", "organization_id"),
            *("api_key", "method", "path", "status", "duration_ms", "resource", "cache"),
        }
        written_at = datetime.fromisoformat(line.pop("timestamp"))
        assert written_at.utcoffset() == timedelta(0)
        assert abs(timezone.now() - written_at) < timedelta(minutes=1)
        assert 0 < line.pop("duration_ms") < 60_000
        assert line == {
            "level": "info",
            "logger": "core.requests",
            "event": "request",
            "request_id": "mine-1",
            "user_id": str(dispatcher.pk),
            "organization_id": str(dispatcher.organization_id),
            "api_key": None,
            "method": "GET",
            "path": "/api/v1/orders",
            "status": response.status_code,
            "resource": "orders-list",
            "cache": None,
        }

    def test_is_told_of_nobody_and_nothing_as_well(self, anonymous, lines):
        for path, status, resource in (
            ("/orders", 401, "orders-list"),
            ("/nothing", 404, None),
            ("/health", 200, "health"),
            ("/orders?%ff", 422, None),
        ):
            anonymous.get(path)
            (line,) = lines.taken()
            assert (line["user_id"], line["organization_id"]) == (None, None)
            assert (line["status"], line["resource"]) == (status, resource)

    def test_is_told_of_a_session_and_of_a_superuser(self, db, lines):
        user = UserFactory(superuser=True)
        browser = Client()
        browser.force_login(user)
        lines.taken()
        browser.get("/api/v1/orders")
        (line,) = requests(lines.taken())
        assert (line["user_id"], line["organization_id"]) == (str(user.pk), None)

    def test_never_asks_the_database_for_the_line(self, db, lines, django_assert_num_queries):
        browser = Client()
        browser.force_login(UserFactory())
        with django_assert_num_queries(0):
            browser.get("/api/v1/health")
        assert lines.taken()[-1]["user_id"] is None


class TestARefusedStatement:
    def test_is_one_line_with_its_constraint_and_state(self, api, dispatcher, lines):
        DriverFactory(organization=dispatcher.organization, phone="+4790123456")
        response = api.post("/drivers", {"name": "Secretary", "phone": "+4790123456"})
        problem(response, 409)
        refused, request = lines.taken()
        assert set(refused) == {
            *("timestamp", "level", "logger", "event", "request_id", "code", "kind"),
            *("sqlstate", "constraint"),
        }
        assert refused["event"] == "database_refused"
        assert (refused["sqlstate"], refused["constraint"]) == (
            "23505",
            "fleet_driver_phone_unique",
        )
        assert refused["request_id"] == request["request_id"] == response["X-Request-ID"]
        assert "+4790123456" not in str(refused)

    def test_is_no_line_where_we_knew_better(self, api, lines):
        assert blamed(api.post("/drivers", {"name": ""}))
        (line,) = lines.taken()
        assert line["event"] == "request"


class TestAnAccident:
    @pytest.fixture
    def accident(self, monkeypatch):
        def fail(*_args, **_kwargs):
            password = "a-variable-nearby"
            raise RuntimeError(f"x\u2028{FORGED}\n\x1b[2Jy{len(password)}")

        monkeypatch.setattr(APIView, "initial", fail)

    @pytest.mark.usefixtures("accident")
    def test_is_one_more_line_with_its_trace_and_the_same_id(self, api, lines):
        api.raise_request_exception = False
        response = api.get("/orders")
        trace, request = lines.taken()
        assert (trace["event"], trace["level"]) == ("internal_error", "error")
        assert trace["request_id"] == request["request_id"] == response["X-Request-ID"]
        assert "RuntimeError" in trace["exception"]
        assert trace["exception"].count("\n") > 3
        assert "a-variable-nearby" not in trace["exception"].partition("RuntimeError: ")[2]

    @pytest.mark.usefixtures("accident")
    @pytest.mark.parametrize("lines", ["console"], indirect=True)
    def test_shows_no_variables_on_a_terminal_either(self, api, lines):
        api.raise_request_exception = False
        api.get("/orders")
        assert "RuntimeError" in lines.text
        assert "locals" not in lines.text
        assert lines.text.count("a-variable-nearby") == 0
        assert "\x1b[2J" not in lines.text


class TestASecret:
    SECRET = "the-eel-is-in-the-cellar"

    @pytest.mark.parametrize("lines", ["json", "console"], indirect=True)
    def test_stands_in_no_line(self, api, anonymous, dispatcher, lines, monkeypatch):
        body = ORDERS.body(dispatcher.organization) | {"notes": self.SECRET}
        order = api.post("/orders", body).json()["id"]
        signed_in = anonymous.post(
            "/auth/token", {"username": dispatcher.username, "password": PASSWORD}
        ).json()
        for client in (api, anonymous):
            client.raise_request_exception = False
        browser = Client(raise_request_exception=False)
        browser.force_login(dispatcher)
        session = browser.cookies["sessionid"].value

        def send_everything() -> None:
            api.post("/orders", body)
            api.post("/orders", body | {"pallets": self.SECRET, self.SECRET: 1})
            api.patch(f"/orders/{order}", {"notes": f"{self.SECRET}!"})
            api.patch(f"/orders/{order}", {"notes": self.SECRET, "pallets": -1})
            api.post(f"/orders/{order}/cancel", {"reason": self.SECRET})
            api.generic("POST", "/orders", f'{{"notes": "{self.SECRET}"', "application/json")
            api.get(f"/orders?q={self.SECRET}")
            api.get(f"/orders?{self.SECRET}=1")
            api.get("/orders", HTTP_COOKIE=f"x={self.SECRET}", HTTP_REFERER=self.SECRET)
            anonymous.get("/orders", HTTP_AUTHORIZATION=f"Bearer {self.SECRET}")
            anonymous.post("/auth/token", {"username": "x", "password": self.SECRET})
            anonymous.post("/auth/token", {"username": self.SECRET, "password": "x"})
            anonymous.post("/auth/token/refresh", {"refresh": signed_in["refresh"]})
            anonymous.post("/auth/token/refresh", {"refresh": f"x.{self.SECRET}.y"})
            browser.get("/api/v1/orders")
            browser.post("/admin/login/", {"username": self.SECRET, "password": self.SECRET})

        send_everything()

        def fail(*_args, **_kwargs):
            raise RuntimeError("an accident")

        with monkeypatch.context() as broken:
            broken.setattr(APIView, "initial", fail)
            send_everything()
        assert "an accident" in lines.text
        for secret in (self.SECRET, PASSWORD, session, dispatcher.password, *signed_in.values()):
            assert secret not in lines.text
