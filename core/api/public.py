"""What needs no sign-in: health, tokens, the description of the API."""

import logging
from functools import cache
from typing import Any

import orjson
from django.contrib.auth import authenticate
from django.core.exceptions import ValidationError
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

from core import health, tenancy, text, token_families
from core.api.authentication import BearerAuthentication, user_of
from core.api.fields import TextField
from core.api.schema import problems
from core.api.serializers import InputSerializer
from core.api.tokens import FAMILY, Refresh, exchanged, tokens_for, verified
from core.api.views import UnitOfWork
from core.limits import Kind
from core.models import Role, TokenFamily
from core.roles import Act
from core.token_families import TokenReused
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
    """Whether to send requests here.

    503 while the database is away, migrations are missing, or the process is about to stop.
    """

    def get(self, request: Request) -> Response:
        reason = self._reason_against()
        if reason is None:
            return Response({"status": "ok"})
        return Response(
            {"status": "unavailable", "reason": reason},
            503,
            headers={"Retry-After": "2"},
        )

    def _reason_against(self) -> str | None:
        if health.stopping.is_set():
            return "it is about to stop"
        check = health.database.ask()
        if not check.ok:
            return "the database is away"
        return None if check.migrated else "migrations are missing"


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


class OrganizationRef(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    slug = serializers.CharField()
    name = serializers.CharField()


class TerminalOfMine(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    name = serializers.CharField()
    account_code = serializers.CharField()


class Me(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    username = serializers.CharField(help_text="An API key's is its name.")
    organization = OrganizationRef(allow_null=True)
    role = serializers.ChoiceField(choices=Role.choices)
    terminals = TerminalOfMine(many=True, help_text="None: all of the organization's.")


class TokenView(UnitOfWork):
    authentication_classes = []
    permission_classes = []

    def get_authenticate_header(self, request: Request) -> str:
        return BearerAuthentication().authenticate_header(request)


class ObtainView(TokenView):
    """Sign in."""

    def limit_kind(self) -> Kind | None:
        return None  # failures are counted, wherever somebody signs in

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
        token = tokens_for(user)
        return Response({"access": str(token.access_token), "refresh": str(token)})


class RefreshView(TokenView):
    """Stay signed in."""

    def _work(self, request: Any) -> Any:
        try:
            return super()._work(request)
        except TokenReused as reused:
            # In a transaction of its own: the refusal's keeps nothing.
            with tenancy.everyone("a used refresh token came again", level=logging.INFO):
                token_families.end(reused.family_id)
            raise AuthenticationFailed from None

    @extend_schema(
        operation_id="auth_token_refresh_create",
        tags=["auth"],
        auth=[],
        request=RefreshInput,
        responses={200: Tokens, **problems(400, 401, 413, 415, 422)},
    )
    def post(self, request: Request) -> Response:
        """A new access token and a new refresh token; the old refresh token is used up.

        A used refresh token that comes again ends every token that came from the same sign-in.
        """
        token = verified(Refresh, RefreshInput(data=self.body()).accepted()["refresh"])
        try:
            newer = exchanged(token, user_of(token))
        except TokenFamily.DoesNotExist:
            raise AuthenticationFailed from None
        return Response({"access": str(newer.access_token), "refresh": str(newer)})


class LogoutView(TokenView):
    """Sign out."""

    @extend_schema(
        operation_id="auth_logout_create",
        tags=["auth"],
        auth=[],
        request=RefreshInput,
        responses={204: None, **problems(400, 401, 413, 415, 422)},
    )
    def post(self, request: Request) -> Response:
        """No token that came from the same sign-in is good any more, access tokens included."""
        token = verified(Refresh, RefreshInput(data=self.body()).accepted()["refresh"])
        try:
            family_id = text.identifier(token.payload[FAMILY])
        except (KeyError, TypeError, ValidationError):
            raise AuthenticationFailed from None
        with tenancy.everyone("sign-in"):
            token_families.end(family_id)
        return Response(status=204)


class MeView(UnitOfWork):
    """Who is signed in."""

    resource = "account"
    acts = {"get": Act.VIEW}

    @extend_schema(operation_id="auth_me_retrieve", tags=["auth"], responses=Me)
    def get(self, request: Request) -> Response:
        """The user or API key of this request, what it may do, and where."""
        who: Any = request.user
        shown = Me(
            {
                "id": who.pk,
                "username": who.get_username() if hasattr(who, "get_username") else who.name,
                "organization": who.organization,
                "role": who.role,
                "terminals": who.terminals.order_by("account_code"),
            }
        )
        return Response(shown.data)


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
    template_name = "core/docs.html"
    title = spectacular_settings.TITLE
