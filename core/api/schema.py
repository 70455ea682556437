"""The OpenAPI description: one Problem for every refusal, and the house's own conventions."""

from collections.abc import Sequence
from typing import Any

from drf_spectacular.authentication import SessionScheme as DjangoSessionScheme
from drf_spectacular.extensions import (
    OpenApiAuthenticationExtension,
    OpenApiSerializerFieldExtension,
)
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.serializers import ModelSerializer

from core import text
from core.api.fields import AmountField
from core.api.patterns import pattern_of
from core.api.permissions import act_of
from core.api.problems import CONTENT_TYPE, PROBLEMS
from core.api.serializers import InputSerializer
from core.models import Role
from core.roles import Act, Right, right_to

_STATUSES = {problem.status for problem in PROBLEMS.values()}
# What any operation may answer, whatever it does.
_ALWAYS = (400, 405, 406, 422, 429, 500, 503)
_SIGNED_IN = (401, 403)
_WITH_BODY = (413, 415)
_HEADERS = {
    status: {name: {"description": told, "required": True, "schema": {"type": kind}}}
    for status, name, told, kind in (
        ("401", "WWW-Authenticate", "How to sign in.", "string"),
        ("405", "Allow", "The methods there are.", "string"),
        ("429", "Retry-After", "Seconds to wait.", "integer"),
        ("503", "Retry-After", "Seconds to wait.", "integer"),
    )
}


def problems(*statuses: int) -> dict[int, OpenApiResponse]:
    """Responses for `extend_schema`: these statuses, each a problem of the contract."""
    names = {
        status: " / ".join(code for code, each in PROBLEMS.items() if each.status == status)
        for status in statuses
    }
    return {status: OpenApiResponse(description=names[status]) for status in statuses}


class BearerScheme(OpenApiAuthenticationExtension):
    """How the description names `BearerAuthentication`."""

    target_class = "core.api.authentication.BearerAuthentication"
    name = "bearer"

    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:
        return {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}


class TextScheme(OpenApiSerializerFieldExtension):
    """How the description says what a `TextField` takes."""

    target_class = "core.api.fields.TextField"

    def map_serializer_field(self, auto_schema: Any, direction: Any) -> dict[str, Any]:
        field = self.target
        if field.normal is text.storable:  # taken as it stands
            return {
                "type": "string",
                "minLength": 1,
                "maxLength": field.max_chars,
                "pattern": r"^[^\x00]*$",
            }
        pattern = pattern_of(field.normal, field.max_chars, may_be_empty=field.allow_blank)
        return {"type": "string", "pattern": pattern}


class AmountScheme(OpenApiSerializerFieldExtension):
    """An `AmountField`, with bounds that are numbers in JSON too."""

    target_class = "core.api.fields.AmountField"

    def map_serializer_field(self, auto_schema: Any, direction: Any) -> dict[str, Any]:
        bounds = {"minimum": self.target.min_value, "maximum": self.target.max_value}
        numbers = {name: float(bound) for name, bound in bounds.items() if bound is not None}
        return {"type": "number", "format": "double", "multipleOf": 0.01} | numbers


class TimeScheme(OpenApiSerializerFieldExtension):
    """A time of day that is shown; the format `time` of JSON Schema would have an offset."""

    target_class = "rest_framework.serializers.TimeField"

    def map_serializer_field(self, auto_schema: Any, direction: Any) -> dict[str, Any]:
        return {
            "type": "string",
            "pattern": "^([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]$",
            "example": "06:30:00",
        }


class ApiKeyScheme(OpenApiAuthenticationExtension):
    """How the description names `ApiKeyAuthentication`."""

    target_class = "core.api.authentication.ApiKeyAuthentication"
    name = "ApiKey"

    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:
        return {
            "type": "apiKey",
            "in": "header",
            "name": "Authorization",
            "description": "For programs: `Authorization: Api-Key <key>`.",
        }


class SessionScheme(DjangoSessionScheme):
    """How the description names `SessionAuthentication`."""

    target_class = "core.api.authentication.SessionAuthentication"


class ContractSchema(AutoSchema):
    """drf-spectacular's, with what it cannot know of the house's serializers and addresses."""

    def _map_basic_serializer(self, serializer: Any, direction: Any) -> Any:
        schema = super()._map_basic_serializer(serializer, direction)
        if isinstance(serializer, InputSerializer):
            schema["additionalProperties"] = False
        elif isinstance(serializer, ModelSerializer):  # what is shown is shown whole
            schema["required"] = sorted(schema["properties"])
            for shown in schema["properties"].values():
                shown.pop("readOnly", None)
        return schema

    def _insert_field_validators(self, field: Any, schema: Any) -> None:
        if not isinstance(field, AmountField):  # whose bounds are decimals: `AmountScheme`
            super()._insert_field_validators(field, schema)

    def _get_request_body(self, direction: Any = "request") -> Any:
        body = super()._get_request_body(direction)
        if body and self.method in {"PUT", "PATCH"}:
            body["required"] = True  # an empty body is not even JSON
        return body

    def _resolve_path_parameters(self, variables: Any) -> Any:
        parameters = super()._resolve_path_parameters(variables)
        for parameter in parameters:
            parameter["schema"] = {"type": "string", "format": "uuid"}
        return parameters

    def _get_filter_parameters(self) -> Any:
        parameters = super()._get_filter_parameters()
        for parameter in parameters:  # a column may be null, a parameter is there or is not
            parameter["schema"].get("items", {}).pop("nullable", None)
        return parameters

    @property
    def right(self) -> tuple[Act, Right] | None:
        """What the operation does, and the least that it takes, by the table of `core.roles`."""
        act = act_of(self.view, self.method)
        right = right_to(act, getattr(self.view, "resource", None)) if act else None
        return (act, right) if act and right else None

    def get_extensions(self) -> dict[str, Any]:
        if not self.right:
            return super().get_extensions()
        act, right = self.right
        scope = {"x-required-scope": str(act.scope)} if right.role != Role.ADMIN else {}
        return {**super().get_extensions(), "x-required-role": str(right.role), **scope}

    def get_description(self) -> str:  # type: ignore[override]
        said = super().get_description()
        if not self.right:
            return said
        act, right = self.right
        who = f"Needs the role {right.role}"
        if right.role == Role.ADMIN:
            who += "; no API key has it"
        else:
            who += f", or an API key with the scope {act.scope}"
        if right.unbound:
            who += "; not for those who are bound to terminals"
        return f"{said}\n\n{who}.".strip()


IF_MATCH = OpenApiParameter(
    "If-Match",
    str,
    OpenApiParameter.HEADER,
    description='An ETag such as `"v3"`, or `*`.',
)
IF_NONE_MATCH = OpenApiParameter(
    "If-None-Match",
    str,
    OpenApiParameter.HEADER,
    description="304 if it still has this ETag.",
)


def tag(told: str, *statuses: int) -> OpenApiParameter:
    """The header ETag of answers with these statuses."""
    return OpenApiParameter(
        "ETag", str, OpenApiParameter.HEADER, response=[*statuses], description=told
    )


OF_BYTES = [IF_NONE_MATCH, tag("Of the whole answer, for `If-None-Match` only.", 200)]


def registry_schema(
    noun: str,
    given: Any,
    shown: Any,
    *,
    lists: Sequence[OpenApiParameter] = (),
    read: Sequence[OpenApiParameter] = (),
    write: Sequence[OpenApiParameter] = (),
) -> dict[str, Any]:
    """`extend_schema_view` of a register: what goes in, what comes out, what may stand against it.

    `lists`, `read` and `write` are the headers of conditional requests: for what is read through
    the cache, OF_BYTES, and where the thing has versions.
    """
    stands_against = problems(409, 412) if write else problems(409)
    told = {304: OpenApiResponse(description="unchanged")}
    unchanged = told if read else {}
    of_list: dict[str, Any] = {"responses": {200: shown(many=True), **told}, "parameters": [*lists]}
    tags = [f"{noun}s"]
    located = OpenApiParameter(
        "Location",
        str,
        OpenApiParameter.HEADER,
        response=[201],
        description="Where it is now.",
    )
    return {
        "list": extend_schema(tags=tags, summary=f"List {noun}s", **(of_list if lists else {})),
        "retrieve": extend_schema(
            tags=tags,
            summary=f"Read a {noun}",
            responses={200: shown, **unchanged},
            parameters=[*read],
        ),
        "create": extend_schema(
            tags=tags,
            summary=f"Make a {noun}",
            request=given,
            responses={201: shown, **problems(409)},
            parameters=[located, *(each for each in write if each.response)],
        ),
        "update": extend_schema(
            tags=tags,
            summary=f"Replace a {noun}",
            request=given,
            responses={200: shown, **stands_against},
            parameters=[*write],
        ),
        "partial_update": extend_schema(
            tags=tags,
            summary=f"Change a {noun}",
            request=given,
            responses={200: shown, **stands_against},
            parameters=[*write],
        ),
        "destroy": extend_schema(
            tags=tags,
            summary=f"Delete a {noun}",
            responses={204: None, **stands_against},
            parameters=[each for each in write if not each.response],
        ),
    }


def add_problems(
    result: dict[str, Any], generator: Any, request: Any, public: bool
) -> dict[str, Any]:
    """Point every 4xx and 5xx at the one Problem, and add those that no view needs to name."""
    result["components"]["schemas"]["Problem"] = _PROBLEM
    result["components"]["headers"] = _LIMIT_HEADERS
    limited = {name: {"$ref": f"#/components/headers/{name}"} for name in _LIMIT_HEADERS}
    wait = {"Retry-After": limited.pop("Retry-After")}
    reference = {CONTENT_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    for path, operations in result["paths"].items():
        if "/health" in path:
            continue
        for method, operation in operations.items():
            responses = operation["responses"]
            expected = {*_ALWAYS}
            if operation.get("security"):
                expected |= {*_SIGNED_IN}
            if "{" in path:
                expected |= {404}
            if method in {"post", "put", "patch"}:
                expected |= {*_WITH_BODY}
            for status in expected:
                responses.setdefault(str(status), {"description": ""})
            for status, response in responses.items():
                response.setdefault("headers", {}).update(limited)
                if status in {"429", "503"}:
                    response["headers"].update(wait)
                if int(status) >= 400:
                    response["content"] = reference
                    if status in _HEADERS:
                        response["headers"] = _HEADERS[status]
                    response["description"] = " / ".join(
                        code for code, each in PROBLEMS.items() if str(each.status) == status
                    )
            operation["responses"] = dict(sorted(responses.items()))
    return result


_LIMIT_HEADERS: dict[str, Any] = {
    "RateLimit-Policy": {
        "description": "The limit: `q` requests in `w` seconds, as draft-ietf-httpapi-"
        "ratelimit-headers has it; counted by user, API key or address.",
        "schema": {"type": "string", "example": '"read";q=60000;w=60'},
    },
    "RateLimit": {
        "description": "What is left of it: `r` requests, and all of them again in `t` seconds.",
        "schema": {"type": "string", "example": '"read";r=5999;t=60'},
    },
    "Retry-After": {
        "description": "Seconds after which to try again.",
        "schema": {"type": "integer", "minimum": 1},
    },
}

_PROBLEM: dict[str, Any] = {
    "type": "object",
    "description": "RFC 9457. `code` is the last part of `type` and never changes meaning.",
    "required": ["type", "title", "status", "code", "detail", "request_id"],
    "properties": {
        "type": {"type": "string", "example": "/problems/validation-error"},
        "title": {"type": "string"},
        "status": {"type": "integer", "enum": sorted(_STATUSES)},
        "code": {"type": "string", "enum": list(PROBLEMS)},
        "detail": {"type": "string"},
        "request_id": {"type": "string"},
        "current_version": {
            "type": "integer",
            "description": "With `precondition-failed`.",
        },
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["field", "code", "message"],
                "properties": {
                    "field": {"type": "string", "nullable": True},
                    "code": {"type": "string"},
                    "message": {"type": "string"},
                },
            },
        },
    },
}
