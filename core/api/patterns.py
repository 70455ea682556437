"""What texts may look like, for the OpenAPI description: `core.text` as regular expressions.

Lengths are part of them, since JSON Schema's `maxLength` would count the white space around a text
and the gaps in a plate. Phone numbers, countries and zones that nobody has are left out.
"""

from collections.abc import Callable
from typing import Any

from core import text

# Control, zero-width and direction characters; the rarest ones are left to `core.text`.
_HIDDEN = r"\x00-\x1f\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff"
_CONTROL = r"\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f"
_ON_PLATES = "[0-9A-Za-zÀ-ÖØ-öø-ňŊ-ſ]"
_GAPS = r"[ \-\xa0\u2000-\u200a\u2010-\u2015\u202f\u3000]*"


def _trimmed(refused: str, most: int, *, may_be_empty: bool) -> str:
    core = rf"[^\s{refused}]([^{refused}]{{0,{most - 2}}}[^\s{refused}])?"
    return rf"^\s*({core})?\s*$" if may_be_empty else rf"^\s*{core}\s*$"


def pattern_of(normal: Callable[[str], str], most: int, *, may_be_empty: bool) -> str:
    """What `normal`, a function of `core.text`, takes without a refusal, if `most` characters stay.

    One of `text.storable` is a search, which is trimmed, too.
    """
    if normal is text.country:
        return r"^\s*[A-Za-z]{2}\s*$"
    if normal is text.plate:
        core = f"{_ON_PLATES}({_GAPS}{_ON_PLATES}){{0,{most - 1}}}"
        return rf"^\s*{_GAPS}({core}){'?' if may_be_empty else ''}{_GAPS}\s*$"
    special: dict[Any, str] = {text.storable: r"\x00", text.notes: _CONTROL}
    refused = special.get(normal, _HIDDEN)
    return _trimmed(refused, most, may_be_empty=may_be_empty)
