"""Ids: UUID version 7 (RFC 9562), which sort by the moment they were made."""

import uuid

from uuid_utils.compat import uuid7


def new_id() -> uuid.UUID:
    """A new UUIDv7."""
    return uuid7()
