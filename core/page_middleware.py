"""Django's middleware for pages: sessions, their users, forms and messages.

A program's request has none of them, and passes by. One to the API that comes from a browser, with
a cookie and without `Authorization`, may be signed in by its session.
"""

from typing import Any

from django.contrib.auth import middleware as auth
from django.contrib.messages import middleware as messages
from django.contrib.sessions import middleware as sessions
from django.http import HttpRequest
from django.middleware import common, csrf
from django.utils.deprecation import MiddlewareMixin

API = "/api/"


def is_of_a_program(request: HttpRequest) -> bool:
    """Whether no session can concern it: `Authorization` alone says who it is, or nothing does."""
    given = request.META
    return request.path_info.startswith(API) and (
        "HTTP_AUTHORIZATION" in given or "HTTP_COOKIE" not in given
    )


class _ForPages(MiddlewareMixin):
    def __call__(self, request: HttpRequest) -> Any:
        if is_of_a_program(request):
            return self.get_response(request)
        return super().__call__(request)


class SessionMiddleware(_ForPages, sessions.SessionMiddleware):
    pass


class CommonMiddleware(_ForPages, common.CommonMiddleware):
    pass


class CsrfViewMiddleware(_ForPages, csrf.CsrfViewMiddleware):
    """Of the API only a session can be misused, and `SessionAuthentication` asks for the token."""

    def process_view(self, request: HttpRequest, *view: Any) -> Any:
        return None if is_of_a_program(request) else super().process_view(request, *view)


class AuthenticationMiddleware(_ForPages, auth.AuthenticationMiddleware):
    pass


class MessageMiddleware(_ForPages, messages.MessageMiddleware):
    pass
