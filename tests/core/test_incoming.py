"""Requests as they come in, in whatever pieces: `core.serving.incoming`."""

import pytest

from core.serving import incoming
from core.serving.incoming import MAX_HEAD, MAX_IN_MEMORY, MAX_ON_DISK, Incoming

GET = b"GET /api/v1/orders?q=1 HTTP/1.1\r\nHost: localhost\r\n\r\n"
NEXT = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"


def post(*headers: str, body: bytes = b"") -> bytes:
    lines = ["POST /api/v1/orders HTTP/1.1", "Host: localhost", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def length(number: int | str) -> str:
    return f"Content-Length: {number}"


CHUNKED = "Transfer-Encoding: chunked"
WHOLE = {
    "without a body": GET,
    "after an empty line": b"\r\n" + GET,
    "with a body": post(length(4), body=b"ab\r\n"),
    "with an empty body": post(length(0)),
    "in chunks": post(CHUNKED, body=b"3\r\nabc\r\n2;x=y\r\n\r\n\r\n0\r\n\r\n"),
    "in chunks with trailers": post(CHUNKED, body=b"A\r\n0123456789\r\n0\r\nX-A: b\r\n\r\n"),
    "of files": post("Content-Type: Multipart/form-data; boundary=x", length(5), body=b"12345"),
}


class TestARequest:
    @pytest.mark.parametrize("raw", WHOLE.values(), ids=WHOLE)
    @pytest.mark.parametrize("piece", [1, 7, 1_000])
    def test_is_whole_at_its_last_byte_and_leaves_the_next_alone(self, raw, piece):
        request, rest = Incoming(), b""
        pieces = [raw[at : at + piece] for at in range(0, len(raw), piece)]
        for each in pieces:
            assert not request.is_ready
            rest = request.feed(each)
        assert (request.is_ready, request.is_whole, rest) == (True, True, b"")
        assert b"".join(request.pieces()) == raw.removeprefix(b"\r\n")

        both = Incoming()
        assert both.feed(raw + NEXT) == NEXT
        assert b"".join(both.pieces()) == raw.removeprefix(b"\r\n")

    @pytest.mark.parametrize(
        "raw",
        [
            b"GET / HTTP/1.1\nHost: localhost\r\n",
            b"GET /" + b"a" * 5_000,
            b"GET / HTTP/1.1\r\n" + b"X-A: b\r\n" * (MAX_HEAD // 8),
            post(length("1e3")),
            post(length(-1)),
            post(length(5), length(5)),
            post(length(5), CHUNKED),
            post("Transfer-Encoding: gzip"),
            post(length(MAX_IN_MEMORY + 1)),
            post("Content-Type: multipart/form-data", length(MAX_ON_DISK + 1)),
            post(CHUNKED, body=b"zz\r\n"),
            post(CHUNKED, body=b"-1\r\n"),
            post(CHUNKED, body=b"1\r\nabc"),
            post(CHUNKED, body=b"1" * 9_000),
            post(CHUNKED, body=b"fffffff\r\n" + b" " * (MAX_IN_MEMORY + 1)),
            post(CHUNKED, body=b"1\r\na\r\n" * (MAX_IN_MEMORY + 1)),
        ],
        ids=lambda raw: raw[16:60].decode(),
    )
    def test_that_can_never_be_one_is_ready_at_once_to_be_refused(self, raw):
        request = Incoming()
        request.feed(raw)
        assert (request.is_ready, request.is_whole) == (True, False)

    def test_of_files_waits_on_the_disk(self):
        request, size = Incoming(), MAX_IN_MEMORY + 10
        head = post("Content-Type: multipart/form-data; boundary=x", length(size))
        request.feed(head + b"a" * 10)
        for _ in range(16):
            assert not request.is_ready
            rest = request.feed(b"b" * 65_536)
        assert (request.is_whole, rest) == (True, b"")
        assert request._file is not None
        assert request._bytes == head  # nothing of it is kept in memory
        assert b"".join(request.pieces()) == head + b"a" * 10 + b"b" * MAX_IN_MEMORY
        request.close()
        assert request._file.closed

    def test_of_files_leaves_the_next_alone_too(self):
        request, size = Incoming(), MAX_IN_MEMORY + 1
        request.feed(post("Content-Type: multipart/form-data", length(size)))
        assert request.feed(b"a" * size + NEXT) == NEXT
        assert b"".join(request.pieces()).endswith(b"\r\n\r\n" + b"a" * size)
        request.close()

    def test_may_wait_for_the_word_to_go_on(self):
        request = Incoming()
        request.feed(post(length(5), "Expect: 100-Continue"))
        assert request.wants_go_on
        assert not request.is_ready

    @pytest.mark.parametrize(
        ("raw", "path"),
        [
            (GET, "/api/v1/orders"),
            (b'{"password":"a b c"}\r\n', ""),
            (b'"secret" /x HTTP/1.1\r\n', ""),
            (b"\x16\x03\x01\r\n", ""),
        ],
    )
    def test_tells_of_its_path_only_if_it_is_one(self, raw, path):
        """What follows a body with too short a length is a piece of that body."""
        request = Incoming()
        request.feed(raw)
        assert request.path == path

    @pytest.mark.parametrize(
        ("target", "is_probe"),
        [
            *(
                (f"{prefix}/health{path}", True)
                for prefix in ("", "/api/v1")
                for path in ("", "/live")
            ),
            ("/health/ready?x=1", True),
            ("/metrics", True),
            ("/healthy", False),
            ("/api/v1/orders", False),
            ("/x/health", False),
        ],
    )
    def test_may_ask_after_our_health(self, target, is_probe):
        request = Incoming()
        request.feed(f"GET {target} HTTP/1.1\r\n\r\n".encode())
        assert request.is_probe is is_probe

    def test_is_read_in_a_time_that_grows_with_its_length(self, monkeypatch):
        """A head that comes byte by byte is not searched from its beginning each time."""
        searched = []

        class Spy(bytearray):
            def find(self, what, start=0, *rest):
                if what == b"\r\n\r\n":
                    searched.append(len(self) - start)
                return super().find(what, start, *rest)

        monkeypatch.setattr(incoming, "bytearray", Spy, raising=False)
        request = Incoming()
        for number in range(2_000):
            request.feed(GET[number : number + 1] if number < 20 else b"a")
        assert max(searched) <= 4
