"""The page of an order's history in the admin."""

from typing import Any

from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from core.errors import NotFound
from orders import history

PER_PAGE = 50


class HistoryPage:
    """The tab "History" tells what the database recorded, not what the admin alone has done."""

    def history_view(
        self: Any,
        request: HttpRequest,
        object_id: str,
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        order = self.get_object(request, object_id)
        if order is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)
        if not self.has_view_or_change_permission(request, order):
            raise NotFound
        events: Any = history.trail(order.pk, user=request.user)  # type: ignore[arg-type]
        page = Paginator(events.order_by("-pgh_id"), PER_PAGE).get_page(request.GET.get("p"))
        context = {
            **self.admin_site.each_context(request),
            "title": f"History: {order}",
            "opts": self.opts,
            "object": order,
            "page": page,
            "entries": history.entries([*page]),
            **(extra_context or {}),
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, "orders/admin/history.html", context)
