"""What only raw sockets can send, to a real server: sections 2a and 2b of docs/reliability.md."""

import json
import time
from datetime import date
from uuid import uuid4

import pytest

from orders.models import Order, Status
from tests.core.answers import INTERNALS

pytestmark = [pytest.mark.server, pytest.mark.django_db]

MEGABYTE = 1_048_576
ORDERS = "/api/v1/orders"
JSON = "Content-Type: application/json"
CHUNKED = "Transfer-Encoding: chunked"


@pytest.fixture
def body(server):
    """A good order, as JSON, whose reference nobody has."""
    return json.dumps(
        {
            "reference": uuid4().hex,
            "service": "cross_dock",
            "terminal_id": str(server.terminal.pk),
            "eta_date": str(date.today()),
            "etd_date": str(date.today()),
        }
    ).encode()


def order_count() -> int:
    return Order.objects.count()


def chunks(*parts: bytes) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (*parts, b""))


def refused(answer, status: int, code: str) -> dict:
    """The problem in an answer; see tests.core.answers for what only our own views promise."""
    assert answer.status == status, answer
    assert answer.headers["content-type"] == "application/problem+json"
    told = answer.json()
    assert (told["status"], told["code"]) == (status, code)
    assert told["request_id"] == answer.headers["x-request-id"]
    assert not INTERNALS.search(answer.body.decode())
    return told


def refused_by_gunicorn(wire, answer, status: int = 400) -> None:
    """Requests that are not HTTP never reach the application; the connection ends with them."""
    told = answer.json()
    assert (answer.status, told["status"], told["code"]) == (status, status, "malformed-request")
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-request-id"] == told["request_id"]
    assert answer.closes
    assert wire.is_closed()
    assert b"Traceback" not in answer.body


class TestABodyBeyondTheLimit:
    def test_is_refused_before_it_is_sent(self, server):
        for length in (MEGABYTE + 1, 20 * MEGABYTE, 10**12):
            with server.wire() as wire:
                wire.send(server.head("POST", ORDERS, JSON, f"Content-Length: {length}"))
                answer = wire.answer()
                assert "1,048,576" in refused(answer, 413, "too-large")["detail"]
                assert answer.closes
                assert wire.is_closed()

    def test_is_refused_while_it_is_sent(self, server, wire):
        size = MEGABYTE + 1
        wire.send(server.head("POST", ORDERS, JSON, f"Content-Length: {size}"), b" " * size)
        refused(wire.answer(), 413, "too-large")
        assert wire.is_closed()

    def test_is_refused_in_chunks_as_well(self, server, wire):
        part = b" " * 65_536
        wire.send(server.head("POST", ORDERS, JSON, CHUNKED), chunks(*[part] * 16, b" "))
        answer = wire.answer()
        assert "1,048,576" in refused(answer, 413, "too-large")["detail"]
        assert answer.closes

    def test_is_refused_instead_of_being_waited_for(self, server, wire):
        """What an endless stream of chunks brings is read up to the limit, and no further."""
        wire.send(server.head("POST", ORDERS, JSON, CHUNKED))
        wire.send(b"fffffff\r\n", b" " * (MEGABYTE + 65_536))
        refused(wire.answer(), 413, "too-large")

    def test_is_passed_over_where_nobody_reads_it(self, server, wire):
        for length in (60_000, 65_536, MEGABYTE):
            head = server.head("POST", "/api/v1/nothing", f"Content-Length: {length}")
            wire.send(head, b"x" * length)
            answer = wire.answer()
            refused(answer, 404, "not-found")
            assert not answer.closes

    def test_is_not_asked_for_by_an_expectation(self, server, wire):
        expects = f"Content-Length: {2 * MEGABYTE}", "Expect: 100-continue"
        wire.send(server.head("POST", ORDERS, JSON, *expects))
        refused(wire.answer(), 413, "too-large")


class TestABodyInChunks:
    def test_is_read(self, server, wire, body):
        wire.send(server.head("POST", ORDERS, JSON, CHUNKED), chunks(body[:40], body[40:]))
        answer = wire.answer()
        assert answer.status == 201
        assert answer.json()["reference"] == json.loads(body)["reference"]

    def test_is_read_with_extensions_and_trailers(self, server, wire, body):
        raw = b'%x;name="a\\"b"\r\n%s\r\n0\r\nX-Request-ID: forged\r\n\r\n' % (len(body), body)
        wire.send(server.head("POST", ORDERS, JSON, CHUNKED), raw)
        answer = wire.answer()
        assert answer.status == 201
        assert answer.headers["x-request-id"] != "forged"

    def test_is_malformed_if_it_is_empty(self, server, wire):
        wire.send(server.head("POST", ORDERS, JSON, CHUNKED), chunks())
        refused(wire.answer(), 400, "malformed-request")

    def test_may_be_empty_for_a_step(self, server, wire, body):
        wire.send(server.head("POST", ORDERS, JSON, f"Content-Length: {len(body)}"), body)
        order_id = wire.answer().json()["id"]
        wire.send(server.head("POST", f"{ORDERS}/{order_id}/arrive", CHUNKED), chunks())
        assert wire.answer().json()["status"] == "arrived"

    @pytest.mark.parametrize(
        "raw",
        [
            b"zz\r\n{}\r\n0\r\n\r\n",
            b"-2\r\n{}\r\n",
            b"2\r\n{}0\r\n\r\n",
            b"2\n{}\n0\n\n",
            b"ffff\r\n{}",
        ],
    )
    def test_is_malformed_if_its_chunks_are(self, server, wire, raw):
        before = order_count()
        wire.send(server.head("POST", ORDERS, JSON, CHUNKED), raw).end()
        answer = wire.answer()
        refused(answer, 400, "malformed-request")
        assert answer.closes
        assert order_count() == before


class TestABodyThatIsCutShort:
    def test_makes_no_order_though_it_is_whole_json(self, server, wire, body):
        before = order_count()
        wire.send(server.head("POST", ORDERS, JSON, f"Content-Length: {len(body) + 1}"), body).end()
        refused(wire.answer(), 400, "malformed-request")
        assert order_count() == before

    def test_makes_no_order_in_chunks(self, server, wire, body):
        before = order_count()
        wire.send(server.head("POST", ORDERS, JSON, CHUNKED), chunks(body)[:-5]).end()
        refused(wire.answer(), 400, "malformed-request")
        assert order_count() == before

    def test_takes_no_step(self, server, wire, body):
        wire.send(server.head("POST", ORDERS, JSON, f"Content-Length: {len(body)}"), body)
        order_id = wire.answer().json()["id"]
        for sent in (b"", b"{}", b'{"at":'):
            with server.wire() as other:
                head = server.head("POST", f"{ORDERS}/{order_id}/arrive", "Content-Length: 40")
                other.send(head, sent).end()
                assert other.answer().status in {400, 415}
        assert Order.objects.get(pk=order_id).status == Status.PLANNED

    def test_is_followed_by_nothing_that_counts(self, server, wire, body):
        """A length that is too short makes a request of the rest, and that is none."""
        before = order_count()
        head = server.head("POST", ORDERS, JSON, f"Content-Length: {len(body) - 40}")
        wire.send(head, body, "\r\n\r\n")
        refused(wire.answer(), 400, "malformed-request")
        refused_by_gunicorn(wire, wire.answer())
        assert order_count() == before


class TestTheLengthOfABody:
    @pytest.mark.parametrize(
        "headers",
        [
            *[
                [f"Content-Length: {length}"]
                for length in ("-5", "+32", "abc", "1_0", "0x20", "", "2 2")
            ],
            [f"Content-Length: {'9' * 5_000}"],
            ["Content-Length: 2", "Content-Length: 3"],
            ["Content-Length: 2", "Content-Length: 2"],
            ["Content-Length: 2, 2"],
            ["Content-Length: 2", CHUNKED],
            [CHUNKED, CHUNKED],
            ["Transfer-Encoding: chunked, identity"],
            ["Transfer-Encoding: gzip"],
            ["Transfer-Encoding : chunked"],
            ["Transfer-Encoding: \x0bchunked"],
        ],
        ids=lambda headers: "+".join(headers)[:40],
    )
    def test_is_refused_unless_it_is_one_number(self, server, wire, headers):
        before = order_count()
        wire.send(server.head("POST", ORDERS, JSON, *headers), b"{}")
        answer = wire.answer()
        refused_by_gunicorn(wire, answer, 501 if answer.status == 501 else 400)
        assert order_count() == before

    def test_hides_no_second_request(self, server, wire, body):
        """The bytes behind a body are one request of their own, the bytes inside it none."""
        inner = server.head("DELETE", f"{ORDERS}/{uuid4()}").encode()
        outer = f"outer-{uuid4().hex}"
        head = server.head(
            "POST", ORDERS, JSON, f"Content-Length: {len(inner)}", f"X-Request-ID: {outer}"
        )
        before = len(server.lines())
        wire.send(head, inner)
        refused(wire.answer(), 400, "malformed-request")
        written = [line for line in server.lines()[before:] if line["event"] == "request"]
        assert [line["request_id"] for line in written] == [outer]


class TestHeaders:
    @pytest.mark.parametrize(
        ("headers", "status"),
        [
            (["X-A: b"] * 101, 431),
            (["X-A: " + "b" * 9_000], 431),
            (["X-A: " + "b" * 8_000] * 40, 431),
            (["X-A: a\x00b"], 400),
            (["X-A: a\x0bb"], 400),
            (["X-A: a\rb"], 400),
            (["X-A: a\nX-B: c"], 400),
            (["X-A: a", " folded"], 400),
            (["X A: b"], 400),
            ([": b"], 400),
            (["X-A"], 400),
        ],
        ids=lambda value: str(value)[:24],
    )
    def test_are_refused_if_they_are_too_many_too_long_or_none(self, server, wire, headers, status):
        wire.send(server.head("GET", ORDERS, *headers))
        refused_by_gunicorn(wire, wire.answer(), status)

    def test_are_not_believed_with_an_underscore(self, server, wire):
        wire.send(server.head("GET", ORDERS, "X_Request_ID: forged"))
        assert wire.answer().headers["x-request-id"] != "forged"
        head = f"GET {ORDERS} HTTP/1.1\r\nHost: localhost\r\nAuthorization_: Bearer x\r\n\r\n"
        wire.send(head.replace("Authorization_", "Authorization\x5f"))
        assert wire.answer().status == 401

    @pytest.mark.parametrize(
        "header",
        [
            "Accept: " + "," * 2_000,
            "Accept: " + "a/b;q=0.1," * 800,
            "Accept: " + ";" * 2_000,
            "Accept-Language: " + "xx-yy," * 1_300,
            "Accept-Language: " + "a" * 500,
            "Accept-Encoding: " + "gzip;q=0.1," * 700,
            "If-None-Match: " + '"v1",' * 1_500,
            "If-Match: " + "W/" * 3_000,
            "Cookie: " + "a=b;" * 1_900,
            "Cookie: sessionid=" + "x" * 7_000,
            "X-Request-ID: " + "x" * 7_000,
            "User-Agent: " + "\x1b[31m" * 500,
        ],
        ids=lambda header: header[:24],
    )
    def test_of_great_length_cost_no_time(self, server, wire, header):
        began = time.perf_counter()
        wire.send(server.head("GET", f"{ORDERS}/{uuid4()}", header))
        answer = wire.answer()
        assert answer.status in {400, 404, 406}
        assert time.perf_counter() - began < 5

    def test_may_come_a_hundred_times(self, server, wire):
        for name in ("Accept", "X-Forwarded-For", "If-Match", "Cookie"):
            wire.send(server.head("GET", f"{ORDERS}/{uuid4()}", *[f"{name}: a/b"] * 97))
            assert wire.answer().status in {404, 406}

    def test_that_name_who_is_calling_are_not_added_up(self, server, wire):
        wire.send(server.head("GET", ORDERS, f"Authorization: Bearer {server.token}"))
        refused(wire.answer(), 401, "not-authenticated")

    @pytest.mark.parametrize(
        "value", ["Basic YTpi", "Bearer", "Bearer \xff\xfe", "Bearer a b", "x"]
    )
    def test_that_name_nobody_are_refused(self, wire, value):
        wire.send(f"GET {ORDERS} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {value}\r\n\r\n")
        answer = wire.answer()
        refused(answer, 401, "not-authenticated")
        assert answer.headers["www-authenticate"].startswith("Bearer")

    def test_name_nobody_in_the_address(self, server, wire):
        wire.send(f"GET {ORDERS}?access_token={server.token} HTTP/1.1\r\nHost: localhost\r\n\r\n")
        refused(wire.answer(), 401, "not-authenticated")


class TestTheHost:
    def ask(self, wire, *hosts: str, path: str = "/api/v1/health"):
        lines = [f"GET {path} HTTP/1.1", *(f"Host: {host}" for host in hosts), "", ""]
        return wire.send("\r\n".join(lines)).answer()

    @pytest.mark.parametrize(
        "host", ["localhost", "LOCALHOST", "localhost:1", "127.0.0.1", "[::1]"]
    )
    def test_may_be_written_in_each_of_its_ways(self, wire, host):
        assert self.ask(wire, host).status == 200

    @pytest.mark.parametrize(
        "host",
        [
            *(
                "evil.example",
                "evil.example:80",
                "localhost.evil.example",
                "localhost@evil.example",
            ),
            *("localhost, evil.example", "localhost:80:80", "localhost/evil", "", "a" * 5_000),
            "\xe9vil.example",
        ],
    )
    def test_is_refused_if_it_is_not_ours(self, wire, host):
        for path in ("/api/v1/health", ORDERS, "/api/v1/nothing"):
            refused(self.ask(wire, host, path=path), 400, "malformed-request")

    def test_is_refused_if_it_is_missing_or_there_twice(self, server):
        for hosts in ([], ["localhost", "evil.example"], ["localhost", "localhost"]):
            with server.wire() as other:
                refused_by_gunicorn(other, self.ask(other, *hosts))

    def test_may_be_missing_in_the_old_protocol(self, wire):
        """A balancer's plainest probe."""
        assert wire.send("GET /health HTTP/1.0\r\n\r\n").answer().status == 200

    @pytest.mark.parametrize(
        "header",
        [
            "X-Forwarded-Host: evil.example",
            "X-Forwarded-For: 203.0.113.7",
            "X-Forwarded-Proto: https",
            "X-Real-IP: 203.0.113.7",
            "Forwarded: host=evil.example;proto=https",
            "X-Original-URL: /api/v1/health",
            "X-Rewrite-URL: /api/v1/health",
            "X-HTTP-Method-Override: DELETE",
        ],
    )
    def test_is_not_what_a_client_says_of_a_proxy(self, server, wire, body, header):
        length = f"Content-Length: {len(body)}"
        wire.send(server.head("POST", ORDERS, JSON, length, header), body)
        assert wire.answer().headers["location"].startswith(f"{ORDERS}/")
        other = body.replace(json.loads(body)["reference"].encode(), uuid4().hex.encode())
        wire.send(server.head("POST", ORDERS, JSON, length, header), other)
        assert wire.answer().status == 201
        wire.send(server.head("GET", f"{ORDERS}?per_page=1", header))
        answer = wire.answer()
        assert answer.json()["next"].startswith(f"{ORDERS}?")
        assert b"evil" not in answer.body
        assert not any("evil" in value for value in answer.headers.values())

    def test_of_an_absolute_address_shows_nowhere(self, server, wire):
        wire.send(server.head("GET", f"http://evil.example{ORDERS}?per_page=1"))
        assert b"evil" not in wire.answer().body


class TestTheRequestLine:
    @pytest.mark.parametrize(
        "path",
        [
            *(f"{ORDERS}%", f"{ORDERS}%zz", f"{ORDERS}%00", f"{ORDERS}/%00", "/api/v1/./orders"),
            *("/api/v1/%2e%2e/v1/orders", "/api/v1/../v1/orders", "/api/v1//orders", "/api/v1/%ff"),
            *(
                f"{ORDERS}/..%2f..%2fetc%2fpasswd",
                f"{ORDERS}/..%5c..",
                "/api/v1/%0d%0aSet-Cookie:x",
            ),
        ],
    )
    def test_finds_nothing_beside_the_addresses_there_are(self, server, wire, path):
        wire.send(server.head("GET", path))
        refused(wire.answer(), 404, "not-found")

    @pytest.mark.parametrize(
        "line",
        [
            f"GET {ORDERS}?q=\xc3\xb8 HTTP/1.1",  # UTF-8 as it stands
            f"GET {ORDERS}?q=\xff HTTP/1.1",
            "GET /api/v1/\xff HTTP/1.1",
            f"GET {ORDERS}?q=a b HTTP/1.1",
            f"GET {ORDERS} HTTP/9.9",
            f"GET {ORDERS} HTTQ/1.1",
            f"GET {ORDERS}",
            f"GET\t{ORDERS} HTTP/1.1",
            "GET * HTTP/1.1",
            f"GET {ORDERS[1:]} HTTP/1.1",
            f"get {ORDERS} HTTP/1.1",
            f"G@T {ORDERS} HTTP/1.1",
            "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS at the wrong door
        ],
    )
    def test_is_refused_if_it_is_none(self, wire, line):
        wire.send(f"{line}\r\nHost: localhost\r\n\r\n").end()
        refused_by_gunicorn(wire, wire.answer())

    def test_is_refused_if_its_ends_are_not_what_they_should_be(self, server, wire):
        wire.send(server.head("GET", ORDERS).replace("\r\n", "\n")).end()
        refused_by_gunicorn(wire, wire.answer())

    def test_is_refused_if_it_is_too_long(self, server, wire):
        wire.send(server.head("GET", f"{ORDERS}?q={'a' * 4_100}"))
        refused_by_gunicorn(wire, wire.answer(), 414)

    @pytest.mark.parametrize("method", ["TRACE", "FOO", "CONNECT", "OPTIONS", "PROPFIND"])
    def test_with_a_strange_method_is_told_which_there_are(self, server, wire, method):
        wire.send(server.head(method, ORDERS))
        answer = wire.answer()
        refused(answer, 405, "method-not-allowed")
        assert answer.headers["allow"] == "GET, HEAD, POST"

    @pytest.mark.parametrize("line", ["OPTIONS *", "CONNECT localhost:443"])
    def test_without_a_path_finds_nothing(self, server, wire, line):
        answer = wire.send(server.head(*line.split())).answer()
        assert answer.status == 404
        assert answer.headers["x-request-id"]

    def test_with_raw_bytes_in_its_query_is_never_read_as_something_else(self, server, wire):
        for query in ("q=%ff%fe", "q=%c3%28", "q=%00", "%ff=1"):
            wire.send(server.head("GET", f"{ORDERS}?{query}"))
            refused(wire.answer(), 422, "validation-error")


class TestABodyLongerThanItSays:
    def test_is_no_next_request_and_never_logged(self, server, wire):
        raw = b'{"username": "ada", "password": "hunter2 is /secret HTTP/1.1"}\r\n\r\n'
        wire.send(server.head("POST", "/api/v1/auth/token", JSON, "Content-Length: 2"), raw)
        refused(wire.answer(), 400, "malformed-request")
        refused_by_gunicorn(wire, wire.answer())
        assert "hunter2" not in server.log.read_text()


class TestTheConnection:
    def test_serves_one_request_after_the_other(self, server, wire, body):
        """Refusals leave no bytes behind that the next answer could be taken for."""
        for _ in range(3):
            for head, sent in (
                (server.head("GET", ORDERS), b""),
                (server.head("POST", ORDERS, JSON, "Content-Length: 2"), b"[]"),
                (server.head("POST", ORDERS, "Content-Length: 5"), b"<xml>"),
                (server.head("HEAD", f"{ORDERS}/{uuid4()}"), b""),
                (server.head("GET", f"{ORDERS}?x=1"), b""),
            ):
                wire.send(head, sent)
                assert not wire.answer(has_body=not head.startswith("HEAD")).closes
        wire.send(server.head("POST", ORDERS, JSON, f"Content-Length: {len(body)}"), body)
        assert wire.answer().status == 201

    def test_may_carry_two_requests_at_once(self, server, wire):
        wire.send(server.head("GET", "/health"), server.head("GET", ORDERS))
        assert wire.answer().json()["status"] == "ok"
        assert "data" in wire.answer().json()
