"""A file's name as people see it: only a name, whatever was sent."""

import re
import unicodedata

MAX_CHARS = 200
MAX_BYTES = 240  # with room for what a browser adds, below the 255 of most file systems
NAMELESS = "document"

# What Windows cannot keep, and what would end a line or turn it around.
_FORBIDDEN = re.compile(r'[<>:"|?*]')
_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)", re.IGNORECASE | re.ASCII)


def clean(sent: str) -> str:
    """The name in `sent`: without path, control characters, direction marks, or over-length.

    Nobody's file is ever found by it. Never empty; what comes out stays as it is.
    """
    name = re.split(r"[/\\]", unicodedata.normalize("NFC", sent))[-1]
    name = "".join(char for char in name if unicodedata.category(char) not in _INVISIBLE)
    name = " ".join(_FORBIDDEN.sub("_", name).split()).strip(" .")
    stem, dot, suffix = name.rpartition(".")
    if not dot:
        stem, suffix = name, ""
    if len(suffix) > 16:  # a sentence with a full stop in it
        stem, dot, suffix = name, "", ""
    if _DEVICES.fullmatch(stem):
        stem = f"_{stem}"
    stem = _cut(stem, MAX_CHARS - len(dot + suffix), MAX_BYTES - len((dot + suffix).encode()))
    return f"{stem or NAMELESS}{dot}{suffix}"


def extension(name: str) -> str:
    """What follows the last full stop of a clean name, in lower case; empty where there is none."""
    _, dot, suffix = name.rpartition(".")
    return suffix.lower() if dot else ""


def _cut(text: str, chars: int, size: int) -> str:
    return text[:chars].encode()[:size].decode(errors="ignore").rstrip(" .")
