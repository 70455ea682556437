"""One request as its bytes come in, until it is whole.

It is not judged here: gunicorn's parser does that, from the bytes of this one request. What can
never become a request counts as ready, so that the parser refuses it at once.
"""

import re
import tempfile
from collections.abc import Iterator
from functools import partial
from typing import IO

MAX_LINE = 4_094  # gunicorn's limit_request_line
MAX_HEAD = 131_072
MAX_CHUNK_LINE = 8_190
MAX_IN_MEMORY = 1_048_576  # of a body; as much as a JSON body may have
MAX_CHUNKED = 4 * MAX_IN_MEMORY  # with the lines between the chunks
MAX_ON_DISK = 33_554_432  # of a body of files
MAX_CHUNKED_FILES = 11 * MAX_IN_MEMORY  # of one that comes in chunks: one file of ten, and its form
PIECE = 65_536

_HEX = re.compile(rb"[0-9A-Fa-f]{1,15}")
_LONE_LF = re.compile(rb"(?<!\r)\n")
# Strict, for what follows a body with too short a length is a piece of that body.
_REQUEST_LINE = re.compile(rb"[A-Z]{3,7} (/[^ ?]{0,2000})[^ \r\n]* HTTP/1\.[01]\r\n")
# What every server and proxy reads alike; of others some may see a length where we see none.
_PLAIN_HEAD = re.compile(
    rb"[A-Z]{3,7} /[!-~]* HTTP/1\.1\r\n(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\0\r\n]*\r\n)*\r\n"
)
_PROBE = re.compile(rb"(?:GET|HEAD) (?:(?:/api/v1)?/health(?:/[a-z]*)?|/metrics)(?:\?\S*)? ")


class Incoming:
    """The bytes of one request; `feed` says whether more of them are wanted.

    A body up to 1 MiB is kept in memory, one of files up to 32 MiB in a file without a name. A
    larger one is ready as soon as its head is: it is refused by its length alone.
    """

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._file: IO[bytes] | None = None
        self._received = 0
        self._head_end = 0  # 0: not yet seen
        self._next_chunk: int | None = None  # where its line begins
        self._chunks_size = 0  # of those before it
        self._room = MAX_IN_MEMORY  # for all of them
        self._length: int | None = None  # of head and body
        self.is_ready = False
        self.is_whole = False  # ready, with every byte that belongs to it
        self.wants_go_on = False  # the client waits for "100 Continue" before it sends the body
        self.is_last = False  # the client wants no more of this connection

    def __len__(self) -> int:
        return self._received

    @property
    def weight(self) -> int:
        """The bytes of memory that it holds; a byte on disk weighs an eighth."""
        return len(self._bytes) + (self._received // 8 if self._file is not None else 0)

    @property
    def is_endless(self) -> bool:
        """Whether it was given up while its head was still coming in."""
        return not self._head_end and self._received > MAX_HEAD

    @property
    def path(self) -> str:
        """The path as it was sent, without the query; empty where it is no request."""
        line = _REQUEST_LINE.match(self._bytes)
        return line[1].decode("latin-1") if line else ""

    @property
    def method(self) -> str:
        """`GET` or the like; empty where it is no request."""
        line = _REQUEST_LINE.match(self._bytes)
        return line[0].partition(b" ")[0].decode("latin-1") if line else ""

    @property
    def is_probe(self) -> bool:
        """Whether it asks after our health, which must be answered when all else is busy."""
        return _PROBE.match(self._bytes) is not None

    @property
    def is_plain(self) -> bool:
        """Whether its head is beyond doubt, and its body, if any, has a length."""
        head = _PLAIN_HEAD.fullmatch(self._bytes, 0, self._head_end)
        return head is not None and self._next_chunk is None

    def feed(self, data: bytes) -> bytes:
        """Take `data` in; returns what of it belongs to the next request.

        Raises:
            OSError: the disk is full.
        """
        seen = max(0, self._received - 3)
        self._received += len(data)
        if self._file is not None:
            self._file.write(data)
        else:
            self._bytes += data
        if not self._head_end:
            self._read_head(seen)
        elif self._next_chunk is not None:
            self._read_chunks()
        return self._judge()

    def pieces(self) -> Iterator[bytes]:
        """Head and body, to be read once."""
        if self._file is None:
            head = self._head_end or self._received
            yield bytes(self._bytes[:head])
            yield bytes(self._bytes[head:])
        else:
            self._file.seek(0)
            yield self._file.read(self._head_end)
            yield from iter(partial(self._file.read, PIECE), b"")

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _judge(self) -> bytes:
        if self._length is None or self._received < self._length:
            return b""
        self.is_ready = self.is_whole = True
        if self._file is not None:
            surplus = self._received - self._length
            self._file.seek(self._length)
            rest = self._file.read(surplus)
            self._file.truncate(self._length)
        else:
            rest = bytes(self._bytes[self._length :])
            del self._bytes[self._length :]
        self._received = self._length
        return rest

    def _read_head(self, seen: int) -> None:
        if self._bytes.startswith(b"\r\n"):  # one empty line before the request is passed over
            del self._bytes[:2]
            self._received -= 2
            seen = 0
        end = self._bytes.find(b"\r\n\r\n", seen)
        if end < 0:
            too_long = self._received > MAX_HEAD or self._bytes.find(b"\r\n", 0, MAX_LINE + 2) < 0
            hopeless = too_long and self._received > MAX_LINE + 2
            self.is_ready = hopeless or _LONE_LF.search(self._bytes, seen) is not None
            return
        self._head_end = end + 4
        self._read_framing(bytes(self._bytes[:end]).lower())

    def _read_framing(self, head: bytes) -> None:
        fields: dict[bytes, list[bytes]] = {}
        for line in head.split(b"\r\n")[1:]:
            name, _, value = line.partition(b":")
            fields.setdefault(name, []).append(value.strip(b" \t"))
        codings = fields.get(b"transfer-encoding", [])
        lengths = fields.get(b"content-length", [])
        self.wants_go_on = fields.get(b"expect") == [b"100-continue"]
        of_1_0 = head.partition(b"\r\n")[0].endswith(b"http/1.0")
        self.is_last = of_1_0 or b"close" in b",".join(fields.get(b"connection", []))
        if codings == [b"chunked"] and not lengths:
            self._next_chunk = self._head_end
            self._room = MAX_CHUNKED_FILES if _is_of_files(fields) else MAX_IN_MEMORY
            self._read_chunks()
        elif not codings and not lengths:
            self._length = self._head_end
        elif len(lengths) == 1 and not codings and lengths[0].isdigit() and len(lengths[0]) < 16:
            self._expect(int(lengths[0]), of_files=_is_of_files(fields))
        else:
            self.is_ready = True

    def _expect(self, length: int, *, of_files: bool) -> None:
        if length > (MAX_ON_DISK if of_files else MAX_IN_MEMORY):
            self.is_ready = True
            return
        self._length = self._head_end + length
        if length > MAX_IN_MEMORY:
            self._file = tempfile.TemporaryFile(prefix="dockside-")  # noqa: SIM115 — see `close`
            self._file.write(self._bytes)
            del self._bytes[self._head_end :]  # the head stays, for `path`

    def _read_chunks(self) -> None:
        """Look for the end of the last chunk and its trailers; what is wrong is ready at once."""
        assert self._next_chunk is not None
        while True:
            begin = self._next_chunk
            end = self._bytes.find(b"\r\n", begin)
            if end < 0:
                self.is_ready = self._received - begin > MAX_CHUNK_LINE
                return
            size = bytes(self._bytes[begin:end]).partition(b";")[0].rstrip(b" \t")
            if not _HEX.fullmatch(size):
                self.is_ready = True
                return
            if int(size, 16) == 0:
                self._read_trailers(end)
                return
            following = end + 2 + int(size, 16) + 2
            body = self._chunks_size + min(self._received - end - 2, int(size, 16))
            received = self._received - self._head_end
            if body > self._room or received > max(MAX_CHUNKED, 2 * self._room):
                self.is_ready = True
                return
            if self._received < following:
                return
            if self._bytes[following - 2 : following] != b"\r\n":
                self.is_ready = True
                return
            self._next_chunk = following
            self._chunks_size = body

    def _read_trailers(self, end: int) -> None:
        if self._bytes[end + 2 : end + 4] == b"\r\n":
            self._length = end + 4
        elif (last := self._bytes.find(b"\r\n\r\n", end)) >= 0:
            self._length = last + 4
        elif self._received - end > MAX_HEAD:
            self.is_ready = True


def _is_of_files(fields: dict[bytes, list[bytes]]) -> bool:
    return any(each.startswith(b"multipart/") for each in fields.get(b"content-type", []))
