"""The refusals that the house can give. They know nothing of HTTP; each door translates them.

`Conflict` is a right request at the wrong moment, `RuleBroken` one that can never be right as it
stands, `Unavailable` one that nobody can serve just now.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar


@dataclass(frozen=True, slots=True)
class FieldError:
    """What is wrong with one field; `field` is None where no single one is to blame."""

    field: str | None
    code: str
    message: str


class Refusal(Exception):
    """A request that is not carried out; `code` names the kind and never changes meaning."""

    code: ClassVar[str]

    def __init__(self, detail: str, errors: Iterable[FieldError] = (), **extra: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = list(errors)
        self.extra: Mapping[str, Any] = extra


class NotFound(Refusal):
    """No such thing, or not the caller's to see: the two must look the same."""

    code = "not-found"

    def __init__(self) -> None:
        super().__init__("There is no such thing here.")


class NotAllowed(Refusal):
    """The caller is known, but may not do this."""

    code = "permission-denied"


class Conflict(Refusal):
    """A unique field is taken, or the moment is wrong."""

    code = "conflict"


class InUse(Conflict):
    """It cannot be deleted while others point to it."""

    code = "in-use"

    def __init__(self) -> None:
        super().__init__("It cannot be deleted while something else points to it.")


class StaleVersion(Conflict):
    """The caller judged by an older version than the present one."""

    code = "precondition-failed"

    def __init__(self, current_version: int) -> None:
        super().__init__(
            f"It has been changed meanwhile; the current version is {current_version}.",
            current_version=current_version,
        )


class ChangedMeanwhile(Conflict):
    """Somebody else has changed the row since the caller looked at it."""

    def __init__(self) -> None:
        super().__init__("Somebody else has changed it meanwhile.")


class RuleBroken(Refusal):
    """Fields or their combination break a rule."""

    code = "validation-error"

    def __init__(self, errors: Iterable[FieldError], detail: str | None = None) -> None:
        errors = list(errors)
        some = "1 field was" if len(errors) == 1 else f"{len(errors)} fields were"
        super().__init__(detail or f"{some} refused.", errors)


class UnknownReference(RuleBroken):
    """A foreign key names nothing that the caller can see."""

    code = "unknown-reference"

    def __init__(self, fields: Iterable[str]) -> None:
        super().__init__(
            FieldError(name, "unknown-reference", "There is nothing with this id.")
            for name in fields
        )


class RateLimited(Refusal):
    """Too many of a kind in too short a time; in `retry_after_s` seconds there is room again."""

    code = "rate-limited"

    def __init__(self, retry_after_s: int) -> None:
        self.retry_after_s = max(1, retry_after_s)
        super().__init__(f"Too many requests; try again in {in_words(self.retry_after_s)}.")


def in_words(seconds: int) -> str:
    """`40 seconds`, `15 minutes`: never less than it is."""
    count, unit = (seconds, "second") if seconds < 90 else (-(-seconds // 60), "minute")
    return f"{count} {unit}" if count == 1 else f"{count} {unit}s"


class Unavailable(Refusal):
    """The database is away, or busy beyond what one request may wait; or another part is."""

    code = "unavailable"

    def __init__(
        self, detail: str = "This cannot be served right now; try again in a moment."
    ) -> None:
        super().__init__(detail)
