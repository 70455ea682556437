"""What a test needs to use the admin as a browser does."""

import html
import re
from typing import Any

from django.contrib.messages import get_messages
from django.http import HttpResponse
from django.test import Client

from core.models import User


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def as_sent(page: Any, **changes: Any) -> dict[str, Any]:
    """What the browser sends when the form of `page` is saved, with `changes` to its fields."""
    data: dict[str, Any] = {}
    forms = [page.context["adminform"].form]
    for inline in page.context["inline_admin_formsets"]:
        forms += [inline.formset.management_form, *inline.formset.initial_forms]
    for form in forms:
        for bound in form:
            value = bound.value()
            if value is not True:  # else a checked box
                value = bound.field.widget.format_value(value)
            if value is not None:
                data[bound.html_name] = value
    return data | changes


def errors_of(page: Any) -> dict[str, list[str]]:
    """The errors that the form of `page` shows, by field."""
    return {name: list(errors) for name, errors in page.context["adminform"].form.errors.items()}


def messages_of(response: HttpResponse) -> list[str]:
    """What people are told above the page that `response` is or leads to."""
    return [str(message) for message in get_messages(response.wsgi_request)]


def text_of(page: HttpResponse) -> str:
    """The page without its markup, white space collapsed."""
    bare = re.sub(r"<(script|style).*?</\1>|<[^>]*>", " ", page.content.decode(), flags=re.DOTALL)
    return " ".join(html.unescape(bare).split())
