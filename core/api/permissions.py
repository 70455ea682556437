"""The table of `core.roles`, read for a view: what a request is, and whether it may be.

A view says what it is about (`resource`), and a method of it what it does (`acts`). One that says
neither is open to nobody.
"""

from typing import Any

from rest_framework.permissions import BasePermission

from core.roles import Act, may

# What the usual methods of a viewset do.
ACTS = {
    "list": Act.VIEW,
    "retrieve": Act.VIEW,
    "create": Act.ADD,
    "update": Act.CHANGE,
    "partial_update": Act.CHANGE,
    "destroy": Act.DELETE,
}


def act_of(view: Any, method: str) -> Act | None:
    """What `method` does in this view; None where the view does not say so."""
    method = "get" if method.lower() == "head" else method.lower()
    return ACTS.get(getattr(view, "action", None) or "") or getattr(view, "acts", {}).get(method)


class ByRole(BasePermission):
    """Signed in, and allowed by the table."""

    def has_permission(self, request: Any, view: Any) -> bool:
        if not request.user.is_authenticated:
            return False
        method = request.method.lower()
        if method not in view.http_method_names or not hasattr(view, method):
            return True  # there is no such method, and that is what the answer says
        act = act_of(view, method)
        return act is not None and may(request.user, act, getattr(view, "resource", None))
