"""What needs no sign-in: health, tokens, the description of the API."""

from functools import cache
from typing import Any

import orjson
from django.contrib.auth import authenticate
from django.http import HttpResponse
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.settings import spectacular_settings
from drf_spectacular.utils import extend_schema
from drf_spectacular.views import SpectacularSwaggerSplitView
from rest_framework import serializers
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView
from rest_framework_simplejwt.tokens import RefreshToken

from core import health, text
from core.api.authentication import BearerAuthentication, user_of, verified
from core.api.fields import TextField
from core.api.schema import problems
from core.api.serializers import InputSerializer
from core.api.views import UnitOfWork
from core.version import VERSION


class Health(serializers.Serializer[Any]):
    status = serializers.ChoiceField(choices=["ok"])
    version = serializers.CharField()


class Live(serializers.Serializer[Any]):
    status = serializers.ChoiceField(choices=["ok"])


class Ready(serializers.Serializer[Any]):
    status = serializers.ChoiceField(choices=["ok", "unavailable"])
    reason = serializers.CharField(required=False)


class Part(serializers.Serializer[Any]):
    status = serializers.ChoiceField(choices=["ok", "down"])
    latency_ms = serializers.FloatField(allow_null=True)


class Parts(serializers.Serializer[Any]):
    database = Part()
    cache = Part()


class HealthDetails(serializers.Serializer[Any]):
    status = serializers.ChoiceField(choices=["ok", "degraded", "down"])
    checks = Parts()


class PublicView(APIView):
    """No sign-in, no transaction, no database unless the view itself asks it."""

    authentication_classes = []
    permission_classes = []
    http_method_names = ["get", "head"]

    def finalize_response(self, *args: Any, **kwargs: Any) -> Any:
        response = super().finalize_response(*args, **kwargs)
        response.setdefault("Cache-Control", "no-store")
        return response


@extend_schema(tags=["health"], auth=[], responses=Health)
class HealthView(PublicView):
    """The process answers; nothing else is touched."""

    def get(self, request: Request) -> Response:
        return Response({"status": "ok", "version": VERSION})


@extend_schema(tags=["health"], auth=[], responses=Live)
class LiveView(PublicView):
    """200 while the process answers: restart it when this fails, never for a dependency."""

    def get(self, request: Request) -> Response:
        return Response({"status": "ok"})


@extend_schema(tags=["health"], auth=[], responses={200: Ready, 503: Ready})
class ReadyView(PublicView):
    """Whether to send requests here: 503 while the database is away or migrations are missing."""

    def get(self, request: Request) -> Response:
        check = health.database.ask()
        if check.ok and check.migrated:
            return Response({"status": "ok"})
        reason = "migrations are missing" if check.ok else "the database is away"
        return Response(
            {"status": "unavailable", "reason": reason},
            503,
            headers={"Retry-After": "2"},
        )


@extend_schema(tags=["health"], auth=[], responses={200: HealthDetails, 503: HealthDetails})
class HealthDetailsView(PublicView):
    """Each part by itself: `degraded` without the cache, `down` without the database."""

    def get(self, request: Request) -> Response:
        database, cache_ = health.database.ask(), health.valkey.ask()
        status = "down" if not database.ok else "ok" if cache_.ok else "degraded"
        checks = {
            name: {
                "status": "ok" if check.ok else "down",
                "latency_ms": check.latency_ms,
            }
            for name, check in (("database", database), ("cache", cache_))
        }
        return Response({"status": status, "checks": checks}, 200 if database.ok else 503)


class Credentials(InputSerializer):
    username = TextField(text.storable, max_length=150)
    password = TextField(text.storable, max_length=1024, style={"input_type": "password"})


class Tokens(serializers.Serializer[Any]):
    access = serializers.CharField()
    refresh = serializers.CharField()


class RefreshInput(InputSerializer):
    refresh = TextField(text.storable, max_length=8192)


class AccessToken(serializers.Serializer[Any]):
    access = serializers.CharField()


class TokenView(UnitOfWork):
    authentication_classes = []
    permission_classes = []

    def get_authenticate_header(self, request: Request) -> str:
        return BearerAuthentication().authenticate_header(request)


class ObtainView(TokenView):
    """Sign in."""

    @extend_schema(
        operation_id="auth_token_create",
        tags=["auth"],
        auth=[],
        request=Credentials,
        responses={200: Tokens, **problems(400, 401, 413, 415, 422)},
    )
    def post(self, request: Request) -> Response:
        """A short access token and a longer refresh token for a name and a password."""
        given = Credentials(data=self.body()).accepted()
        user = authenticate(request._request, **given)
        if user is None:
            raise AuthenticationFailed
        token = RefreshToken.for_user(user)
        return Response({"access": str(token.access_token), "refresh": str(token)})


class RefreshView(TokenView):
    """Stay signed in."""

    @extend_schema(
        operation_id="auth_token_refresh_create",
        tags=["auth"],
        auth=[],
        request=RefreshInput,
        responses={200: AccessToken, **problems(400, 401, 413, 415, 422)},
    )
    def post(self, request: Request) -> Response:
        """A new access token for a refresh token."""
        token = verified(RefreshToken, RefreshInput(data=self.body()).accepted()["refresh"])
        user_of(token)
        return Response({"access": str(token.access_token)})  # type: ignore[attr-defined]


@cache
def description() -> bytes:
    """The OpenAPI description as JSON; it is the same for everyone until the process ends."""
    generator = SchemaGenerator(api_version="v1")
    return orjson.dumps(
        generator.get_schema(request=None, public=True),
        default=str,
        option=orjson.OPT_NON_STR_KEYS,
    )


class DescriptionView(PublicView):
    """The OpenAPI description."""

    schema = None

    def get(self, request: Request) -> HttpResponse:
        return HttpResponse(description(), content_type="application/json")


class DocsView(SpectacularSwaggerSplitView):
    """A page to read the description and try it, served without any outside host."""

    authentication_classes = []
    permission_classes = []
    http_method_names = ["get", "head"]
    url_name = "schema"
    title = spectacular_settings.TITLE
