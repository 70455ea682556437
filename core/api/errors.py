"""The one exception handler: every refusal and every accident becomes a problem of the contract."""

import sys
from typing import Any

import structlog
from django.core import exceptions as django
from django.core.exceptions import BadRequest, RequestDataTooBig, SuspiciousOperation
from django.core.signals import got_request_exception
from django.http import Http404, HttpRequest, HttpResponse
from django.http.request import UnreadablePostError
from drf_standardized_errors.formatter import flatten_errors
from rest_framework import exceptions as drf
from rest_framework.settings import api_settings

from core.api.problems import problem_response, refusal_response
from core.database_errors import refusal_of
from core.errors import FieldError, Refusal, RuleBroken

log = structlog.stdlib.get_logger("core.errors")


class BodyTooLarge(drf.APIException):
    """The body, or a part of it, is larger than `limit` bytes."""

    status_code = 413

    def __init__(self, limit: int, what: str = "The body") -> None:
        super().__init__(f"{what} may have at most {limit:,} bytes.")


def field_errors(detail: Any) -> list[FieldError]:
    """DRF's nested errors as a flat list; what belongs to no single field has `field` None."""
    nobody = {api_settings.NON_FIELD_ERRORS_KEY, "__all__", ""}
    return [
        FieldError(
            None if error.attr in nobody else error.attr,
            "required" if error.code in {"null", "blank"} else error.code,  # one word for nothing
            error.detail,
        )
        for error in flatten_errors(detail)
    ]


# DRF's own exceptions, in the order in which they are tried: the detail is ours or harmless.
_CODES: list[tuple[type[Exception] | tuple[type[Exception], ...], str, str | None]] = [
    (drf.ParseError, "malformed-request", ""),
    (
        (drf.NotAuthenticated, drf.AuthenticationFailed),
        "not-authenticated",
        "The credentials are missing, wrong or expired.",
    ),
    ((drf.PermissionDenied, django.PermissionDenied), "permission-denied", None),
    ((drf.NotFound, Http404), "not-found", "There is no such thing here."),
    (drf.MethodNotAllowed, "method-not-allowed", ""),
    (drf.NotAcceptable, "not-acceptable", None),
    (BodyTooLarge, "too-large", ""),
    (drf.UnsupportedMediaType, "unsupported-media-type", ""),
    (drf.Throttled, "rate-limited", None),
    (
        UnreadablePostError,
        "malformed-request",
        "The body could not be read to its end.",
    ),
    ((SuspiciousOperation, BadRequest), "malformed-request", None),
]


def answer_to(error: Exception, request: HttpRequest, *, deleting: bool = False) -> HttpResponse:
    """The problem that `error` is to the caller; what nobody foresaw is logged with its trace."""
    if isinstance(error, RequestDataTooBig):
        from django.conf import settings

        error = BodyTooLarge(settings.MAX_BODY_BYTES)
    if isinstance(error, drf.ValidationError):
        error = RuleBroken(field_errors(error.detail))
    refusal = error if isinstance(error, Refusal) else refusal_of(error, deleting=deleting)
    if refusal is not None:
        return refusal_response(request, refusal)
    for kinds, code, detail in _CODES:
        if isinstance(error, kinds):
            shown = str(getattr(error, "detail", "")) if detail == "" else detail
            return problem_response(request, code, shown, headers=_headers(error))
    log.error("internal_error", exc_info=error)
    got_request_exception.send(sender=None, request=request)
    return problem_response(request, "internal-error", "The request id finds it in our log.")


def _headers(error: Exception) -> dict[str, str]:
    headers = {}
    if challenge := getattr(error, "auth_header", None):
        headers["WWW-Authenticate"] = challenge
    if isinstance(error, drf.Throttled):
        wait: float | None = getattr(error, "wait", None)
        headers["Retry-After"] = str(max(1, int(wait or 0)))
    return headers


def exception_handler(error: Exception, context: dict[str, Any]) -> HttpResponse:
    """DRF's `EXCEPTION_HANDLER`."""
    request = context["request"]._request
    return answer_to(error, request, deleting=request.method == "DELETE")


def refused_outside(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """What Django calls when something fails before or beside a view (handler400, 403, 404, 500).

    Under the API's prefix the answer has the contract's form, elsewhere it is a page for people.
    """
    from django.shortcuts import render

    error = exception or sys.exc_info()[1]
    answer = (
        answer_to(error, request)
        if isinstance(error, Exception)
        else problem_response(request, "internal-error")
    )
    if request.path.startswith("/api/"):
        return answer
    page = render(
        None,
        "core/refused.html",
        {"status": answer.status_code},
        status=answer.status_code,
    )
    if "Retry-After" in answer:
        page["Retry-After"] = answer["Retry-After"]
    return page
