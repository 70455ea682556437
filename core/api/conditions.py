"""Conditional requests: ETag, If-Match, If-None-Match (RFC 9110, section 13).

What has versions, by its version; an answer as a whole, by its bytes. Those tags are weak, so that
nobody takes them for something to edit by.
"""

import hashlib
import re
from collections.abc import Collection

from django.http import HttpRequest

# One element of a list, which may be empty: `"v1", , "v2"` names two (RFC 9110, section 5.6.1).
_TAGS = re.compile(r'[ \t]*(?:(W/)?"([\x21\x23-\x7e\x80-\xff]*)"[ \t]*)?(?:,|\Z)')
_VERSION = re.compile(r"v([1-9][0-9]{0,9})", re.ASCII)


def etag(version: int) -> str:
    """The strong entity tag of a version."""
    return f'"v{version}"'


def tag_of(body: bytes) -> str:
    """The weak entity tag of these bytes."""
    return f'W/"{hashlib.blake2b(body, digest_size=16).hexdigest()}"'


def _tags(header: str) -> list[tuple[bool, str]]:
    """Each tag of a list, is it weak and what it says; of a malformed list none."""
    found: list[tuple[bool, str]] = []
    position = 0
    while position < len(header):
        match = _TAGS.match(header, position)
        if not match:
            return []
        position = match.end()
        if match[2] is not None:
            found.append((bool(match[1]), match[2]))
    return found


def _versions(header: str, *, weak: bool) -> set[int]:
    """The versions that a list of tags names."""
    said = [tag for is_weak, tag in _tags(header) if weak or not is_weak]
    return {int(version[1]) for version in map(_VERSION.fullmatch, said) if version}


def expected_versions(request: HttpRequest) -> Collection[int] | None:
    """What `If-Match` accepts, compared strongly; None where any version will do."""
    header = request.headers.get("If-Match")
    if header is None or header.strip() == "*":
        return None
    return _versions(header, weak=False)


def is_known(request: HttpRequest, version: int) -> bool:
    """Whether `If-None-Match` says that the caller has this version, compared weakly."""
    header = request.headers.get("If-None-Match")
    if header is None:
        return False
    return header.strip() == "*" or version in _versions(header, weak=True)


def has_tag(request: HttpRequest, tag: str) -> bool:
    """Whether `If-None-Match` says that the caller has what `tag` stands for, compared weakly."""
    header = request.headers.get("If-None-Match")
    if header is None:
        return False
    said = tag.removeprefix("W/").strip('"')
    return header.strip() == "*" or said in (each for _, each in _tags(header))
