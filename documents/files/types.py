"""Which files are taken: by what they are, which their names have to agree with."""

from dataclasses import dataclass
from functools import cache
from typing import Any

import pylibmagic  # noqa: F401 - brings libmagic along, and has to come first

import magic  # isort: skip

from documents.errors import WrongContent
from documents.files.names import extension

HEAD_BYTES = 262_144  # of which libmagic judges
TELLING_BYTES = 4

_OOXML = "application/vnd.openxmlformats-officedocument"
_TEXTS = frozenset({"text/plain", "text/csv", "application/csv", "application/json"})
# libmagic knows a container by its first entry, and office programs do not agree on that.
_ZIPS = frozenset({"application/zip", "application/octet-stream"})


@dataclass(frozen=True)
class FileType:
    """A kind of file that is taken; `judged_as` is how `documents.files.judge` looks at it."""

    content_type: str
    extensions: tuple[str, ...]
    judged_as: str
    sniffed: frozenset[str] = frozenset()
    begins: bytes = b""  # where libmagic would take what only contains it

    def is_content_of(self, head: bytes, sniffed: str) -> bool:
        """Whether a file with this head, which libmagic calls `sniffed`, is of this kind."""
        if self.judged_as == "text" and len(head) < TELLING_BYTES:
            return True
        fits = sniffed == self.content_type or sniffed in self.sniffed
        return fits and head.startswith(self.begins)


PDF = FileType("application/pdf", ("pdf",), "pdf", begins=b"%PDF-")
TYPES = (
    PDF,
    FileType("image/png", ("png",), "picture"),
    FileType("image/jpeg", ("jpg", "jpeg"), "picture"),
    FileType("image/tiff", ("tif", "tiff"), "picture"),
    FileType("image/heic", ("heic", "heif"), "picture", frozenset({"image/heif"})),
    FileType("image/webp", ("webp",), "picture"),
    FileType(f"{_OOXML}.spreadsheetml.sheet", ("xlsx",), "container", _ZIPS),
    FileType(f"{_OOXML}.wordprocessingml.document", ("docx",), "container", _ZIPS),
    FileType("text/csv", ("csv",), "text", _TEXTS),
    FileType("text/plain", ("txt",), "text", _TEXTS),
)
BY_EXTENSION = {suffix: each for each in TYPES for suffix in each.extensions}
CONTENT_TYPES = [each.content_type for each in TYPES]


def type_of(name: str, head: bytes) -> FileType:
    """What a file is, by its clean name and its first bytes.

    Raises:
        WrongContent: it is none of the kinds that are taken, or not what its name says.
    """
    suffix = extension(name)
    wanted = BY_EXTENSION.get(suffix)
    sniffed = str(_magic().from_buffer(head))
    if wanted is None:
        allowed = ", ".join(f".{each}" for each in BY_EXTENSION)
        raise WrongContent(
            f"A name that ends in {'.' + suffix if suffix else 'nothing'} is not taken,"
            f" only {allowed}; the content is {sniffed}."
        )
    if not wanted.is_content_of(head, sniffed):
        raise WrongContent(f"The name ends in .{suffix}, but the content is {sniffed}.")
    return wanted


@cache
def _magic() -> Any:
    return magic.Magic(mime=True)
