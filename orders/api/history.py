"""What happened to an order, and the order as it was, over REST."""

from typing import Any

from django.core.exceptions import ValidationError as Malformed
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.response import Response

from core import text
from core.api.ordering import Key, StrictOrdering
from core.api.pagination import ContractPagination
from core.errors import FieldError, NotFound, RuleBroken
from core.roles import Act
from orders import history
from orders.api.serializers import OrderDetailOut, OrderOut

AS_OF = OpenApiParameter(
    "as_of",
    OpenApiTypes.DATETIME,
    description="The order as it stood at this instant, as far back as its history is kept: with"
    " its offset, not in the future. Without ETag. 404 before it was made or after it was deleted.",
)
DOORS = ["api", "admin", "web", "command", "database"]
ACTORS = ["user", "api_key", "command", "database"]
ACTIONS = ["created", "changed", "arrived", "departed", "cancelled", "reopened", "deleted"]


class ActorOut(serializers.Serializer[Any]):
    type = serializers.ChoiceField(
        choices=ACTORS, help_text="`database`: plain SQL, past every door."
    )
    name = serializers.CharField(help_text="The user name, or that of the key or the command.")


class ChangeOut(serializers.Serializer[Any]):
    field = serializers.CharField(help_text="As in the order; `eta_driver` is told by name.")
    before = serializers.SerializerMethodField()
    after = serializers.SerializerMethodField()
    text = serializers.CharField(help_text="The same in words.")

    @extend_schema_field({"nullable": True, "description": "What it was; null for nothing."})
    def get_before(self, change: history.Change) -> Any:
        return _as_in_orders(change.field, change.before)

    @extend_schema_field({"nullable": True, "description": "What it became; null for nothing."})
    def get_after(self, change: history.Change) -> Any:
        return _as_in_orders(change.field, change.after)


class EntryOut(serializers.Serializer[Any]):
    """One change of an order."""

    at = serializers.DateTimeField(help_text="`?as_of=` this instant shows what it became.")
    by = ActorOut()
    door = serializers.ChoiceField(choices=DOORS)
    address = serializers.CharField(allow_null=True, help_text="The caller's network address.")
    request_id = serializers.CharField(allow_null=True)
    action = serializers.ChoiceField(choices=ACTIONS)
    changes = ChangeOut(many=True)
    version = serializers.IntegerField()


_FIELDS = OrderOut().fields


def _as_in_orders(name: str, value: Any) -> Any:
    if value is None or isinstance(_FIELDS[name], serializers.Serializer):
        return value
    return _FIELDS[name].to_representation(value)


class ByTime(StrictOrdering):
    """`?ordering=at` or `-at`: by time, as the events were numbered."""

    def keys(self, request: Any, view: Any, model: Any) -> list[Key]:
        given = request.query_params.getlist(self.parameter) or ["-at"]
        if given not in (["at"], ["-at"]):
            self._refuse("invalid_choice", "Sorts by at.")
        return [Key("pgh_id", given == ["-at"])]


class HistoryActions:
    """What an order's ViewSet offers of its past."""

    def known_parameters(self) -> frozenset[str]:
        known: frozenset[str] = super().known_parameters()  # type: ignore[misc]
        more = {
            "retrieve": [AS_OF.name],
            "history": [ByTime.parameter, *ContractPagination.parameters],
        }
        return known | frozenset(more.get(self.action, []))  # type: ignore[attr-defined]

    @extend_schema(
        tags=["orders"],
        summary="Read what happened to an order",
        responses=EntryOut(many=True),
    )
    @action(
        detail=True,
        acts={"get": Act.VIEW},
        filter_backends=[ByTime],
        filterset_class=None,
        ordering_fields=("at",),
        ordering=("-at",),
        serializer_class=EntryOut,
    )
    def history(self: Any, request: Any, id: str) -> Response:
        """Every change, by whom and from where, newest first; of a deleted order too.

        Recorded by the database, whichever way the order was changed.
        """
        events = history.trail(_key(id), user=request.user)
        self.refuse_unknown_parameters()
        page = self.paginate_queryset(self.filter_queryset(events))
        return self.get_paginated_response(EntryOut(history.entries(page), many=True).data)

    def as_of(self: Any, given: str) -> Response:
        """The order as it stood at the instant that is `given`."""
        if len(self.request.query_params.getlist(AS_OF.name)) > 1:
            raise RuleBroken([FieldError(AS_OF.name, "repeated", "Given more than once.")])
        try:
            at = text.instant(given)
        except Malformed as error:
            told = FieldError(AS_OF.name, error.code or "invalid", error.messages[0])
            raise RuleBroken([told]) from None
        order = history.order_as_of(_key(self.kwargs["id"]), at, user=self.request.user)
        self.refuse_unknown_parameters()
        return Response(OrderDetailOut(order).data)


def _key(given: str) -> Any:
    try:
        return text.identifier(given)
    except Malformed:
        raise NotFound from None
