"""An upload: taken in and looked at before its unit of work begins, kept within it.

While a form comes, perhaps slowly, and while its files are inspected, no transaction is open. So
the caller is asked twice who it is: before anything of the body is read, and where it is kept. A
door that has to look into the form before hands it over as `request.form_taken_in`.
"""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db import transaction
from django.http import HttpRequest
from django.utils import timezone
from rest_framework.response import Response

from core import tenancy
from core.api import limited
from core.api.conditions import etag
from core.api.multipart import Form, ReceivedFile, received
from core.api.problems import problem_body
from core.errors import FieldError, Refusal, RuleBroken
from core.limits import Kind
from documents import services, storage
from documents.api.serializers import OrderDocumentInput, OrderDocumentOut
from documents.errors import ScannerUnavailable
from documents.files.inspection import Inspected, inspect
from documents.models import OrderDocument
from orders.models import Order


@dataclass
class Candidate:
    """A file that came, and what became of it."""

    sent: ReceivedFile
    found: Inspected | None = None
    refusal: Refusal | None = None
    document: OrderDocument | None = None


def take_in(request: HttpRequest) -> AbstractContextManager[Form]:
    """The form that the body is, within the limits of uploads; raises what `received` does."""
    return received(
        request, max_files=settings.MAX_UPLOAD_FILES, max_file_bytes=settings.MAX_FILE_BYTES
    )


class UploadMixin:
    """What the ViewSet of an order's documents does with a POST."""

    def limit_kind(self) -> Any:
        if self.action == "create":  # type: ignore[attr-defined]
            return Kind.UPLOAD
        return super().limit_kind()  # type: ignore[misc]

    def _work(self: Any, request: Any) -> Any:
        if self.action != "create":
            return super()._work(request)  # type: ignore[misc]
        with tenancy.unit_of_work():
            self.initial(request, *self.args, **self.kwargs)
            self.home = self.order().organization_id
        taken = getattr(request._request, "form_taken_in", None)
        with nullcontext(taken) if taken else take_in(request._request) as form:
            # The request itself has counted as its first.
            limited.count_more(self.request, Kind.UPLOAD, len(form.files["file"]) - 1)
            self.values, self.candidates = _judged(form)
            self.request = self.initialize_request(request._request, *self.args, **self.kwargs)
            with _tidied(self.home, self.candidates):
                return super()._work(self.request)  # type: ignore[misc]

    def create(self: Any, request: Any, id: str) -> Response:
        """One file, or several at once that are of one type and title.

        One file answers with its document, or is refused. Several have a result each, in the order
        in which they came: 201 where all are kept, 207 where any is refused; the others stay. A
        form that is broken or too large is refused as a whole.
        """
        order = self.order()
        candidates: list[Candidate] = self.candidates
        storage.hold(order.organization_id, (each.sent.sha256 for each in candidates))
        if len(candidates) == 1:
            document = self._keep(order, candidates[0])
            response = self.created(document, self.listed)
            response["ETag"] = etag(document.version)
            return response
        for each in candidates:
            if each.found is not None:
                each.document = each.refusal = None  # from an earlier try of the transaction
                try:
                    with transaction.atomic():
                        each.document = self._keep(order, each)
                except Refusal as refusal:
                    each.refusal = refusal
        results = [_result(request._request, each) for each in candidates]
        all_kept = all(each.document for each in candidates)
        return Response({"data": results}, status=201 if all_kept else 207)

    def _keep(self: Any, order: Order, candidate: Candidate) -> OrderDocument:
        if candidate.found is None:
            raise candidate.refusal or AssertionError("neither inspected nor refused")
        candidate.document = services.add_document(
            order,
            candidate.sent.file,
            candidate.found,
            sha256=candidate.sent.sha256,
            size_bytes=candidate.sent.size,
            values=self.values,
            by=self.request.user,
            now=timezone.now(),
        )
        return candidate.document


def _judged(form: Form) -> tuple[Mapping[str, Any], list[Candidate]]:
    """What the form says of its files, and each of them inspected.

    Raises:
        RuleBroken: a part is unknown, missing or wrong.
        ScannerUnavailable: none of them can be kept.
        WrongContent and others of `documents.files.inspection`: where there is one file only.
    """
    form.refuse_unknown(texts=set(OrderDocumentInput().fields), files={"file"})
    candidates = [Candidate(each) for each in form.files["file"]]
    given = OrderDocumentInput(data={name: texts[0] for name, texts in form.texts.items()})
    values, refused = given.judged()
    if not candidates:
        refused.append(FieldError("file", "required", "A file is needed."))
    if len(candidates) != 1 and refused:
        raise RuleBroken(refused)
    for each in candidates:
        try:
            each.found = inspect(each.sent.file, size=each.sent.size, name=each.sent.name)
        except ScannerUnavailable:
            raise  # the next one would wait as long for it
        except Refusal as refusal:
            each.refusal = refusal
    if len(candidates) == 1:
        alone = candidates[0].refusal
        if refused and (alone is None or isinstance(alone, RuleBroken)):
            raise RuleBroken([*refused, *(alone.errors if alone else [])])
        if alone:
            raise alone
    return values, candidates


@contextmanager
def _tidied(home: Any, candidates: list[Candidate]) -> Iterator[None]:
    """Afterwards no file lies in the storage whose row was not kept."""
    kept = False
    try:
        yield
        kept = True
    finally:
        for each in candidates:
            if each.found and not (kept and each.document):
                storage.quietly(storage.remove_unneeded, home, each.sent.sha256)


def _result(request: Any, candidate: Candidate) -> dict[str, Any]:
    """What one of several files came to; the shape of `UploadResultOut`."""
    result: dict[str, Any] = {
        "file_name": candidate.found.name if candidate.found else candidate.sent.name[:200],
        "status": 201,
        "document": None,
        "problem": None,
    }
    if candidate.document:
        return {**result, "document": OrderDocumentOut(candidate.document).data}
    refusal: Any = candidate.refusal
    problem = problem_body(
        request, refusal.code, refusal.detail, errors=refusal.errors, extra=refusal.extra
    )
    return {**result, "status": problem["status"], "problem": problem}
