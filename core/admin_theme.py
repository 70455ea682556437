"""What Unfold's pages are given to draw."""

from typing import Any

from django.http import HttpRequest


def without_inline_style(request: HttpRequest) -> dict[str, Any]:
    """Unfold's `GLOBAL_CALLBACK`: the colours come as a file, core/static/core/theme.css."""
    return {"colors": None}
