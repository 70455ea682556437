"""Forms with files (`multipart/form-data`), taken in piece by piece: memory stays flat.

Files go to nameless temporary files, which end with the process however it ends. Limits count while
the body comes: what is too large is not read to its end. Whatever is not written as RFC 7578 has it
is refused, also a body that ends before its last boundary.
"""

import binascii
import hashlib
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO, Any

import structlog
from django.conf import settings
from django.http import HttpRequest
from django.http.request import UnreadablePostError
from multipart import (
    MultipartError,
    MultipartSegment,
    ParserLimitReached,
    PushMultipartParser,
    parse_options_header,
)
from rest_framework.exceptions import ParseError, UnsupportedMediaType

from core.api.errors import BodyTooLarge
from core.errors import FieldError, RuleBroken, Unavailable

log = structlog.stdlib.get_logger("core.uploads")

MEDIA_TYPE = "multipart/form-data"
MAX_FIELD_BYTES = 4_096
MAX_FIELDS = 20
PIECE = 65_536


@dataclass
class ReceivedFile:
    """A file of a form: what it was called, and its bytes, counted and hashed."""

    name: str
    file: IO[bytes]
    size: int = 0
    _digest: Any = field(default_factory=hashlib.sha256)

    @property
    def sha256(self) -> str:
        return str(self._digest.hexdigest())

    def write(self, piece: bytes) -> None:
        self.file.write(piece)
        self.size += len(piece)
        self._digest.update(piece)


@dataclass
class Form:
    """What came: the texts and the files, each by the name of its part."""

    texts: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    files: dict[str, list[ReceivedFile]] = field(default_factory=lambda: defaultdict(list))

    def close(self) -> None:
        for files in self.files.values():
            for each in files:
                each.file.close()

    def refuse_unknown(self, *, texts: set[str], files: set[str]) -> None:
        """Refuse parts of other names, texts in place of files and the other way round.

        Raises:
            RuleBroken: naming each of them.
        """
        wrong = [
            FieldError(name, "not-a-file", "This is a file, with a name.")
            if name in files
            else FieldError(name, "unknown-field", "There is no such field.")
            for name in self.texts
            if name not in texts
        ]
        wrong += [
            FieldError(name, "not-a-text", "This is a text, not a file.")
            if name in texts
            else FieldError(name, "unknown-field", "There is no such field.")
            for name in self.files
            if name not in files
        ]
        wrong += [
            FieldError(name, "repeated", "Given more than once.")
            for name, given in self.texts.items()
            if name in texts and len(given) > 1
        ]
        if wrong:
            raise RuleBroken(wrong)


@contextmanager
def received(request: HttpRequest, *, max_file_bytes: int, max_files: int) -> Iterator[Form]:
    """The form that the body is, read to its end; its files are gone after the block.

    Raises:
        UnsupportedMediaType: it is no such form.
        BodyTooLarge: the body, or a file in it.
        ParseError: it is broken, or has too many parts.
        Unavailable: there is no room for temporary files.
    """
    form = Form()
    try:
        _read(request, form, max_file_bytes=max_file_bytes, max_files=max_files)
        yield form
    finally:
        form.close()


def _read(request: HttpRequest, form: Form, *, max_file_bytes: int, max_files: int) -> None:
    media_type, options = parse_options_header(request.META.get("CONTENT_TYPE", ""))
    if media_type != MEDIA_TYPE or options.get("charset", "utf-8").lower() not in {"utf-8", "utf8"}:
        raise UnsupportedMediaType(media_type)
    if request.META.get("HTTP_CONTENT_ENCODING", "identity").lower() != "identity":
        raise UnsupportedMediaType(media_type, "Bodies are not compressed.")
    body = _Body(request)
    current: _Part | None = None
    try:
        # Not its strict mode, which has no room for a line end that comes behind the last boundary.
        parser = PushMultipartParser(
            options.get("boundary", ""), max_segment_count=MAX_FIELDS + max_files
        )
        for event in parser.parse_blocking(body.read, PIECE):
            if isinstance(event, MultipartSegment):
                current = _Part(event, form, max_file_bytes, max_files)
            elif current is not None:
                current.take(event)
    except ParserLimitReached:
        raise ParseError("The form has too many parts, or too long headers.") from None
    except MultipartError:
        raise ParseError("The body is not multipart/form-data as RFC 7578 has it.") from None
    if body.is_cut:
        raise ParseError("The body is shorter than its Content-Length.")


class _Body:
    """The raw body, counted: no more of it than was declared, and than may be."""

    def __init__(self, request: HttpRequest) -> None:
        environ = request.META
        self._source = environ["wsgi.input"]
        is_chunked = "chunked" in environ.get("HTTP_TRANSFER_ENCODING", "").lower()
        self._left = None if is_chunked else int(environ.get("CONTENT_LENGTH") or 0)
        self._room: int = settings.MAX_UPLOAD_BYTES
        if (self._left or 0) > self._room:
            raise BodyTooLarge(self._room)

    def read(self, size: int) -> bytes:
        wanted = size if self._left is None else min(size, self._left)
        try:
            piece: bytes = self._source.read(wanted) if wanted else b""
        except Exception as error:  # each server has exceptions of its own
            raise UnreadablePostError(*error.args) from error
        if self._left is not None:
            self._left -= len(piece)
        self._room -= len(piece)
        if self._room < 0:
            raise BodyTooLarge(settings.MAX_UPLOAD_BYTES)
        return piece

    @property
    def is_cut(self) -> bool:
        """Whether less has come than was declared, once it has been read to its end."""
        return bool(self._left)


class _Part:
    """One part of the form, while it comes."""

    def __init__(
        self, segment: MultipartSegment, form: Form, max_file_bytes: int, max_files: int
    ) -> None:
        self._form, self._name, self._limit = form, segment.name, max_file_bytes
        if not self._name:
            raise ParseError("A part of the form has no name.")
        self._text = bytearray()
        self._file: ReceivedFile | None = None
        self._decode = _decoder(segment.header("Content-Transfer-Encoding", "binary"))
        if segment.filename is None:
            return
        if sum(map(len, form.files.values())) == max_files:
            raise ParseError(f"At most {max_files} files at once.")
        with _room_for_files():
            self._file = ReceivedFile(segment.filename, tempfile.TemporaryFile(dir=_directory()))  # noqa: SIM115
        form.files[self._name].append(self._file)

    def take(self, piece: bytes | None) -> None:
        """A piece of the part; None is its end."""
        plain = self._decode(piece)
        if self._file is not None:
            with _room_for_files():
                self._file.write(plain)
                if piece is None:
                    self._file.file.flush()
            if self._file.size > self._limit:
                raise BodyTooLarge(self._limit, "A file")
            return
        self._text += plain
        if len(self._text) > MAX_FIELD_BYTES:
            raise BodyTooLarge(MAX_FIELD_BYTES, f"The field {self._name[:100]}")
        if piece is None:
            try:
                self._form.texts[self._name].append(self._text.decode())
            except UnicodeDecodeError:
                raise ParseError("The form is not in UTF-8.") from None


def _decoder(encoding: str | None) -> Any:
    encoding = (encoding or "").strip().lower()
    if encoding in {"", "binary", "8bit", "7bit"}:
        return lambda piece: piece or b""
    if encoding == "base64":
        return _Base64().decode
    raise ParseError("Parts come as they are, or in base64.")


class _Base64:
    """base64, piece by piece; line ends and spaces mean nothing."""

    def __init__(self) -> None:
        self._waiting = b""

    def decode(self, piece: bytes | None) -> bytes:
        if piece is None:
            if self._waiting:
                raise ParseError("The base64 of a part is broken.")
            return b""
        waiting = self._waiting + piece.translate(None, b" \t\r\n")
        whole = len(waiting) - len(waiting) % 4
        self._waiting = waiting[whole:]
        try:
            return binascii.a2b_base64(waiting[:whole], strict_mode=bool(whole))
        except binascii.Error:
            raise ParseError("The base64 of a part is broken.") from None


def _directory() -> str:
    directory = settings.UPLOAD_DIR
    directory.mkdir(mode=0o750, parents=True, exist_ok=True)
    return str(directory)


@contextmanager
def _room_for_files() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        log.error("no_room_for_uploads", kind=type(error).__name__, number=error.errno)
        raise Unavailable("There is no room to take files in; try again later.") from None
