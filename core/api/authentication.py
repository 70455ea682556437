"""Who is calling: the bearer token of `Authorization`, and nothing that only resembles one."""

from typing import Any

from django.core.exceptions import ValidationError
from rest_framework.exceptions import AuthenticationFailed
from rest_framework_simplejwt.authentication import JWTAuthentication
from rest_framework_simplejwt.exceptions import TokenError
from rest_framework_simplejwt.tokens import Token

from core import text
from core.models import User


def user_of(token: Token) -> User:
    """The user a verified token speaks for.

    Raises:
        AuthenticationFailed: gone, disabled, or with another password than when it was made.
    """
    claim = token.payload.get("user_id")
    try:
        user = User.objects.get(pk=text.identifier(claim)) if isinstance(claim, str) else None
    except (User.DoesNotExist, ValidationError):
        user = None
    if user is None or not user.is_active or not _same_password(token, user):
        raise AuthenticationFailed
    return user


def _same_password(token: Token, user: User) -> bool:
    from rest_framework_simplejwt.settings import api_settings
    from rest_framework_simplejwt.utils import get_md5_hash_password

    claim = token.payload.get(api_settings.REVOKE_TOKEN_CLAIM)
    return bool(claim == get_md5_hash_password(user.password))


def verified(kind: type[Token], raw: Any) -> Token:
    """The token of this kind behind the text `raw`.

    Raises:
        AuthenticationFailed: it is not one, not ours, or not valid now; odd claims included, over
            which the library stumbles.
    """
    try:
        return kind(raw)
    except (TokenError, ValueError, TypeError, OverflowError, AttributeError):
        raise AuthenticationFailed from None


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
        from rest_framework_simplejwt.tokens import AccessToken

        token = verified(AccessToken, parts[1])
        return user_of(token), token
