"""Orders over REST."""

from typing import Any

from django.utils import timezone
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework.decorators import action
from rest_framework.response import Response

from core.api.conditions import etag, expected_versions, is_known
from core.api.rows import Rows
from core.api.schema import IF_MATCH, IF_NONE_MATCH, problems, registry_schema, tag
from core.api.views import PlainViewSet
from core.roles import Act
from orders import services
from orders.api.filters import OrderFilter
from orders.api.history import AS_OF, HistoryActions
from orders.api.serializers import (
    CancelInput,
    NothingInput,
    OrderDetailOut,
    OrderInput,
    OrderOut,
    StepInput,
)
from orders.models import Order
from orders.querysets import OrderQuerySet

_ETAG = tag('`"v<version>"`.', 200, 201)


def _step(summary: str, given: Any) -> Any:
    return extend_schema(
        tags=["orders"],
        summary=summary,
        request={"application/json": given},
        parameters=[IF_MATCH, _ETAG],
        responses={200: OrderDetailOut, **problems(409, 412)},
    )


@extend_schema_view(
    **registry_schema(
        "order",
        OrderInput,
        OrderDetailOut,
        read=[IF_NONE_MATCH, _ETAG, AS_OF],
        write=[IF_MATCH, _ETAG],
    )
)
class OrderViewSet(HistoryActions, PlainViewSet):
    """Goods that pass a terminal."""

    resource = "orders.order"
    queryset = Order.objects.all()
    serializer_class = OrderOut
    detailed = Rows(OrderDetailOut, beside=["version"])
    input_class = OrderInput
    filterset_class = OrderFilter
    ordering_fields = (
        "eta_date",
        "etd_date",
        "created_at",
        "updated_at",
        "reference",
        "priority",
    )
    ordering = ("-created_at",)

    @classmethod
    def seen_by(cls, who: Any) -> OrderQuerySet:
        return Order.objects.visible_to(who).with_details()

    def _answer_with(self, order: Order) -> Response:
        return Response(self.detailed.of(order), headers={"ETag": etag(order.version)})

    def retrieve(self, request: Any, id: str) -> Response:
        if AS_OF.name in request.query_params:
            return self.as_of(request.query_params[AS_OF.name])
        version, order = self.shown(self.detailed)
        if is_known(request, version):
            return Response(status=304, headers={"ETag": etag(version)})
        return Response(order, headers={"ETag": etag(version)})

    def create(self, request: Any) -> Response:
        values = OrderInput(data=self.body()).accepted()
        order = services.create_order(values, by=request.user)
        response = self.created(order, self.detailed)
        response["ETag"] = etag(order.version)
        return response

    def update(self, request: Any, id: str, *, partial: bool = False) -> Response:
        order = self.get_object()
        values, refused = OrderInput(data=self.body(), partial=partial).judged()
        order = services.update_order(
            order,
            values,
            by=request.user,
            expected=expected_versions(request),
            refused=refused,
        )
        return self._answer_with(order)

    def partial_update(self, request: Any, id: str) -> Response:
        return self.update(request, id, partial=True)

    def destroy(self, request: Any, id: str) -> Response:
        services.delete_order(self.get_object(), expected=expected_versions(request))
        return Response(status=204)

    @_step("Record that the goods came", StepInput)
    @action(detail=True, methods=["post"], acts={"post": Act.CHANGE})
    def arrive(self, request: Any, id: str) -> Response:
        return self._move(services.arrive_order, StepInput)

    @_step("Record that the goods left", StepInput)
    @action(detail=True, methods=["post"], acts={"post": Act.CHANGE})
    def depart(self, request: Any, id: str) -> Response:
        return self._move(services.depart_order, StepInput)

    @_step("Call the order off", CancelInput)
    @action(detail=True, methods=["post"], acts={"post": Act.CHANGE})
    def cancel(self, request: Any, id: str) -> Response:
        return self._move(services.cancel_order, CancelInput)

    @_step("Plan a cancelled order again", NothingInput)
    @action(detail=True, methods=["post"], acts={"post": Act.CHANGE})
    def reopen(self, request: Any, id: str) -> Response:
        return self._move(services.reopen_order, NothingInput, timed=False)

    def _move(self, step: Any, given: Any, *, timed: bool = True) -> Response:
        order = self.get_object()
        # The clock is read with the order in hand: what waited for another step came after it.
        clock = {"now": timezone.now()} if timed else {}
        values, refused = given(data=self.body(required=False)).judged()
        order = step(
            order,
            **clock,
            **values,
            expected=expected_versions(self.request),
            refused=refused,
        )
        return self._answer_with(order)
