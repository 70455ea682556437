"""What every view of the API has in common: one request is one unit of work."""

import random
import time
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Never

from django.db import DatabaseError, transaction
from django.db.models import UUIDField
from django.http import HttpResponseBase
from rest_framework.exceptions import (
    APIException,
    ErrorDetail,
    MethodNotAllowed,
    ParseError,
    ValidationError,
)
from rest_framework.permissions import SAFE_METHODS
from rest_framework.response import Response
from rest_framework.views import APIView
from rest_framework.viewsets import GenericViewSet

from core import keys, metrics, services, tenancy, text
from core.api import cached, limited
from core.api.filters import StrictFilterBackend
from core.api.found import Found, remembered
from core.api.ordering import Key, StrictOrdering
from core.api.pagination import ContractPagination
from core.api.rows import Rows
from core.api.serializers import InputSerializer
from core.database_errors import is_retryable
from core.errors import NotFound
from core.limits import Kind
from core.prepared import Given, PreparedFor
from core.roles import Act, may

RETRIES = 3
MIN_PAUSE_S, MAX_PAUSE_S = 0.01, 0.1


class UnitOfWork(APIView):
    """One transaction per request: kept below status 400, rolled back otherwise.

    Not Django's `ATOMIC_REQUESTS`: PostgreSQL judges deferred foreign keys, and some serialization
    failures, only at COMMIT, which would then come after DRF's exception handler. Here it comes
    before it. A serialization failure or a deadlock is repeated whole, since nothing has left the
    house before the commit.
    """

    http_method_names = ["get", "head", "post", "put", "patch", "delete"]
    # What it is about, and what its methods do, as `core.roles` has it: without, it is for nobody.
    resource: ClassVar[str | None] = None
    acts: ClassVar[Mapping[str, Act]] = {}
    # Query parameters besides those of filters, ordering and pages.
    query_parameters: ClassVar[frozenset[str]] = frozenset()

    def dispatch(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        self.args, self.kwargs = args, kwargs
        self.headers = self.default_response_headers
        self.request = self.initialize_request(request, *args, **kwargs)
        response: Any
        try:
            limited.refuse_again(self.request, self.limit_kind())
            response = self._work(self.request)
        except Exception as error:  # noqa: BLE001 - the handler knows every kind
            response = self.handle_exception(error)
        keys.note_use(request.__dict__.get("user"))
        self.response = self.finalize_response(self.request, response, *args, **kwargs)
        limited.tell(request, self.response)
        return self.response

    def _work(self, request: Any) -> HttpResponseBase:
        for retries_left in reversed(range(RETRIES + 1)):
            try:
                with tenancy.unit_of_work():
                    response = self._answer(request)
                    if response.status_code >= 400:
                        transaction.set_rollback(True)
                    return response
            except DatabaseError as error:
                if not retries_left or not is_retryable(error):
                    raise
                metrics.RETRIES.inc()
                time.sleep(random.uniform(MIN_PAUSE_S, MAX_PAUSE_S))  # noqa: S311
                # Asked again who it is: that is what sets the tenant of the new transaction.
                request = self.initialize_request(request._request, *self.args, **self.kwargs)
                self.request = request
        raise AssertionError("unreachable")

    def _answer(self, request: Any) -> HttpResponseBase:
        self.initial(request, *self.args, **self.kwargs)
        if request.method not in SAFE_METHODS:
            tenancy.sign(request.user)
        name = (request.method or "").lower()
        handler = getattr(self, name, None) if name in self.http_method_names else None
        if handler is None:
            raise MethodNotAllowed(request.method)
        if "id" not in self.kwargs:  # else once it is found: 404 comes first
            self.refuse_unknown_parameters()
        answer: HttpResponseBase = handler(request, *self.args, **self.kwargs)
        return answer

    def limit_kind(self) -> Kind | None:
        """As what a request is counted; None where the view counts by itself."""
        return Kind.READ if self.request.method in SAFE_METHODS else Kind.WRITE

    def perform_authentication(self, request: Any) -> None:
        """Find out who it is, and whether it is one request too many; guesses count by address."""
        try:
            super().perform_authentication(request)
        except APIException:
            limited.count(request, self.limit_kind())
            raise
        limited.count(request, self.limit_kind())

    def refuse_unknown_parameters(self) -> None:
        """Raise `ValidationError` for the query's parameters that mean nothing here."""
        unknown = set(self.request.query_params) - self.known_parameters()
        if unknown:
            told = ErrorDetail("There is no such parameter.", code="unknown-parameter")
            raise ValidationError({name: [told] for name in sorted(unknown)})

    def known_parameters(self) -> frozenset[str]:
        return self.query_parameters

    def body(self, *, required: bool = True) -> Any:
        """The parsed body; an empty one is `{}` where none is required.

        Raises:
            ParseError: it is empty though required, or not JSON.
        """
        if not self.request._request.body:
            if required or int(self.request.META.get("CONTENT_LENGTH") or 0):
                raise ParseError("The body is empty.")
            return {}
        return self.request.data


class ContractViewSet(UnitOfWork, GenericViewSet[Any]):
    """Lists and single things of one kind, seen by who may see them."""

    lookup_field = "id"
    lookup_value_converter = "str"
    filter_backends = [StrictFilterBackend, StrictOrdering]
    pagination_class = ContractPagination
    ordering_fields: ClassVar[tuple[str, ...]]
    ordering: ClassVar[tuple[str, ...]]
    sorting: list[Key]
    listed: ClassVar[Rows]  # what `serializer_class` says, made by SQL
    input_class: ClassVar[type[InputSerializer]]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "serializer_class" in vars(cls):
            cls.listed = Rows(vars(cls)["serializer_class"])

    def known_parameters(self) -> frozenset[str]:
        if self.action != "list":
            return self.query_parameters
        filters = self.filterset_class.base_filters  # type: ignore[attr-defined]
        return frozenset([*filters, StrictOrdering.parameter, *ContractPagination.parameters])

    def get_object(self) -> Any:
        """The thing that the address names, held until the end of the request if it may change.

        Raises:
            NotFound: nothing has this id, or it is somebody else's.
            ValidationError: the query names parameters, and there are none here.
        """
        rows: Any = self.get_queryset()
        return self._one(rows if self.request.method in SAFE_METHODS else rows.locked())

    def _one(self, rows: Any, name: str = "id") -> Any:
        """The one of these rows that the address names, in its part `name`.

        Raises:
            NotFound: nothing has this id, or it is somebody else's.
        """
        try:
            thing = rows.get(pk=self._key(name))
        except rows.model.DoesNotExist:
            raise NotFound from None
        self.refuse_unknown_parameters()
        return thing

    def _key(self, name: str = "id") -> Any:
        from django.core.exceptions import ValidationError as NoId

        try:
            return text.identifier(self.kwargs[name])
        except NoId:
            raise NotFound from None

    def permission_denied(self, request: Any, *args: Any, **kwargs: Any) -> Never:
        """401, 404, 403: that something is not yours to do tells only of what is yours to see."""
        if "id" in self.kwargs and may(request.user, Act.VIEW, self.resource):
            self._one(self.get_queryset())
        super().permission_denied(request, *args, **kwargs)

    def list(self, request: Any) -> Response:
        return Response(self.page())

    def page(self) -> dict[str, Any]:
        """The page that the query asks for, as the renderer takes it: its rows are JSON already."""
        pages: Any = self.paginator
        ids = pages.ids(self.request, self.found)
        return {"data": self.listed.page(ids), **self.beside(ids), **pages.envelope}

    def found(self) -> Found:
        """The rows that the query asks for.

        Raises:
            ValidationError: a filter or the ordering is not what it may be.
        """
        return remembered(self, self._composed)

    def _composed(self) -> Found:
        rows = self.filter_queryset(self.get_queryset())
        unfiltering = {StrictOrdering.parameter, *ContractPagination.parameters}
        is_chosen = not unfiltering.issuperset(self.request.query_params)
        return Found(rows, self.sorting, is_chosen=is_chosen)

    def beside(self, ids: Sequence[Any]) -> dict[str, Any]:
        """What a page tells besides the rows with these ids."""
        return {}

    def created(self, thing: Any, shown: Rows) -> Response:
        """201, with the address of what was made."""
        path = self.request.path.rstrip("/")
        return Response(shown.of(thing), status=201, headers={"Location": f"{path}/{thing.pk}"})


class PlainViewSet(ContractViewSet):
    """Things whose address says no more than their id: each is found by a prepared statement."""

    queryset: Any
    held: ClassVar[PreparedFor]  # the thing itself, to be changed
    sought: ClassVar[PreparedFor]  # its id, if the caller sees it

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        given = Given("id", UUIDField())
        cls.held = PreparedFor(lambda who: cls.seen_by(who).locked().filter(pk=given))
        cls.sought = PreparedFor(lambda who: cls.seen_by(who).filter(pk=given).values_list("pk"))

    @classmethod
    def seen_by(cls, who: Any) -> Any:
        """What there is for `who`, with what it is shown with."""
        return cls.queryset.visible_to(who)

    def get_queryset(self) -> Any:
        return self.seen_by(self.request.user)

    def get_object(self) -> Any:
        if self.request.method in SAFE_METHODS:
            return super().get_object()
        who: Any = self.request.user
        thing = self.held.one(who, id=self._key())
        if thing is None:
            raise NotFound
        self.refuse_unknown_parameters()
        return thing

    def shown(self, rows: Rows) -> tuple[Any, ...]:
        """The thing that the address names, as `rows` makes it: what is beside, and its JSON.

        Raises:
            NotFound, ValidationError: as for `get_object`.
        """
        who: Any = self.request.user
        found = rows.one(*self.sought.statement(who, id=self._key()))
        if found is None:
            raise NotFound
        self.refuse_unknown_parameters()
        return found


class RegistryViewSet(PlainViewSet):
    """A register of things that are simply there, read through the cache."""

    def finalize_response(self, request: Any, response: Any, *args: Any, **kwargs: Any) -> Any:
        response = super().finalize_response(request, response, *args, **kwargs)
        cached.keep_afterwards(request._request, response)
        return response

    def list(self, request: Any) -> Any:
        return cached.answer(self, super().list)

    def retrieve(self, request: Any, id: str) -> Any:
        return cached.answer(self, self._read)

    def _read(self, request: Any) -> Response:
        (thing,) = self.shown(self.listed)
        return Response(thing)

    def create(self, request: Any) -> Response:
        services.home_of(request.user)  # whoever has none is told so before anything of the body
        values = self.input_class(data=self.body()).accepted()
        thing = services.create(self.queryset.model, values, by=request.user)
        return self.created(thing, self.listed)

    def update(self, request: Any, id: str, *, partial: bool = False) -> Response:
        thing = self.get_object()
        values = self.input_class(data=self.body(), partial=partial).accepted()
        return Response(self.listed.of(services.update(thing, values)))

    def partial_update(self, request: Any, id: str) -> Response:
        return self.update(request, id, partial=True)

    def destroy(self, request: Any, id: str) -> Response:
        services.delete(self.get_object())
        return Response(status=204)
