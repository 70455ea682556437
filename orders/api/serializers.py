"""Orders as they come in and go out."""

from collections.abc import Mapping
from typing import Any

from django.db.models import IntegerField, JSONField, Value
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from core import text
from core.api.fields import (
    AmountField,
    ClockField,
    CountField,
    DayField,
    FlagField,
    IdField,
    InstantField,
    OneOfField,
    TextField,
)
from core.api.rows import Computed
from core.api.serializers import InputSerializer
from core.errors import FieldError
from fleet.api.serializers import DriverBrief, TrailerBrief, TruckBrief
from orders.models import MAX_COUNT, MAX_KILOS, Commodity, Order, Service
from terminals.api.serializers import TerminalBrief

_LEG = ["date", "time", "driver", "truck", "trailer"]
_TYPED = ["driver_name", "driver_phone", "truck_plate", "trailer_plate"]


@extend_schema_field({"type": "integer", "minimum": 0})
class DocumentsCount(Computed):
    """How many documents an order has."""

    expression = Value(0, output_field=IntegerField())

    @classmethod
    def value_of(cls, instance: Order) -> int:
        return 0


@extend_schema_field({"type": "array", "items": {"type": "object"}, "maxItems": 0})
class Documents(Computed):
    """The documents of an order."""

    expression = Value([], output_field=JSONField())

    @classmethod
    def value_of(cls, instance: Order) -> list[Any]:
        return []


class OrderOut(serializers.ModelSerializer[Order]):
    """An order in a list."""

    terminal = TerminalBrief()
    kilos = AmountField(max_digits=9, decimal_places=2, allow_null=True)
    eta_driver = DriverBrief(allow_null=True)
    eta_truck = TruckBrief(allow_null=True)
    eta_trailer = TrailerBrief(allow_null=True)
    etd_driver = DriverBrief(allow_null=True)
    etd_truck = TruckBrief(allow_null=True)
    etd_trailer = TrailerBrief(allow_null=True)
    documents_count = DocumentsCount()

    class Meta:
        model = Order
        fields = [
            "id",
            "reference",
            "service",
            "terminal",
            "commodity",
            "pallets",
            "boxes",
            "kilos",
            "priority",
            "notes",
            *(f"{leg}_{name}" for leg in ("eta", "etd") for name in _LEG + _TYPED),
            "status",
            "arrived_at",
            "departed_at",
            "cancelled_at",
            "cancel_reason",
            "documents_count",
            "version",
            "created_at",
            "updated_at",
        ]
        read_only_fields = fields


class OrderDetailOut(OrderOut):
    """An order by itself."""

    documents = Documents()

    class Meta(OrderOut.Meta):
        fields = [*OrderOut.Meta.fields, "documents"]
        read_only_fields = fields


def _optional(kind: Any, **kwargs: Any) -> Any:
    return kind(required=False, allow_null=True, default=None, **kwargs)


class OrderInput(InputSerializer):
    """What a client says of an order; what it leaves out gets its default."""

    def judged(self) -> tuple[dict[str, Any], list[FieldError]]:
        """As for every input; beside what is wrong, the values that are acceptable.

        The order's status is asked before its fields: what the good ones would have changed counts.
        """
        values, refused = super().judged()
        if refused and isinstance(self.initial_data, Mapping):
            for field in self._writable_fields:
                try:
                    value = field.run_validation(field.get_value(self.initial_data))
                except (serializers.SkipField, serializers.ValidationError):
                    continue
                values[str(field.field_name)] = value
        return values, refused

    reference = TextField(
        max_length=32, help_text="Unique in its terminal, without regard to case."
    )
    service = OneOfField(choices=Service.choices)
    terminal_id = IdField()
    commodity = _optional(OneOfField, choices=Commodity.choices)
    pallets = _optional(CountField, min_value=0, max_value=MAX_COUNT)
    boxes = _optional(CountField, min_value=0, max_value=MAX_COUNT)
    kilos = _optional(AmountField, max_digits=9, decimal_places=2, min_value=0, max_value=MAX_KILOS)
    priority = FlagField(required=False, default=False)
    notes = TextField(text.notes, max_length=1024, required=False)

    eta_date = _optional(DayField)
    eta_time = _optional(ClockField)
    eta_driver_id = _optional(IdField)
    eta_truck_id = _optional(IdField)
    eta_trailer_id = _optional(IdField)
    eta_driver_name = TextField(max_length=120, required=False)
    eta_driver_phone = TextField(max_length=32, required=False)
    eta_truck_plate = TextField(text.plate, max_length=16, required=False)
    eta_trailer_plate = TextField(text.plate, max_length=16, required=False)

    etd_date = _optional(DayField)
    etd_time = _optional(ClockField)
    etd_driver_id = _optional(IdField)
    etd_truck_id = _optional(IdField)
    etd_trailer_id = _optional(IdField)
    etd_driver_name = TextField(max_length=120, required=False)
    etd_driver_phone = TextField(max_length=32, required=False)
    etd_truck_plate = TextField(text.plate, max_length=16, required=False)
    etd_trailer_plate = TextField(text.plate, max_length=16, required=False)


class StepInput(InputSerializer):
    """When it happened; now, if nothing is said."""

    at = InstantField(required=False, help_text="With its offset, and not in the future.")


class CancelInput(InputSerializer):
    reason = TextField(text.notes, max_length=1024)


class NothingInput(InputSerializer):
    """A body without fields."""
