"""The upload of a browser that runs no script: a plain form, handed to the API as it is.

Outside of `/admin/`, where each request is one transaction: none is open while files are looked at.
"""

import json
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt

from core import tenancy
from core.api.errors import answer_to
from documents.admin_of_order import place_of
from documents.api.uploads import take_in
from documents.api.views import OrderDocumentViewSet

FORM_TOKEN = "csrfmiddlewaretoken"  # noqa: S105 - the name of a field

_create = OrderDocumentViewSet.as_view({"post": "create"})


@csrf_exempt  # the API asks for the token that the form brings along
@never_cache
def upload(request: HttpRequest, order_id: UUID) -> HttpResponse:
    """Upload what was chosen, and tell above the order's page what each file came to."""
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    place = place_of(order_id)
    with tenancy.unit_of_work():
        if not request.user.is_authenticated:
            return redirect_to_login(place)
    try:
        with take_in(request) as form:
            request.META["HTTP_X_CSRFTOKEN"] = "".join(form.texts.pop(FORM_TOKEN, []))
            request.form_taken_in = form  # type: ignore[attr-defined]
            answer: Any = _create(request, id=str(order_id))
    except Exception as error:  # noqa: BLE001 - the handler knows every kind
        answer = answer_to(error, request)
    body = answer.data if hasattr(answer, "data") else json.loads(answer.content)
    for result in body.get("data", [body]):
        name = result.get("file_name", "")
        problem = result if answer.status_code >= 400 else result.get("problem")
        told = words(problem) if problem else "uploaded."
        level = messages.ERROR if problem else messages.SUCCESS
        messages.add_message(request, level, f"{name}: {told}" if name else told)
    return HttpResponseRedirect(place)


def words(problem: dict[str, Any]) -> str:
    """What a problem of the API says to people; the page's script puts it into the same words."""
    told = [
        error["message"]
        if error["field"] in {None, "file"}
        else f"{error['field'].capitalize()}: {error['message']}"
        for error in problem.get("errors") or []
    ]
    return " ".join(told) or str(problem["detail"])
