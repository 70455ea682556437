"""Answers are JSON, and only JSON."""

from decimal import Decimal
from typing import Any

import orjson
from rest_framework.exceptions import NotAcceptable
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.renderers import BaseRenderer

MAX_ACCEPT_CHARS = 2_000


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return float(value)
    return str(value)


class JSONRenderer(BaseRenderer):
    """JSON by orjson: UUIDs and dates as text, decimals as numbers, instants in UTC with `Z`."""

    media_type = "application/json"
    format = "json"
    charset = None
    render_style = "binary"

    def render(
        self, data: Any, accepted_media_type: Any = None, renderer_context: Any = None
    ) -> bytes:
        if data is None:
            return b""
        return orjson.dumps(data, default=_plain, option=orjson.OPT_UTC_Z)


class Negotiation(DefaultContentNegotiation):
    """DRF's, but a client that asks only for problems gets JSON, and a flood of types is cut."""

    def select_renderer(self, request: Any, renderers: Any, format_suffix: Any = None) -> Any:
        try:
            return super().select_renderer(request, renderers, format_suffix)
        except NotAcceptable:
            if any(
                "application/problem+json" in accept for accept in self.get_accept_list(request)
            ):
                return renderers[0], renderers[0].media_type
            raise

    def get_accept_list(self, request: Any) -> list[str]:
        accept = request.META.get("HTTP_ACCEPT", "*/*")
        if len(accept) > MAX_ACCEPT_CHARS:
            return ["*/*"]
        return [token.strip() for token in accept.split(",")]
