"""What is said where no request reaches the application: problems in the contract's form."""

from http import HTTPStatus

import orjson
from gunicorn.http import errors

from core.api.problems import CONTENT_TYPE, PROBLEMS, RETRY_AFTER_SECONDS

BUSY = "There are more requests than can be served right now; try again in a moment."
FULL = "There are more large requests under way than fit; try again in a moment."
TOO_SLOW = "The request took too long to come in."
NOT_HTTP = "This is not a request that can be read."

_STATUS: dict[type[Exception], int] = {
    errors.LimitRequestLine: 414,
    errors.LimitRequestHeaders: 431,
    errors.ExpectationFailed: 417,
    errors.UnsupportedTransferCoding: 501,
}


def status_of(error: Exception) -> int:
    """The status for what gunicorn's parser raised; 500 for what is not the caller's fault."""
    if isinstance(error, errors.InvalidResponseHeader | errors.InvalidResponseHeaderName):
        return 500
    for kind, status in _STATUS.items():
        if isinstance(error, kind):
            return status
    return 400 if isinstance(error, errors.ParseException) else 500


def problem_bytes(
    code: str,
    detail: str,
    request_id: str,
    status: int | None = None,
    *,
    stays: bool = False,
    method: str = "",
) -> bytes:
    """A whole answer, after which the connection ends unless it `stays`.

    Without its body where the `method` is HEAD: the client would take it for its next answer.
    `status` differs from the code's own where HTTP has a finer word for it, such as 431.
    """
    problem = PROBLEMS[code]
    status = status or problem.status
    body = orjson.dumps(
        {
            "type": f"/problems/{code}",
            "title": problem.title,
            "status": status,
            "code": code,
            "detail": detail,
            "request_id": request_id,
        }
    )
    lines = [
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
        f"Content-Type: {CONTENT_TYPE}",
        f"Content-Length: {len(body)}",
        f"X-Request-ID: {request_id}",
        "Cache-Control: no-store",
        "X-Content-Type-Options: nosniff",
    ]
    if not stays:
        lines.append("Connection: close")
    if code == "unavailable":
        lines.append(f"Retry-After: {RETRY_AFTER_SECONDS}")
    head = "\r\n".join([*lines, "", ""]).encode()
    return head if method == "HEAD" else head + body
