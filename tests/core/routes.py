"""Every address of the API with every method it knows, read off the resolver: none is forgotten."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.urls import URLPattern, URLResolver, get_resolver

from core.api.permissions import ByRole
from core.models import Organization
from tests.core.resources import BY_NAME
from tests.documents.factories import OrderDocumentFactory

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "FOO")
WITH_BODY = ("POST", "PUT", "PATCH")


@dataclass(frozen=True)
class Route:
    """An address under /api/v1 and the methods that its view answers."""

    path: str
    methods: tuple[str, ...]
    is_public: bool

    @property
    def resource(self) -> str | None:
        name = self.path.split("/")[1]
        return name if name in BY_NAME else None

    @property
    def is_of_one_thing(self) -> bool:
        return "{id}" in self.path

    def address(self, organization: Organization) -> str:
        """The path for a thing that is there."""
        if not self.is_of_one_thing:
            return self.path
        thing = BY_NAME[str(self.resource)].thing(organization)
        parts = {"id": thing.pk}
        if "{document_id}" in self.path:
            parts["document_id"] = OrderDocumentFactory(order=thing).pk
        return self.path.format(**parts)

    def __str__(self) -> str:
        return self.path


def _patterns(resolver: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    for pattern in resolver.url_patterns:
        path = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from _patterns(pattern, path)
        elif isinstance(pattern, URLPattern):
            yield path, pattern.callback


def _routes() -> Iterator[Route]:
    for path, view in _patterns(get_resolver(), "/"):
        if not path.startswith("/api/v1/"):
            continue
        kind = view.cls
        known = {name: name for name in kind.http_method_names if hasattr(kind, name)}
        methods = {name.upper() for name in getattr(view, "actions", None) or known} - {"OPTIONS"}
        if "GET" in methods:
            methods.add("HEAD")
        yield Route(
            re.sub(r"<str:(\w+)>", r"{\1}", path.removeprefix("/api/v1")),
            tuple(method for method in METHODS if method in methods),
            ByRole not in kind.permission_classes,
        )


ROUTES = list(_routes())
OPERATIONS = [(route, method) for route in ROUTES for method in route.methods]
PRIVATE = [(route, method) for route, method in OPERATIONS if not route.is_public]
