"""Who is calling: the token or key of `Authorization`, and nothing that only resembles one."""

import re
from copy import copy
from typing import Any
from uuid import UUID

from django.core.exceptions import ValidationError
from django.db import connection
from django.db.models import UUIDField
from django.http import HttpResponse
from rest_framework import authentication
from rest_framework.exceptions import AuthenticationFailed, PermissionDenied
from rest_framework.permissions import SAFE_METHODS
from rest_framework_simplejwt.authentication import JWTAuthentication
from rest_framework_simplejwt.tokens import Token

from core import keys, tenancy, text, two_factor
from core.api.tokens import FAMILY, HOME, home_claim, opened, tokens_for, verified
from core.models import Organization, TokenFamily, User
from core.prepared import Given, Prepared
from core.querysets import with_bound_terminals

__all__ = ["BearerAuthentication", "SessionAuthentication", "tokens_for", "user_of", "verified"]


def user_of(token: Token) -> User:
    """The user a verified token speaks for; the transaction enters its organization.

    Raises:
        AuthenticationFailed: gone, disabled, signed out, or with another password than when it
            was made.
    """
    claim, home, family = (token.payload.get(name) for name in ("user_id", HOME, FAMILY))
    if not (isinstance(claim, str) and isinstance(home, str) and isinstance(family, str)):
        raise AuthenticationFailed
    try:
        if home:
            tenancy.enter(text.identifier(home))
        else:
            tenancy.enter_everyone("superuser")
        user = _signed_in(user=text.identifier(claim), family=text.identifier(family))
    except ValidationError:
        raise AuthenticationFailed from None
    if (
        user is None
        or home != home_claim(user)
        or not user.is_active
        or not _same_password(token, user)
    ):
        raise AuthenticationFailed
    return user


def _columns(model: Any) -> list[str]:
    return [field.attname for field in model._meta.concrete_fields]


_USER, _HOME = _columns(User), _columns(Organization)
# Every request asks this.
_ROW = Prepared(
    lambda: (
        with_bound_terminals(User.objects.all())
        .filter(
            token_families__in=TokenFamily.objects.live().filter(pk=Given("family", UUIDField())),
            pk=Given("user", UUIDField()),
        )
        .values_list(*_USER, *(f"organization__{name}" for name in _HOME), "bound_terminal_ids")
    )
)


def _signed_in(*, user: UUID, family: UUID) -> User | None:
    """The user with the organization and the terminals, unless that sign-in is over."""
    row = _ROW.first(user=user, family=family)
    if row is None:
        return None
    *columns, bound = row
    found = User.from_db(connection.alias, _USER, columns[: len(_USER)])
    if found.organization_id:
        home = columns[len(_USER) :]
        found.organization = Organization.from_db(connection.alias, _HOME, home)
    found.bound_terminal_ids = bound
    return found


def _same_password(token: Token, user: User) -> bool:
    from rest_framework_simplejwt.settings import api_settings
    from rest_framework_simplejwt.utils import get_md5_hash_password

    claim = token.payload.get(api_settings.REVOKE_TOKEN_CLAIM)
    return bool(claim == get_md5_hash_password(user.password))


class ApiKeyAuthentication(authentication.BaseAuthentication):
    """`Authorization: Api-Key <key>`; the transaction enters the key's organization.

    `request.user` and `request.auth` are the key. It is looked up at each request, so that one that
    was revoked or has expired is dead at once.
    """

    scheme = b"api-key"
    _form = re.compile(r"dk_[A-Za-z0-9]{8}\.[A-Za-z0-9]{32}", re.ASCII)

    def authenticate(self, request: Any) -> Any:
        parts = authentication.get_authorization_header(request).split()
        if not parts or parts[0].lower() != self.scheme:
            return None
        given = parts[-1].decode("latin-1")
        if len(parts) != 2 or not self._form.fullmatch(given):
            raise AuthenticationFailed
        tenancy.enter_everyone("sign-in")
        key = keys.find_key(given)
        tenancy.enter(key.organization_id if key else None)
        if key is None:
            raise AuthenticationFailed
        return key, key

    def authenticate_header(self, request: Any) -> str:
        return 'Bearer realm="dockside", Api-Key realm="dockside"'


class BearerAuthentication(JWTAuthentication):
    """`Authorization: Bearer <access token>`; any other use of that header is refused."""

    www_authenticate_realm = "dockside"

    def authenticate(self, request: Any) -> Any:
        header = self.get_header(request)
        if header is None:
            return None
        parts = header.split()
        if len(parts) != 2 or parts[0].lower() != b"bearer":
            raise AuthenticationFailed
        token = opened(parts[1])
        return user_of(token), token


class SessionAuthentication(authentication.SessionAuthentication):
    """The admin's session, with its CSRF token; the transaction enters the user's organization.

    One that still lacks its second factor is nobody's.
    """

    def authenticate(self, request: Any) -> Any:
        found = super().authenticate(request)
        if found is None:
            return None
        tenancy.enter_for(found[0])
        if two_factor.is_satisfied(request._request):
            return found
        tenancy.enter(None)
        return None

    def enforce_csrf(self, request: Any) -> None:
        """By the header alone: no body is read, and none parsed, to look for a token in it."""
        if request.method in SAFE_METHODS:
            return
        asked = copy(request._request)
        asked.method = "PUT"  # of which Django expects no form
        check = authentication.CSRFCheck(lambda request: HttpResponse())
        check.process_request(asked)
        if reason := check.process_view(asked, None, (), {}):  # type: ignore[arg-type]
            raise PermissionDenied(f"CSRF: {reason}")
