"""The normal forms of what people type: lines, notes, plates, phone numbers, ids, days and times.

Every door uses these. Each function returns the normal form or raises Django's `ValidationError`,
whose `code` and message are meant for people.
"""

import re
import unicodedata
import uuid
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from zoneinfo import available_timezones

import phonenumbers
from django.core.exceptions import ValidationError
from django_countries.data import COUNTRIES

from core.rates import NOT_A_RATE, RATE

_CONTROL = re.compile(r"[^\t\r\n\x20-\x7e\xa0-\U0010ffff]")  # the category Cc, without three
_SURROGATE = re.compile("[\ud800-\udfff]")
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE | re.ASCII)
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_TIME = re.compile(r"\d\d:\d\d(:\d\d)?", re.ASCII)
_INSTANT = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)
# Letters of the Latin script only: a Cyrillic А beside a Latin A would make two trucks of one.
PLATE_PATTERN = r"^[0-9A-ZÀ-ÖØ-ÞĀ-Ž]*$"
_PLATE = re.compile(PLATE_PATTERN)
E164_PATTERN = r"^(\+[1-9][0-9]{1,14})?$"


def _refuse(code: str, message: str) -> ValidationError:
    return ValidationError(message, code=code)


def storable(value: str) -> str:
    """`value`, unless it holds what PostgreSQL cannot keep: NUL or half a surrogate pair."""
    if "\x00" in value:
        raise _refuse("null-character", "The NUL character is not allowed.")
    if _SURROGATE.search(value):
        raise _refuse("invalid-unicode", "Half of a surrogate pair is not a character.")
    return value


def notes(value: str) -> str:
    """Free text of many lines: trimmed; of the control characters only tab and line ends stay."""
    value = storable(value).strip()
    if _CONTROL.search(value):
        raise _refuse("control-character", "Control characters are not allowed.")
    return value


def line(value: str) -> str:
    """Text of one line that people compare by eye: trimmed, in NFC, with nothing invisible in it.

    Control characters, zero-width characters and marks that turn the writing direction are
    refused: two names that look alike must be alike.
    """
    value = unicodedata.normalize("NFC", storable(value).strip())
    # What is printable is in none of these categories, and quickly told.
    if not value.isprintable() and any(
        unicodedata.category(char) in {"Cc", "Cf", "Zl", "Zp"} for char in value
    ):
        raise _refuse(
            "control-character",
            "Control, zero-width and direction characters are not allowed.",
        )
    return value


def bare_plate(value: str) -> str:
    """`value` in upper case without white space and dashes; what a search for a plate compares."""
    return "".join(
        char
        for char in unicodedata.normalize("NFC", value).upper()
        if not char.isspace() and unicodedata.category(char) != "Pd"
    )


def plate(value: str) -> str:
    """The normal form of a licence plate: "ab 12-345" is "AB12345"; "" stays ""."""
    plain = bare_plate(line(value))
    if not _PLATE.match(plain):
        raise _refuse("invalid-plate", "A plate is made of Latin letters and digits.")
    return plain


def phone(value: str) -> str:
    """A phone number in any international form as E.164 (ITU-T), such as "+4790123456"; "" stays.

    Only the length is judged, not whether the operator has handed the number out: such tables
    are older than the newest number.
    """
    value = line(value)
    if not value:
        return ""
    if value.startswith("00"):
        value = "+" + value[2:]
    try:
        # The library looks for a number inside a text, and would silently drop the rest of it.
        number = None if re.search(r"[^\W\d_]", value) else phonenumbers.parse(value, None)
    except phonenumbers.NumberParseException:
        number = None
    if number is None or number.extension or not phonenumbers.is_possible_number(number):
        raise _refuse("invalid-phone", "Not an international phone number such as +4790123456.")
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


@cache
def zone_names() -> frozenset[str]:
    """The IANA names that a terminal's clock may have."""
    return frozenset(
        name for name in available_timezones() if name not in {"localtime", "posixrules", "Factory"}
    )


def zone(value: str) -> str:
    """An IANA time zone name, spelled as in the database of time zones; "" stays ""."""
    value = line(value)
    if value and value not in zone_names():
        raise _refuse("unknown-timezone", "Not an IANA time zone such as Europe/Oslo.")
    return value


def country(value: str) -> str:
    """A country's two letters (ISO 3166-1 alpha-2) in upper case; "" stays ""."""
    value = line(value).upper()
    if value and value not in COUNTRIES:
        raise _refuse("unknown-country", "Not a country code of ISO 3166-1 alpha-2.")
    return value


def identifier(value: str) -> uuid.UUID:
    """A UUID in its canonical form, 8-4-4-4-12 hexadecimal digits of either case."""
    if not _UUID.fullmatch(value):
        raise _refuse("invalid-id", "Not a UUID.")
    return uuid.UUID(value)


def day(value: str) -> date:
    """A calendar day, `YYYY-MM-DD`."""
    if _DATE.fullmatch(value):
        try:
            return date.fromisoformat(value)
        except ValueError:
            pass
    raise _refuse("invalid-date", "Not a date of the form YYYY-MM-DD.")


def clock_time(value: str) -> time:
    """A time of day, `HH:MM` or `HH:MM:SS`."""
    if _TIME.fullmatch(value):
        try:
            return time.fromisoformat(value)
        except ValueError:
            pass
    raise _refuse("invalid-time", "Not a time of the form HH:MM or HH:MM:SS.")


def instant(value: str) -> datetime:
    """A point in time as in RFC 3339, with its offset; returned in UTC, to the microsecond."""
    match = _INSTANT.fullmatch(value)
    if match:
        day_, time_, fraction, offset = match.groups()
        micro = f"{fraction or '.0'}000000"[1:7]
        hours, minutes = (0, 0) if offset in "Zz" else (int(offset[1:3]), int(offset[4:6]))
        away = timedelta(hours=hours, minutes=minutes) * (-1 if offset[0] == "-" else 1)
        try:
            if hours < 24 and minutes < 60:
                local = datetime.fromisoformat(f"{day_}T{time_}.{micro}")
                return (local - away).replace(tzinfo=UTC)
        except (ValueError, OverflowError):
            pass
    raise _refuse(
        "invalid-instant",
        "Not an instant with an offset, such as 2026-11-23T06:30:00Z.",
    )


def rate(value: str) -> str:
    """How often something may happen, as `600/minute`; empty stays empty.

    Raises:
        ValidationError: it is no such thing.
    """
    value = "".join(line(value).lower().split())
    if value and not re.fullmatch(RATE, value):
        raise _refuse("invalid", NOT_A_RATE)
    return value
