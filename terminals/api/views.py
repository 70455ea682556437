"""Terminals over REST."""

from drf_spectacular.utils import extend_schema_view

from core.api.schema import OF_BYTES, registry_schema
from core.api.views import RegistryViewSet
from terminals.api.filters import TerminalFilter
from terminals.api.serializers import TerminalInput, TerminalOut
from terminals.models import Terminal


@extend_schema_view(
    **registry_schema("terminal", TerminalInput, TerminalOut, lists=OF_BYTES, read=OF_BYTES)
)
class TerminalViewSet(RegistryViewSet):
    """Places where goods go from truck to truck."""

    resource = "terminals.terminal"
    queryset = Terminal.objects.all()
    serializer_class = TerminalOut
    input_class = TerminalInput
    filterset_class = TerminalFilter
    ordering_fields = ("name", "account_code", "created_at")
    ordering = ("name",)
