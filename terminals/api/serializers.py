"""Terminals as they come in and go out."""

from rest_framework import serializers

from core import text
from core.api.fields import FlagField, TextField
from core.api.serializers import InputSerializer
from terminals.models import Terminal


class TerminalBrief(serializers.ModelSerializer[Terminal]):
    """A terminal inside something else."""

    class Meta:
        model = Terminal
        fields = ["id", "name", "account_code"]


class TerminalOut(serializers.ModelSerializer[Terminal]):
    class Meta:
        model = Terminal
        fields = [
            "id",
            "name",
            "account_code",
            "address",
            "timezone",
            "is_active",
            "created_at",
            "updated_at",
        ]


class TerminalInput(InputSerializer):
    name = TextField(max_length=120)
    account_code = TextField(max_length=32)
    address = TextField(text.notes, max_length=255, required=False)
    timezone = TextField(text.zone, max_length=64, required=False, default="Europe/Oslo")
    is_active = FlagField(required=False, default=True)
