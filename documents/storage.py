"""Where the files lie: by organization and content, so that the same bytes lie there once.

A file is needed as long as a document or a thumbnail of its organization has its SHA-256. Whoever
stores or removes one holds its lock until the end of the transaction. So a file that a transaction
still wants to refer to is never removed, and one that is being removed never referred to.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import IO, Any, ParamSpec
from uuid import UUID

import structlog
from botocore.exceptions import BotoCoreError, ClientError
from django.core.files.base import File
from django.core.files.storage import Storage, storages
from django.db import connection, transaction

from core import tenancy
from core.errors import NotFound
from documents.errors import StorageUnavailable
from documents.models import AbandonedFile, OrderDocument

log = structlog.stdlib.get_logger("documents.storage")

AT_ONCE = 1_000  # abandoned files that are removed after one request; a command takes the rest
_FAILURES = (OSError, BotoCoreError, ClientError)


def place() -> Storage:
    """The storage of documents, whichever is set up."""
    return storages["documents"]


def name_of(organization_id: UUID, sha256: str) -> str:
    """Under which name a file lies in the storage."""
    return f"{organization_id}/{sha256[:2]}/{sha256}"


@contextmanager
def _failing(doing: str) -> Iterator[None]:
    """What goes wrong in the storage is logged, and told without its particulars."""
    try:
        yield
    except _FAILURES as error:
        log.error("storage_failed", doing=doing, kind=type(error).__name__, error=str(error)[:300])
        raise StorageUnavailable from None


def hold(organization_id: UUID, hashes: Iterable[str]) -> None:
    """Hold the files of these hashes until the transaction ends, always in one order."""
    names = sorted(name_of(organization_id, sha256) for sha256 in set(hashes))
    with connection.cursor() as cursor:
        for name in names:
            cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [name])


def put(organization_id: UUID, sha256: str, file: IO[bytes], *, size: int) -> None:
    """Keep a file of `size` bytes, unless it is there already; the caller holds it (`hold`).

    If the transaction is rolled back later, `remove_unneeded` takes it away again.

    Raises:
        StorageUnavailable: there is no room for it, or no storage.
    """
    name = name_of(organization_id, sha256)
    if not is_missing(organization_id, sha256, size):
        return
    with _failing("put"):
        file.seek(0)
        place().save(name, File(file))


def open_file(organization_id: UUID, sha256: str) -> File:
    """The file, to be read and closed.

    Raises:
        NotFound: there is a row without a file; that is logged as an error.
        StorageUnavailable: there is no storage.
    """
    name = name_of(organization_id, sha256)
    with _failing("open"):
        try:
            return place().open(name)
        except FileNotFoundError:
            log.error("file_missing", name=name)
            raise NotFound from None


def link_to(organization_id: UUID, sha256: str, headers: dict[str, str]) -> str | None:
    """A signed address that answers with the file and `headers` for a short time.

    None where the storage is not one that others can reach: then the file is served from here.
    """
    storage: Any = place()
    if not hasattr(storage, "querystring_auth"):
        return None
    answered = {f"Response{name.replace('-', '')}": value for name, value in headers.items()}
    with _failing("link"):
        return str(storage.url(name_of(organization_id, sha256), parameters=answered))


def needed(organization_id: UUID, hashes: Collection[str]) -> set[str]:
    """Which of the files with these hashes a row refers to."""
    mine = OrderDocument.objects.filter(organization_id=organization_id)
    return {
        sha256
        for name in ("sha256", "thumbnail_sha256")
        for sha256 in mine.filter(**{f"{name}__in": hashes}).values_list(name, flat=True)
    }


def is_missing(organization_id: UUID, sha256: str, size: int | None = None) -> bool:
    """Whether the file is not there, or has another size than it should."""
    name = name_of(organization_id, sha256)
    with _failing("look"):
        return not place().exists(name) or (size is not None and place().size(name) != size)


def remove_unneeded(organization_id: UUID, sha256: str) -> bool:
    """Remove the file unless somebody needs it; returns whether it was removed.

    A transaction of its own, which waits for those that hold the file.

    Raises:
        StorageUnavailable: it could not be removed, and stays abandoned.
    """
    with tenancy.within(organization_id):
        hold(organization_id, [sha256])
        AbandonedFile.objects.filter(organization_id=organization_id, sha256=sha256).delete()
        if needed(organization_id, [sha256]):
            return False
        with _failing("remove"):
            place().delete(name_of(organization_id, sha256))
        return True


def remove_abandoned(organization_id: UUID, *, at_once: int = AT_ONCE) -> int:
    """Remove what deleted documents of the organization left behind; returns how many files."""
    with tenancy.within(organization_id):
        abandoned = AbandonedFile.objects.filter(organization_id=organization_id)
        hashes = list(
            dict.fromkeys(abandoned.order_by("pk").values_list("sha256", flat=True)[:at_once])
        )
    return sum(remove_unneeded(organization_id, sha256) for sha256 in hashes)


P = ParamSpec("P")


def quietly(work: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> None:
    """Do this; what fails is logged, since it only leaves work for `check_documents`."""
    try:
        work(*args, **kwargs)
    except Exception:
        log.exception("files_left_behind")


def after_commit(work: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> None:
    """Do this `quietly` once the transaction is through."""
    transaction.on_commit(partial(quietly, work, *args, **kwargs))
