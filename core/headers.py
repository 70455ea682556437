"""What every answer tells a browser it must not do with it.

Closed by default: an answer that is no page may load nothing at all. docs/decisions/0005 says what
the pages of the admin and of the API's description need, and why.
"""

from collections.abc import Callable
from typing import Any

from csp.constants import HEADER, NONE, SELF, UNSAFE_EVAL, UNSAFE_INLINE
from csp.middleware import CSPMiddleware, PolicyParts
from csp.utils import build_policy
from django.http import HttpRequest, HttpResponse
from django.utils.cache import patch_vary_headers

Policy = dict[str, list[str]]

NOTHING: Policy = {
    "default-src": [NONE],
    "base-uri": [NONE],
    "form-action": [NONE],
    "frame-ancestors": [NONE],
}
PAGE: Policy = {**NOTHING, "style-src": [SELF], "img-src": [SELF]}
DOCS: Policy = {
    **NOTHING,
    "script-src": [SELF],
    "style-src": [SELF],
    "img-src": [SELF, "data:"],
    "connect-src": [SELF],
}
ADMIN: Policy = {
    **DOCS,
    "script-src": [SELF, UNSAFE_EVAL],
    "style-src-attr": [UNSAFE_INLINE],
    "font-src": [SELF],
    "form-action": [SELF],
}

FEATURES = ("camera", "display-capture", "geolocation", "microphone", "payment", "usb")
ALWAYS = {
    "X-Frame-Options": "DENY",
    "Permissions-Policy": ", ".join(f"{feature}=()" for feature in FEATURES),
    "Cross-Origin-Resource-Policy": "same-origin",
}


def policy_for(request: HttpRequest, response: HttpResponse) -> Policy:
    """What the answer may load, if it is shown in a browser."""
    if not response.get("Content-Type", "").startswith("text/html"):
        return NOTHING
    if request.path_info.startswith("/admin/"):
        return ADMIN
    if request.resolver_match and request.resolver_match.view_name == "docs":
        return DOCS
    return PAGE


class ContentSecurityPolicy(CSPMiddleware):
    """django-csp, with a policy for each kind of answer; what is no page has the same always."""

    nothing = build_policy(config=NOTHING)

    def process_response(self, request: Any, response: Any) -> Any:
        of_its_own = hasattr(response, "_csp_config")
        if of_its_own or policy_for(request, response) is not NOTHING:
            return super().process_response(request, response)
        response.setdefault(HEADER, self.nothing)
        return response

    def get_policy_parts(self, request: Any, response: Any, report_only: bool = False) -> Any:
        if report_only:
            return PolicyParts()
        parts = super().get_policy_parts(request, response)
        parts.config = parts.config or policy_for(request, response)
        return parts


def safe_headers(
    get_response: Callable[[HttpRequest], HttpResponse],
) -> Callable[[HttpRequest], HttpResponse]:
    """What goes with every answer, whoever makes it; what needs a sign-in is kept by nobody."""

    def handle(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        for name, value in ALWAYS.items():
            response.setdefault(name, value)
        if request.path_info.startswith("/admin/"):
            response.setdefault("Cache-Control", "private, no-store")
            patch_vary_headers(response, ["Authorization", "Cookie"])
        return response

    return handle
