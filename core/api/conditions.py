"""Conditional requests on a version: ETag, If-Match, If-None-Match (RFC 9110, section 13)."""

import re
from collections.abc import Collection

from django.http import HttpRequest

# One element of a list, which may be empty: `"v1", , "v2"` names two (RFC 9110, section 5.6.1).
_TAGS = re.compile(r'[ \t]*(?:(W/)?"([\x21\x23-\x7e\x80-\xff]*)"[ \t]*)?(?:,|\Z)')
_VERSION = re.compile(r"v([1-9][0-9]{0,9})", re.ASCII)


def etag(version: int) -> str:
    """The strong entity tag of a version."""
    return f'"v{version}"'


def _versions(header: str, *, weak: bool) -> set[int]:
    """The versions that a list of tags names; what is malformed names none."""
    found: set[int] = set()
    position = 0
    while position < len(header):
        match = _TAGS.match(header, position)
        if not match:
            return set()
        position = match.end()
        version = _VERSION.fullmatch(match[2] or "")
        if version and (weak or not match[1]):
            found.add(int(version[1]))
    return found


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
