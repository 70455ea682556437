"""The kinds of problem that the API tells of (RFC 9457), and the one way to write one down."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import orjson
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from core import metrics
from core.errors import FieldError, RateLimited, Refusal

CONTENT_TYPE = "application/problem+json"
MAX_ERRORS = 100
RETRY_AFTER_SECONDS = 2


@dataclass(frozen=True)
class Problem:
    """A kind of problem; `meaning` is its page."""

    status: int
    title: str
    meaning: str


PROBLEMS: dict[str, Problem] = {
    "malformed-request": Problem(
        400,
        "The request cannot be read",
        "The body or the address could not be parsed: broken JSON, NaN, a key given twice, more"
        " than 1,000 levels, broken multipart, text that is not UTF-8, a body shorter than its"
        " Content-Length, or a host that is not served here. The status says more where HTTP has a"
        " word for it, such as 408 for what was too slow in coming and 431 for too large a head.",
    ),
    "not-authenticated": Problem(
        401,
        "Sign in first",
        "There are no credentials, or they are wrong, expired or withdrawn. Get a token from"
        " POST /api/v1/auth/token and send it as “Authorization: Bearer …”; a program sends its key"
        " as “Authorization: Api-Key …”.",
    ),
    "permission-denied": Problem(
        403,
        "You may not do this",
        "You are known, but what you ask for is not yours to do: the API's description says which"
        " role or scope each operation needs.",
    ),
    "not-found": Problem(
        404,
        "There is no such thing",
        "Nothing is there, or it belongs to somebody else: the answer is the same.",
    ),
    "method-not-allowed": Problem(
        405,
        "This cannot be done here",
        "The resource exists but knows no such method; the header Allow names those it knows.",
    ),
    "not-acceptable": Problem(
        406,
        "No such representation",
        "Answers are JSON; the header Accept rules that out.",
    ),
    "conflict": Problem(
        409,
        "It is taken already",
        "A field that must be unique is taken; “errors” names it. Two requests may send the same"
        " value at once: one of them gets this answer.",
    ),
    "wrong-status": Problem(
        409,
        "The status does not allow this",
        "Orders move planned → arrived → departed, or are cancelled. Departed and cancelled orders"
        " accept only notes, arrived ones keep their terminal and service.",
    ),
    "in-use": Problem(
        409,
        "Something still points to it",
        "It cannot be deleted while others refer to it.",
    ),
    "duplicate-document": Problem(
        409,
        "The order has this file already",
        "The same bytes are on this order already, whatever they are called; “document_id” names"
        " the document that has them.",
    ),
    "precondition-failed": Problem(
        412,
        "It has been changed meanwhile",
        "If-Match names an older version than “current_version”. Read it again, decide again, and"
        " send the new ETag. Weak tags never match.",
    ),
    "too-large": Problem(
        413,
        "Too large",
        "The body or the file is larger than the limit that the detail names.",
    ),
    "unsupported-media-type": Problem(
        415,
        "No such media type here",
        "Bodies are application/json in UTF-8, without a Content-Encoding; those of uploads are"
        " multipart/form-data. A file is one of the kinds that are taken, by what is in it, and its"
        " name ends accordingly.",
    ),
    "range-not-satisfiable": Problem(
        416,
        "The file is not that long",
        "The header Range asks for bytes behind the end; Content-Range tells how many there are.",
    ),
    "validation-error": Problem(
        422,
        "The request is not valid",
        "Fields, query parameters or their combination break a rule; “errors” names each one."
        " “field” is null where no single field is to blame.",
    ),
    "unknown-reference": Problem(
        422,
        "A reference names nothing",
        "An id in the body belongs to nothing that you can see; “errors” names the field.",
    ),
    "empty-file": Problem(
        422,
        "The file is empty",
        "A file has at least one byte.",
    ),
    "infected": Problem(
        422,
        "The virus scanner knows this file",
        "Nothing of it was kept. The detail names what was found.",
    ),
    "rate-limited": Problem(
        429,
        "Too many requests",
        "Wait for the seconds that the header Retry-After names; then there is room at once."
        " RateLimit-Policy and RateLimit tell how much there is and how much of it is left.",
    ),
    "internal-error": Problem(
        500,
        "Something went wrong here",
        "This is a fault of ours. Nothing was changed; the request id finds it in our log.",
    ),
    "unavailable": Problem(
        503,
        "Not available right now",
        "The database, the storage of files or the virus scanner is away or busy, or more requests"
        " have come than can be served, or one took longer than its ten seconds. Nothing was"
        " changed unless the connection was lost at the very end; try again after the seconds that"
        " the header Retry-After names.",
    ),
}

for _code in PROBLEMS:
    metrics.PROBLEMS.labels(_code)


def _plain(value: str) -> str:
    """`value` with a question mark for each half of a surrogate pair, which JSON cannot carry."""
    return value.encode("utf-8", "replace").decode()


def _clean(error: FieldError) -> dict[str, Any]:
    written = asdict(error) | {"message": _plain(error.message)}
    if error.field is not None:
        written["field"] = _plain(error.field[:100])
    return written


def problem_body(
    request: HttpRequest,
    code: str,
    detail: str | None = None,
    *,
    errors: list[FieldError] | None = None,
    extra: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """A problem as the contract writes it; at most 100 `errors` are listed."""
    problem = PROBLEMS[code]
    metrics.PROBLEMS.labels(code).inc()
    body: dict[str, Any] = {
        "type": f"/problems/{code}",
        "title": problem.title,
        "status": problem.status,
        "code": code,
        "detail": _plain(detail or problem.title),
        "request_id": getattr(request, "request_id", None),
        **(extra or {}),
    }
    if errors:
        body["errors"] = [_clean(error) for error in errors[:MAX_ERRORS]]
    return body


def problem_response(
    request: HttpRequest,
    code: str,
    detail: str | None = None,
    *,
    errors: list[FieldError] | None = None,
    extra: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> HttpResponse:
    """An answer in the contract's form."""
    body = problem_body(request, code, detail, errors=errors, extra=extra)
    headers = dict(headers or {})
    if code == "unavailable":
        headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return HttpResponse(
        orjson.dumps(body),
        status=body["status"],
        content_type=CONTENT_TYPE,
        headers=headers,
    )


def refusal_response(
    request: HttpRequest, refusal: Refusal, headers: Mapping[str, str] | None = None
) -> HttpResponse:
    """A refusal of the house as an answer."""
    if isinstance(refusal, RateLimited):
        headers = {"Retry-After": str(refusal.retry_after_s), **(headers or {})}
    return problem_response(
        request,
        refusal.code,
        refusal.detail,
        errors=refusal.errors,
        extra=refusal.extra,
        headers=headers,
    )


def problem_page(request: HttpRequest, code: str) -> HttpResponse:
    """The page behind a problem's `type`."""
    problem = PROBLEMS.get(code)
    status = 200 if problem else 404
    context = {"code": code, "problem": problem, "problems": PROBLEMS}
    return render(request, "core/problem.html", context, status=status)
