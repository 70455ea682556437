"""The refusals that orders can give."""

from typing import TYPE_CHECKING

from core.errors import Conflict

if TYPE_CHECKING:
    from orders.models import Order


class WrongStatus(Conflict):
    """The order's status does not allow this."""

    code = "wrong-status"

    def __init__(self, order: "Order", wanted: str) -> None:
        super().__init__(
            f"Order {order.reference} is {order.get_status_display().lower()}: {wanted}."
        )
