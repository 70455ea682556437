"""What the side bar of the admin shows."""

from typing import Any

from django.http import HttpRequest
from django.urls import reverse
from django.utils.http import urlencode

from core.admin import looks_after_people


def navigation(request: HttpRequest) -> list[dict[str, Any]]:
    """Unfold's `SIDEBAR["navigation"]`."""

    def orders(title: str, icon: str, **filters: str) -> dict[str, Any]:
        path = reverse("admin:orders_order_changelist")
        return {
            "title": title,
            "icon": icon,
            "link": f"{path}?{urlencode(filters)}" if filters else path,
            "active": request.path == path and request.GET.dict() == filters,
        }

    def registry(title: str, icon: str, model: str) -> dict[str, Any]:
        return {"title": title, "icon": icon, "link": reverse(f"admin:{model}_changelist")}

    people = [
        registry("Users", "group", "core_user"),
        registry("Organizations", "apartment", "core_organization"),
    ]
    return [
        {
            "title": "Orders",
            "items": [
                {"title": "Board", "icon": "dashboard", "link": reverse("admin:index")},
                orders("Today", "today", period="today"),
                orders("Tomorrow", "event", period="tomorrow"),
                orders("In terminal", "warehouse", in_terminal="1"),
                orders("Late", "schedule", late="1"),
                orders("All orders", "list_alt"),
                registry("Documents", "find_in_page", "documents_orderdocument"),
            ],
        },
        {
            "title": "Registry",
            "separator": True,
            "items": [
                registry("Terminals", "home_work", "terminals_terminal"),
                registry("Drivers", "badge", "fleet_driver"),
                registry("Trucks", "local_shipping", "fleet_truck"),
                registry("Trailers", "rv_hookup", "fleet_trailer"),
            ],
        },
        {
            "title": "System",
            "separator": True,
            "items": [
                *(people if looks_after_people(request) else []),
                {"title": "API description", "icon": "api", "link": "/api/v1/docs"},
            ],
        },
    ]
