"""Bearer tokens: what stands in them, and with which keys they are signed."""

import time
from functools import cache
from hashlib import sha256
from typing import Any

import jwt
from django.conf import settings
from rest_framework.exceptions import AuthenticationFailed
from rest_framework_simplejwt.backends import TokenBackend
from rest_framework_simplejwt.exceptions import TokenBackendError, TokenError
from rest_framework_simplejwt.settings import api_settings
from rest_framework_simplejwt.tokens import AccessToken, RefreshToken, Token
from rest_framework_simplejwt.utils import datetime_from_epoch

from core import token_families
from core.models import User

HOME, FAMILY = "organization", "family"
REMEMBERED = 10_000


class KeyRing(TokenBackend):
    """Signs with SECRET_KEY; verifies with that or with an older one, whichever `kid` names.

    So a new SECRET_KEY signs nobody out while the old one stands in SECRET_KEY_FALLBACKS.
    """

    def encode(self, payload: dict[str, Any]) -> str:
        key = settings.SECRET_KEY
        claims = {**payload, "aud": self.audience, "iss": self.issuer}
        return jwt.encode(claims, key, self.algorithm, headers={"kid": key_id(key)})

    def get_verifying_key(self, token: Any) -> str:
        named = jwt.get_unverified_header(token).get("kid")
        for key in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS):
            if key_id(key) == named:
                return key
        raise TokenBackendError


@cache
def key_id(key: str) -> str:
    """How tokens name the key that they are signed with, without telling anything about it."""
    return sha256(f"kid:{key}".encode()).hexdigest()[:12]


KEYS = KeyRing(
    algorithm=api_settings.ALGORITHM,
    audience=api_settings.AUDIENCE,
    issuer=api_settings.ISSUER,
    leeway=api_settings.LEEWAY,
)


class Access(AccessToken):
    """A short-lived token that opens the API."""

    _token_backend = KEYS


class Refresh(RefreshToken):
    """A token that is good once, for a newer one and an access token."""

    _token_backend = KEYS
    access_token_class = Access


def tokens_for(user: User) -> Refresh:
    """The first refresh token of a new family, and within it an access token."""
    token = _blank(user)
    family = token_families.begin(user, token["jti"], expires_at=datetime_from_epoch(token["exp"]))
    token[FAMILY] = str(family.pk)
    return token


def exchanged(token: Token, user: User) -> Refresh:
    """The refresh token that follows `token`.

    Raises:
        TokenFamily.DoesNotExist, TokenReused: as `token_families.go_on`.
    """
    newer = _blank(user)
    newer[FAMILY] = token[FAMILY]
    token_families.go_on(
        token[FAMILY],
        used=token["jti"],
        newer=newer["jti"],
        expires_at=datetime_from_epoch(newer["exp"]),
    )
    return newer


def _blank(user: User) -> Refresh:
    token: Any = Refresh.for_user(user)
    token[HOME] = home_claim(user)
    return token


def home_claim(user: User) -> str:
    """What a token says of its user's organization; nothing for a superuser, who sees all."""
    return "" if user.is_superuser else str(user.organization_id)


# What was verified, by the digest of its text and of the keys. Each access is one operation.
_opened: dict[bytes, Token] = {}


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


def opened(raw: bytes) -> Token:
    """The access token behind `raw`, as `verified`, not to be changed.

    A program sends the same one hundreds of times, and what the signature says of a text never
    changes. Whether its time is over is asked each time; whether somebody has signed out is the
    database's to say, for each request too.
    """
    keys = (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)
    digest = sha256(repr((raw, keys)).encode()).digest()
    token = _opened.get(digest)
    if token is None:
        token = verified(Access, raw)
        if len(_opened) >= REMEMBERED:
            _opened.clear()
        _opened[digest] = token
    elif token.payload["exp"] <= time.time() - KEYS.get_leeway().total_seconds():
        raise AuthenticationFailed
    return token
