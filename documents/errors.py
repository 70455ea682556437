"""The refusals that documents can give."""

from typing import TYPE_CHECKING, ClassVar

from core.errors import Conflict, FieldError, Refusal, RuleBroken, Unavailable

if TYPE_CHECKING:
    from documents.models import OrderDocument


class WrongContent(Refusal):
    """The file is of no kind that is taken, or of another one than its name says."""

    code = "unsupported-media-type"


class _FileRefused(RuleBroken):
    """The file is to blame, under the refusal's own code."""

    says: ClassVar[str]

    def __init__(self, message: str | None = None) -> None:
        message = message or self.says
        super().__init__([FieldError("file", self.code, message)], message)


class EmptyFile(_FileRefused):
    code = "empty-file"
    says = "The file is empty."


class Infected(_FileRefused):
    """The virus scanner knows it; `signature` is what it calls it."""

    code = "infected"

    def __init__(self, signature: str) -> None:
        super().__init__(f"The virus scanner found {signature}.")


class BadFile(RuleBroken):
    """The file is broken, or more than anybody would want to open."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__([FieldError("file", code, message)], message)


class TooManyDocuments(RuleBroken):
    """The order has as many documents as an order may have."""

    def __init__(self, limit: int) -> None:
        message = f"An order has at most {limit:,} documents."
        super().__init__([FieldError("file", "too-many-documents", message)], message)


class DuplicateDocument(Conflict):
    """The order has this file already, as the document `first`."""

    code = "duplicate-document"

    def __init__(self, first: "OrderDocument") -> None:
        message = f"The order has this file already, as {first.file_name}."
        super().__init__(
            message,
            [FieldError("file", self.code, message)],
            document_id=str(first.pk),
        )


class StorageUnavailable(Unavailable):
    """Files can be neither kept nor fetched: the storage is full or away."""

    def __init__(self) -> None:
        super().__init__("The storage of files is full or away; try again later.")


class ScannerUnavailable(Unavailable):
    """Nothing is taken unscanned, and the scanner does not answer."""

    def __init__(self) -> None:
        super().__init__("The virus scanner is away; try again later.")
