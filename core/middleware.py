"""What happens to every request before and after its view."""

import io
import re
import time
import uuid
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote_to_bytes

import structlog
from django.conf import settings
from django.core.handlers.wsgi import get_bytes_from_wsgi
from django.db import DatabaseError, transaction
from django.http import HttpRequest, HttpResponse
from django.http.request import UnreadablePostError
from django.utils.cache import patch_vary_headers
from django.utils.functional import SimpleLazyObject, empty
from rest_framework.exceptions import ErrorDetail, ValidationError

from core import history, tenancy
from core.api import cached
from core.api.errors import BodyTooLarge, answer_to, refused_outside
from core.ids import new_id
from core.models import ApiKey

log = structlog.stdlib.get_logger("core.requests")

GetResponse = Callable[[HttpRequest], HttpResponse]
API = "/api/"
MULTIPART = "multipart/form-data"
ADMIN = "/admin/"
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}", re.ASCII)


def request_log(get_response: GetResponse) -> GetResponse:
    """Give the request its id, and write one line about how it ended."""

    def handle(request: HttpRequest) -> HttpResponse:
        started = time.perf_counter()
        given = request.headers.get("X-Request-ID", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else str(new_id())
        request.request_id = request_id  # type: ignore[attr-defined]
        with (
            structlog.contextvars.bound_contextvars(request_id=request_id),
            history.request_door(request, request_id),
        ):
            response = get_response(request)
            response["X-Request-ID"] = request_id
            match = request.resolver_match
            user_id, key, organization_id = _who(request)
            log.info(
                "request",
                user_id=user_id,
                api_key=key,
                organization_id=organization_id,
                method=request.method,
                path=request.path,
                status=response.status_code,
                duration_ms=round((time.perf_counter() - started) * 1000, 1),
                resource=match.view_name if match else None,
                cache=cached.outcome(request),
            )
        return response

    return handle


def _who(request: HttpRequest) -> tuple[str | None, str | None, str | None]:
    """The user's id or the key's prefix, and the organization's id, if anybody asked who it is.

    Never a query here.
    """
    user: Any = request.__dict__.get("user")
    if isinstance(user, SimpleLazyObject):
        user = None if user._wrapped is empty else user._wrapped
    home = _text(getattr(user, "organization_id", None))
    if isinstance(user, ApiKey):
        return None, user.prefix, home
    return _text(getattr(user, "pk", None)), None, home


def _text(value: uuid.UUID | None) -> str | None:
    return str(value) if value else None


def api_requests(get_response: GetResponse) -> GetResponse:
    """For the API: a trailing slash is no other address, and a broken request ends here."""

    def handle(request: HttpRequest) -> HttpResponse:
        if not request.path_info.startswith(API):
            return get_response(request)
        if request.path_info.endswith("/") and request.path_info != API:
            request.path = request.path.removesuffix("/")
            request.path_info = request.path_info.removesuffix("/")
        try:
            request.get_host()  # refuses a foreign host before anything is looked up
            _check_query(request)
            _read_chunked(request)
        except Exception as error:  # noqa: BLE001 - the handler knows every kind
            response = answer_to(error, request)
        else:
            response = get_response(request)
        if not (response.streaming or response.has_header("Content-Length")):
            response["Content-Length"] = str(len(response.content))
        if not response.has_header("Cache-Control"):
            response["Cache-Control"] = "private, no-cache"
        patch_vary_headers(response, ["Authorization", "Cookie"])
        return response

    return handle


def admin_pages(get_response: GetResponse) -> GetResponse:
    """For the admin: one transaction per request, in the user's organization."""

    def handle(request: HttpRequest) -> HttpResponse:
        if not request.path_info.startswith(ADMIN):
            return get_response(request)
        try:
            with tenancy.unit_of_work():
                if request.user.is_authenticated:
                    tenancy.enter_for(request.user)
                response = get_response(request)
                if refused := getattr(request, "sign_in_refused", None):
                    response.status_code = 429
                    response["Retry-After"] = str(refused.retry_after_s)
                if response.status_code >= 400:
                    transaction.set_rollback(True)
                return response
        except DatabaseError as error:  # at BEGIN or at COMMIT
            return refused_outside(request, error)

    return handle


def _check_query(request: HttpRequest) -> None:
    """Django reads bad UTF-8 as U+FFFD; a search for that is not what the caller meant."""
    try:
        query = unquote_to_bytes(get_bytes_from_wsgi(request.META, "QUERY_STRING", "")).decode()
    except UnicodeDecodeError:
        query = "\0"
    if "\0" in query:
        told = ErrorDetail("The query is not UTF-8, or holds NUL.", code="invalid")
        raise ValidationError([told])


def _read_chunked(request: HttpRequest) -> None:
    """Take in a body that comes in chunks: WSGI's own reader sees no Content-Length and no body.

    A form with files is left alone: `core.api.multipart` reads it, where one is taken at all.
    """
    environ = request.META
    if "chunked" not in environ.get("HTTP_TRANSFER_ENCODING", "").lower():
        return
    if request.content_type == MULTIPART:
        return
    limit: int = settings.MAX_BODY_BYTES
    try:
        raw = environ["wsgi.input"].read(limit + 1)
    except Exception as error:  # each server has exceptions of its own
        raise UnreadablePostError(*error.args) from error
    if len(raw) > limit:
        raise BodyTooLarge(limit)
    environ["CONTENT_LENGTH"] = str(len(raw))
    request._stream = io.BytesIO(raw)
