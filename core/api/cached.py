"""Answers about reference data, through the cache, with an ETag.

Who it is, what it may and how often is judged for each request, before anything here.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from rest_framework.response import Response

from core import text
from core.api.conditions import has_tag, tag_of
from core.api.renderers import JSONRenderer
from core.cache import Place, Reading, digest, look
from core.errors import NotFound
from core.version import VERSION

SHAPE = 1  # raise it when the same code answers in another shape
NOTHING = b"-"  # what is kept where there is no such thing: no JSON looks like it


def answer(view: Any, load: Callable[[Any], HttpResponseBase]) -> HttpResponseBase:
    """What `load` answers to the view's request, from the cache if it is there.

    304 to whoever has it already.

    Raises:
        NotFound: there is no such thing, which is kept like any answer.
    """
    request = view.request
    reading = _reading(view, request._request)
    body = reading.found if reading else None
    if body is None:
        body = _loaded(load, request, reading)
    if body == NOTHING:
        raise NotFound
    tag = tag_of(body)
    if has_tag(request, tag):
        return Response(status=304, headers={"ETag": tag})
    return HttpResponse(body, content_type=JSONRenderer.media_type, headers={"ETag": tag})


def keep_afterwards(request: HttpRequest, response: Any) -> None:
    """Keep what was loaded once the answer has left: nobody waits for that."""
    reading: Reading | None = request.__dict__.get("cache_reading")
    if reading:
        response._resource_closers.append(reading.finish)


def outcome(request: HttpRequest) -> str | None:
    """How the cache served a request, for its line in the log; None if it was not asked."""
    reading: Reading | None = request.__dict__.get("cache_reading")
    return reading.outcome if reading else None


def _reading(view: Any, request: HttpRequest) -> Reading | None:
    """The look into the cache, once however often the request is tried again; None without."""
    if "cache_reading" not in request.__dict__:
        place = _place(view)
        request.__dict__["cache_reading"] = look(place) if place else None
    reading: Reading | None = request.__dict__["cache_reading"]
    return reading


def _place(view: Any) -> Place | None:
    """Where the view's answer is kept; None where it is loaded always.

    It depends on the organization, the terminals that the caller is bound to if the rows belong to
    terminals, the thing, the query, and the shape of the answer. A superuser sees the rows of all
    organizations, which no commit of one would let the cache forget.
    """
    who, parameters = view.request.user, view.request.query_params
    if who.is_superuser or not who.organization_id:
        return None
    bound = sorted(map(str, who.bound_terminal_ids)) if view.queryset.terminal_path else []
    thing = view.kwargs.get("id")
    if thing is not None:
        if parameters:
            return None  # they are refused, if the thing is there
        try:
            thing = str(text.identifier(thing))
        except ValidationError:
            return None
    query = sorted((name, tuple(values)) for name, values in parameters.lists())
    field = digest(_shape(view.serializer_class), tuple(bound), thing, tuple(query))
    return Place(view.queryset.model.cached_as, who.organization_id, field)


def _loaded(load: Callable[[Any], HttpResponseBase], request: Any, reading: Any) -> bytes:
    try:
        response: Any = load(request)
    except NotFound:
        body = NOTHING
    else:
        is_plain = isinstance(response, Response)
        body = JSONRenderer().render(response.data) if is_plain else response.content
    if reading:
        reading.loaded = body
    return body


@cache
def _shape(serializer_class: Any) -> str:
    """What an answer of this release looks like: others may read the same cache meanwhile."""
    fields = serializer_class().fields
    return digest(VERSION, SHAPE, tuple((name, type(fields[name]).__name__) for name in fields))
