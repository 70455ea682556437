"""Every operation of the description, tried by everybody who should not get through.

What is tried comes from the description and the URL resolver; the one table that is kept by hand,
REQUESTS, says how a valid request to each operation looks, and has to cover all of them.
"""

import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import jwt
import pytest
from django.apps import apps
from django.conf import settings
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test.client import MULTIPART_CONTENT
from django.urls import URLPattern, URLResolver, get_resolver
from django.utils import timezone

from core.api.permissions import ByRole, act_of
from core.api.public import description
from core.models import ApiKey, Organization
from core.roles import Act, right_to
from orders.models import Order
from tests.conftest import ApiClient
from tests.core.factories import UserFactory
from tests.core.keys import client_with, make_key
from tests.documents.factories import kept_document
from tests.fleet.factories import DriverFactory, TrailerFactory, TruckFactory
from tests.orders.factories import OrderFactory, today
from tests.terminals.factories import TerminalFactory

pytestmark = pytest.mark.django_db

API = "/api/v1"
DESCRIPTION = json.loads(description())
ROLES = ["viewer", "dispatcher", "admin"]
KEYS = {"read key": ("viewer", "read"), "write key": ("dispatcher", "write")}
# Seen by all of the organization, wherever somebody works; the rest belongs to terminals.
SHARED = {"drivers", "trucks", "trailers", "auth"}
NOT_DESCRIBED = {f"{API}/schema", f"{API}/docs"}


@dataclass(frozen=True)
class Operation:
    id: str
    method: str
    path: str
    said: dict[str, Any]

    def __str__(self) -> str:
        return self.id

    @property
    def is_public(self) -> bool:
        return not self.said.get("security")

    @property
    def role(self) -> str | None:
        return self.said.get("x-required-role")

    @property
    def scope(self) -> str | None:
        return self.said.get("x-required-scope")

    @property
    def resource(self) -> str:
        return self.path.removeprefix(f"{API}/").split("/")[0]

    @property
    def is_about_one(self) -> bool:
        return "{id}" in self.path


OPERATIONS = [
    Operation(said["operationId"], method, path, said)
    for path, operations in DESCRIPTION["paths"].items()
    for method, said in operations.items()
]
GUARDED = [operation for operation in OPERATIONS if not operation.is_public]
ABOUT_ONE = [operation for operation in GUARDED if operation.is_about_one]


def order_body(world: Any) -> dict[str, Any]:
    return {
        "reference": "MATRIX-1",
        "service": "cross_dock",
        "terminal_id": str(world.terminals.pk),
        "eta_date": str(today()),
        "etd_date": str(today() + timedelta(1)),
    }


def nothing(world: Any) -> None:
    return None


class Multipart(dict[str, Any]):
    """A body that is a form with files."""


def upload(world: Any) -> Multipart:
    return Multipart(file=SimpleUploadedFile("matrix.txt", b"Another text."), type="other")


def given(**values: Any) -> Callable[[Any], dict[str, Any]]:
    return lambda world: values


TERMINAL = given(name="Elsewhere", account_code="ELSE")
DRIVER, VEHICLE = given(name="Kari Nordmann"), given(license_plate="AB12345")

# How a valid request to each operation looks: its body, and what the order has to be like first.
REQUESTS: dict[str, tuple[Callable[[Any], Any], dict[str, Any]]] = {
    "auth_me_retrieve": (nothing, {}),
    "orders_list": (nothing, {}),
    "orders_create": (order_body, {}),
    "orders_retrieve": (nothing, {}),
    "orders_update": (order_body, {}),
    "orders_partial_update": (given(notes="Call ahead"), {}),
    "orders_destroy": (nothing, {}),
    "orders_arrive_create": (given(), {}),
    "orders_depart_create": (given(), {"arrived": True}),
    "orders_cancel_create": (given(reason="Not needed."), {}),
    "orders_reopen_create": (given(), {"cancelled": True}),
    "orders_history_list": (nothing, {}),
    "orders_documents_list": (nothing, {}),
    "orders_documents_create": (upload, {}),
    "orders_documents_retrieve": (nothing, {}),
    "orders_documents_partial_update": (given(title="Signed"), {}),
    "orders_documents_destroy": (nothing, {}),
    "orders_documents_content_retrieve": (nothing, {}),
    "orders_documents_text_retrieve": (nothing, {}),
    "orders_documents_thumbnail_retrieve": (nothing, {}),
    "orders_documents_extract_create": (given(), {}),
    "documents_list": (nothing, {}),
    **{
        f"{noun}_{act}": (body if act in {"create", "update", "partial_update"} else nothing, {})
        for noun, body in {
            "terminals": TERMINAL,
            "drivers": DRIVER,
            "trucks": VEHICLE,
            "trailers": VEHICLE,
        }.items()
        for act in ("list", "create", "retrieve", "update", "partial_update", "destroy")
    },
}


@pytest.fixture
def world(request: Any, stored: Any) -> Any:
    """An organization with one thing of each kind, that the operation could be done to."""
    operation = request.node.callspec.params["operation"]
    state = REQUESTS[operation.id][1]
    terminal = TerminalFactory()
    home = terminal.organization
    order = OrderFactory(terminal=terminal, **state)
    return SimpleNamespace(
        organization=home,
        orders=order,
        documents=kept_document(order) if "documents" in operation.id else None,
        # The one of the order cannot be deleted.
        terminals=TerminalFactory(organization=home) if "terminals" in operation.id else terminal,
        drivers=DriverFactory(organization=home),
        trucks=TruckFactory(organization=home),
        trailers=TrailerFactory(organization=home),
    )


def ask(api: ApiClient, operation: Operation, world: Any) -> Any:
    path = operation.path
    if operation.is_about_one:
        path = path.replace("{id}", str(getattr(world, operation.resource).pk))
    if "{document_id}" in path:
        path = path.replace("{document_id}", str(world.documents.pk))
    body = REQUESTS[operation.id][0](world)
    if isinstance(body, Multipart):
        return api.post(path, body, content_type=MULTIPART_CONTENT)
    method = getattr(api, operation.method)
    answer = method(path) if body is None else method(path, body)
    if answer.streaming:
        answer.getvalue()  # read to its end, the file is closed
    return answer


def rows() -> dict[str, list[Any]]:
    """All that a request could have changed."""
    labels = [
        *("orders.order", "terminals.terminal", "fleet.driver", "fleet.truck", "fleet.trailer"),
        *("core.user", "terminals.terminalstaff", "terminals.terminalkey"),
        *("documents.orderdocument", "documents.orderdocumenttext"),
    ]
    return {
        label: list(apps.get_model(label)._base_manager.order_by("pk").values()) for label in labels
    }


def refused(answer: Any, status: int, code: str) -> bool:
    return (answer.status_code, answer.json()["code"]) == (status, code)


# ------------------------------------------------------------------------- nothing is left out


class TestTheMatrix:
    def test_has_a_request_for_every_operation(self):
        assert {operation.id for operation in GUARDED} == set(REQUESTS)

    def test_knows_everything_that_the_urls_lead_to(self):
        described = {(operation.path, operation.method) for operation in OPERATIONS}
        served = {
            (path, method)
            for path, view, actions in api_views()
            for method in methods_of(view, actions)
            if path not in NOT_DESCRIBED
        }
        assert served == described

    def test_leaves_open_only_what_is_meant_to_be(self):
        assert {operation.path for operation in OPERATIONS if operation.is_public} == {
            f"{API}/{path}"
            for path in (
                *("health", "health/live", "health/ready", "health/detailed"),
                *("auth/token", "auth/token/refresh", "auth/logout"),
            )
        }

    def test_finds_what_each_guarded_method_is_about_in_the_table(self):
        forgotten = []
        guarded = {(operation.path, operation.method) for operation in GUARDED}
        for path, view, actions in api_views():
            for method in methods_of(view, actions):
                if (path, method) in guarded and not is_ruled(view, actions, method):
                    forgotten.append(f"{method} {path}")
        assert forgotten == []

    def test_says_per_operation_what_it_needs(self):
        for operation in GUARDED:
            assert operation.role in ROLES, operation
            assert operation.scope == ("read" if operation.method == "get" else "write"), operation
            assert f"Needs the role {operation.role}" in operation.said["description"], operation
            assert {"ApiKey": []} in operation.said["security"], operation


def api_views() -> Iterator[tuple[str, Any, dict[str, str]]]:
    """Each address of the API as the description writes it, its view and the view's actions."""

    def walk(patterns: Any, prefix: str) -> Iterator[tuple[str, URLPattern]]:
        for pattern in patterns:
            path = prefix + str(pattern.pattern)
            if isinstance(pattern, URLResolver):
                yield from walk(pattern.url_patterns, path)
            else:
                yield path, pattern

    for path, pattern in walk(get_resolver().url_patterns, "/"):
        if path.startswith(f"{API}/"):
            callback: Any = pattern.callback
            kwargs = getattr(callback, "initkwargs", None) or getattr(
                callback, "view_initkwargs", {}
            )
            view = callback.cls(**kwargs)
            yield re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", path), view, getattr(callback, "actions", {})


def methods_of(view: Any, actions: dict[str, str] | None) -> set[str]:
    known = set(actions or {name for name in view.http_method_names if hasattr(view, name)})
    return known - {"head", "options"}


def is_ruled(view: Any, actions: dict[str, str] | None, method: str) -> bool:
    view.action = (actions or {}).get(method)
    act = act_of(view, method)
    return (
        view.permission_classes == [ByRole]
        and act is not None
        and right_to(act, view.resource) is not None
    )


class TestAViewThatForgets:
    """Fails closed, and fails the matrix."""

    @pytest.mark.parametrize(
        ("resource", "acts"),
        [
            (None, {"get": Act.VIEW}),
            ("orders.order", {}),
            ("orders.typing_error", {"get": Act.VIEW}),
            ("orders.order", {"post": Act.VIEW}),
        ],
    )
    def test_is_open_to_nobody(self, rf, resource, acts):
        from rest_framework.test import force_authenticate

        from core.api.views import UnitOfWork

        class Forgetful(UnitOfWork):
            def get(self, request):
                raise AssertionError("reached")

        Forgetful.resource, Forgetful.acts = resource, acts
        request = rf.get("/api/v1/forgetful")
        force_authenticate(request, user=UserFactory(admin=True))
        assert Forgetful.as_view()(request).status_code == 403
        assert not is_ruled(Forgetful(), None, "get")


# --------------------------------------------------------------------------------- who is tried


def bearer(token: str) -> ApiClient:
    return ApiClient(HTTP_AUTHORIZATION=f"Bearer {token}")


def bad_tokens(user: Any) -> dict[str, str]:
    """Tokens that are nearly right."""
    good = ApiClient(user).defaults["HTTP_AUTHORIZATION"].split()[1]
    head, claims, signature = good.split(".")
    payload = jwt.decode(good, options={"verify_signature": False})
    header = jwt.get_unverified_header(good)
    past = {"iat": int(time.time()) - 7200, "exp": int(time.time()) - 3600}

    def signed(values: dict[str, Any], key: str, algorithm: str) -> str:
        return jwt.encode(
            values, key, algorithm, headers={"kid": header["kid"]} if "kid" in header else None
        )

    other = jwt.encode({**payload, "user_id": str(UserFactory().pk)}, "x" * 64, "HS256")
    return {
        "no signature": f"{head}.{claims}.",
        "a tampered signature": f"{head}.{claims}.{'A' if signature[0] != 'A' else 'B'}"
        f"{signature[1:]}",
        "tampered claims": f"{head}.{other.split('.')[1]}.{signature}",
        "another key": signed(payload, "x" * 64, "HS256"),
        "alg=none": signed(payload, "", "none"),
        "alg=nOnE": f"eyJhbGciOiJuT25FIiwidHlwIjoiSldUIn0.{claims}.",
        "expired": signed({**payload, **past}, settings.SECRET_KEY, "HS256"),
        "a refresh token": signed(
            {**payload, "token_type": "refresh"}, settings.SECRET_KEY, "HS256"
        ),
    }


def unusable_keys(home: Organization) -> dict[str, str]:
    later = timezone.now() + timedelta(days=1)
    expired, expired_text = make_key(home, expires_at=later)
    revoked, revoked_text = make_key(home)
    _, good = make_key(home)
    ApiKey.objects.filter(pk=expired.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    ApiKey.objects.filter(pk=revoked.pk).update(revoked_at=timezone.now())
    return {
        "an expired key": expired_text,
        "a revoked key": revoked_text,
        "a tampered key": good[:-1] + ("a" if good[-1] != "a" else "b"),
        "another key's prefix": good[:11] + revoked_text[11:],
        "only the prefix": good[:12],
        "nothing": "",
    }


@pytest.mark.parametrize("operation", GUARDED, ids=str)
class TestEveryOperation:
    def test_knows_nobody(self, world, operation):
        who = UserFactory(organization=world.organization, admin=True)
        callers = {
            "nobody": ApiClient(),
            "Basic": ApiClient(HTTP_AUTHORIZATION="Basic YTpi"),
            **{name: bearer(token) for name, token in bad_tokens(who).items()},
            **{name: client_with(key) for name, key in unusable_keys(world.organization).items()},
        }
        before = rows()
        for name, caller in callers.items():
            answer = ask(caller, operation, world)
            assert refused(answer, 401, "not-authenticated"), name
            assert answer["WWW-Authenticate"].startswith('Bearer realm="dockside"'), name
        assert rows() == before

    @pytest.mark.parametrize("kind", ["user", "key"])
    def test_shows_another_organization_nothing(self, world, operation, kind):
        stranger = UserFactory(admin=True)
        api = ApiClient(stranger)
        if kind == "key":
            api = client_with(make_key(stranger.organization)[1])
        before = rows()
        answer = ask(api, operation, world)
        if operation.is_about_one:
            assert refused(answer, 404, "not-found")
        elif operation.id == "orders_create":
            assert refused(answer, 422, "unknown-reference")
        else:
            assert answer.status_code in {200, 201}
            assert answer.json().get("data", []) == []
            new = {label: len(found) - len(before[label]) for label, found in rows().items()}
            assert sum(new.values()) == (operation.method == "post")
            assert str(world.organization.pk) not in answer.content.decode()
            return
        assert rows() == before

    @pytest.mark.parametrize("caller", [*ROLES, *KEYS])
    def test_is_for_the_roles_and_scopes_that_it_names(self, world, operation, caller):
        role, scope = KEYS.get(caller, (caller, "write"))
        api = ApiClient(UserFactory(organization=world.organization, role=role))
        if caller in KEYS:
            api = client_with(make_key(world.organization, scope=scope)[1])
        fits = ROLES.index(role) >= ROLES.index(operation.role or "") and (
            scope in {operation.scope, "write"}
        )
        before = rows()
        answer = ask(api, operation, world)
        if fits:
            assert 200 <= answer.status_code < 300, answer.content
        else:
            assert refused(answer, 403, "permission-denied")
            assert rows() == before

    @pytest.mark.parametrize("kind", ["user", "key"])
    def test_is_for_those_who_work_there(self, world, operation, kind):
        elsewhere = TerminalFactory(organization=world.organization)
        if kind == "key":
            api = client_with(make_key(world.organization, terminals=[elsewhere])[1])
        else:
            user = UserFactory(organization=world.organization)
            user.terminals.set([elsewhere], through_defaults={"organization": world.organization})
            api = ApiClient(user)
        before = rows()
        answer = ask(api, operation, world)
        if operation.resource in SHARED:
            assert 200 <= answer.status_code < 300
            return
        if operation.is_about_one:
            assert refused(answer, 404, "not-found")
        elif operation.id == "orders_create":
            assert refused(answer, 422, "unknown-reference")
        elif operation.method == "get":
            mine = [str(elsewhere.pk)] if operation.id == "terminals_list" else []
            assert [row["id"] for row in answer.json()["data"]] == mine
        else:
            assert refused(answer, 403, "permission-denied")
        assert rows() == before


# ------------------------------------------------------------- what is not yours is not there


def without_request_id(answer: Any) -> Any:
    told = {"X-Request-ID", "RateLimit"}  # the second request of a window has one less left
    headers = {name: value for name, value in answer.items() if name not in told}
    return answer.content.replace(answer["X-Request-ID"].encode(), b"-"), headers


@pytest.mark.parametrize("operation", ABOUT_ONE, ids=str)
def test_what_is_not_yours_looks_like_what_is_not_there(world, operation):
    api = ApiClient(UserFactory(admin=True))
    bound = UserFactory(organization=world.organization)
    somewhere = TerminalFactory(organization=world.organization)
    bound.terminals.set([somewhere], through_defaults={"organization": world.organization})
    theirs = ask(api, operation, world)
    at_another_terminal = ask(ApiClient(bound), operation, world)

    name = operation.resource
    setattr(world, name, SimpleNamespace(pk="01890000-0000-7000-8000-000000000000"))
    nowhere = ask(api, operation, world)
    assert nowhere.status_code == 404
    assert without_request_id(theirs) == without_request_id(nowhere)
    if name not in SHARED:
        assert without_request_id(at_another_terminal) == without_request_id(nowhere)


def test_what_is_not_yours_takes_as_long_as_what_is_not_there(api):
    theirs, nowhere = OrderFactory().pk, "01890000-0000-7000-8000-000000000000"
    took: dict[Any, list[float]] = {theirs: [], nowhere: []}
    for _ in range(200):
        for key, times in took.items():
            started = time.perf_counter()
            assert api.get(f"/orders/{key}").status_code == 404
            times.append(time.perf_counter() - started)
    medians = [sorted(times)[100] for times in took.values()]
    assert abs(medians[0] - medians[1]) <= 0.010
    assert Order.objects.count() == 1
