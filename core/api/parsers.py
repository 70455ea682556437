"""JSON as it should have been: no NaN, no key twice, no number out of Python's reach."""

import json
import re
from decimal import Decimal
from typing import Any

from rest_framework.exceptions import ParseError, UnsupportedMediaType, ValidationError
from rest_framework.parsers import BaseParser
from rest_framework.utils.mediatypes import _MediaType

MAX_LEVELS = 32
MAX_PARSED_LEVELS = 1_000

# Possessive, and a string that never ends is one too: what is passed over is not tried again from
# each of its quotes, which would take hours for a body of a megabyte.
_BRACKETS = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[\[\]{}]', re.DOTALL)


def levels(raw: bytes) -> int:
    """How deep the brackets of a JSON text are nested, without parsing it."""
    depth = deepest = 0
    for token in _BRACKETS.finditer(raw):
        char = raw[token.start()]
        if char in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif char in b"]}":
            depth -= 1
    return deepest


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ParseError("A key is given twice in one object.")
    return result


def _no_constant(name: str) -> Any:
    raise ParseError(f"{name} is not JSON.")


def loads(raw: bytes) -> Any:
    """Parse a JSON text in UTF-8; numbers with a point or an exponent become `Decimal`.

    Raises:
        ParseError: it is not JSON, has a key twice, or more than 1,000 levels.
        ValidationError: it has more than 32 levels.
    """
    deepest = levels(raw)
    if deepest > MAX_PARSED_LEVELS:
        raise ParseError(f"More than {MAX_PARSED_LEVELS} levels of nesting.")
    try:
        value = json.loads(
            raw.decode("utf-8"),
            object_pairs_hook=_once,
            parse_constant=_no_constant,
            parse_float=Decimal,
        )
    except (ValueError, ArithmeticError):
        raise ParseError("The body is not JSON in UTF-8.") from None
    except RecursionError:  # how deep Python goes depends on what has called it
        value = None
    if deepest > MAX_LEVELS:
        raise ValidationError(f"More than {MAX_LEVELS} levels of nesting.", code="too-deep")
    return value


class StrictJSONParser(BaseParser):
    """`application/json` in UTF-8, as long as its Content-Length says, not compressed."""

    media_type = "application/json"

    def parse(self, stream: Any, media_type: Any = None, parser_context: Any = None) -> Any:
        request = parser_context["request"]
        wanted = _MediaType(media_type or "")
        if "*" in (wanted.main_type, wanted.sub_type):  # a range that DRF lets match any parser
            raise UnsupportedMediaType(media_type)
        charset = wanted.params.get("charset", "utf-8")
        if str(charset).strip("\"'").lower() not in {"utf-8", "utf8"}:
            raise UnsupportedMediaType(media_type, "Bodies are UTF-8.")
        if request.META.get("HTTP_CONTENT_ENCODING", "identity").lower() != "identity":
            raise UnsupportedMediaType(media_type, "Bodies are not compressed.")
        raw = request._request.body
        declared = request.META.get("CONTENT_LENGTH") or 0
        if len(raw) != int(declared):
            raise ParseError("The body is shorter than its Content-Length.")
        return loads(raw)
