"""Files as answers: whole or in part, never to be shown by a browser as a page of ours."""

import re
from collections.abc import Iterator
from typing import Any

from django.core.files.base import File
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.utils.http import content_disposition_header, parse_etags

from core.api.problems import problem_response
from core.headers import NOTHING
from documents import storage
from documents.models import OrderDocument

PIECE = 65_536
_RANGE = re.compile(r"bytes=(\d{0,19})-(\d{0,19})", re.ASCII)


def answer_with(request: HttpRequest, document: OrderDocument) -> HttpResponseBase:
    """The document's file, as RFC 9110 has it: conditional, in a range, or a link to elsewhere.

    Raises:
        NotFound, StorageUnavailable: see `documents.storage`.
    """
    tag = f'"{document.sha256}"'
    headers = {
        "Content-Type": document.content_type,
        "Content-Disposition": content_disposition_header(True, document.file_name) or "attachment",
    }
    link = storage.link_to(document.organization_id, document.sha256, headers)
    if link is not None:
        return HttpResponseRedirect(link, headers={"Cache-Control": "no-store"})
    headers |= {"ETag": tag, "Accept-Ranges": "bytes"}
    if is_known(request, tag):
        return _sandboxed(HttpResponse(status=304, headers=headers))
    size, wanted = document.size_bytes, (0, document.size_bytes)
    if request.headers.get("If-Range", tag) == tag:
        wanted = part_of(request.headers.get("Range", ""), size)
    first, end = wanted
    if first >= end:
        return problem_response(
            request,
            "range-not-satisfiable",
            f"The file has {size:,} bytes.",
            headers={"Content-Range": f"bytes */{size}"},
        )
    status = 200
    if end - first < size:
        status, headers["Content-Range"] = 206, f"bytes {first}-{end - 1}/{size}"
    headers["Content-Length"] = str(end - first)
    file = storage.open_file(document.organization_id, document.sha256)
    if request.method == "HEAD":
        file.close()
        return _sandboxed(HttpResponse(status=status, headers=headers))
    pieces = _Pieces(file, first, end)
    return _sandboxed(StreamingHttpResponse(pieces, status=status, headers=headers))


def part_of(header: str, size: int) -> tuple[int, int]:
    """Where the range of `header` begins and ends in `size` bytes; it is empty behind the end.

    Everything where there is no range, more than one, or something else.
    """
    match = _RANGE.fullmatch(header.strip())
    if not match or not any(match.groups()):
        return 0, size
    first, last = match.groups()
    if not first:  # the last so many
        return max(0, size - int(last)), size
    if last and int(last) < int(first):
        return 0, size
    return int(first), min(size, int(last) + 1 if last else size)


def is_known(request: HttpRequest, tag: str) -> bool:
    """Whether the caller says that it has what has this tag."""
    header = request.headers.get("If-None-Match", "")
    return any(each in {"*", tag, f"W/{tag}"} for each in parse_etags(header))


def _sandboxed(response: Any) -> HttpResponseBase:
    response._csp_config = {**NOTHING, "sandbox": True}
    response["X-Content-Type-Options"] = "nosniff"
    answer: HttpResponseBase = response
    return answer


class _Pieces:
    """Part of a file, piece by piece; Django closes it with the answer."""

    def __init__(self, file: File, first: int, end: int) -> None:
        self._file, self._left = file, end - first
        file.seek(first)

    def __iter__(self) -> Iterator[bytes]:
        while self._left and (piece := self._file.read(min(PIECE, self._left))):
            self._left -= len(piece)
            yield piece

    def close(self) -> None:
        self._file.close()
