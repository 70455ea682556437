"""What a client sends."""

from typing import Any

from terminals.models import Terminal


def order_body(terminal: Terminal, **given: Any) -> dict[str, Any]:
    """The plainest order that `terminal` accepts, with what is `given` beside it."""
    return {
        "reference": "A-1",
        "service": "cross_dock",
        "terminal_id": str(terminal.pk),
        "eta_date": "2026-11-23",
        "etd_date": "2026-11-24",
        **given,
    }
