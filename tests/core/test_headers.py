"""What every answer says to browsers, and what no header of a request can talk the server into."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from core import headers
from tests.core.factories import PASSWORD, UserFactory
from tests.orders.factories import OrderFactory

pytestmark = pytest.mark.django_db

YEAR_S = 31_536_000
PUBLIC = ["/", "/health", "/health/live", "/problems/conflict", "/nowhere", "/static/core/page.css"]


def addresses(resolver: Any = None, prefix: str = "/") -> Iterator[str]:
    """Every address of the house, with an id of nothing in place of what varies."""
    for pattern in (resolver or get_resolver()).url_patterns:
        path = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from addresses(pattern, path)
        elif isinstance(pattern, URLPattern):
            path = re.sub(r"<[^>]*>", "01890000-0000-7000-8000-000000000000", path)
            yield re.sub(r"\(\?P.*\)\$?|\^|\$", "x", path)


ROUTES = sorted({*addresses(), *PUBLIC})


def needs_sign_in(path: str) -> bool:
    """Whether anything of an organization could stand in what this address answers."""
    public = ("/api/v1/health", "/api/v1/auth/token", "/api/v1/schema", "/api/v1/docs")
    return path.startswith(("/admin/", "/api/")) and not path.startswith(public)


def policy(answer: Any) -> dict[str, list[str]]:
    parts = [part.split() for part in answer["Content-Security-Policy"].split(";")]
    return {name: values for name, *values in parts}


class TestEveryAnswer:
    @pytest.mark.parametrize("who", ["nobody", "dispatcher"])
    @pytest.mark.parametrize("method", ["get", "post"])
    def test_tells_browsers_what_not_to_do(self, who, method, settings):
        settings.SECURE_HSTS_SECONDS = YEAR_S
        client = Client(raise_request_exception=False)
        if who != "nobody":
            client.force_login(UserFactory(admin=True))
        assert len(ROUTES) > 60
        for path in ROUTES:
            if "logout" in path:
                continue
            answer = getattr(client, method)(path, secure=True)
            for close in answer._resource_closers if answer.streaming else ():
                close()  # the static file; `answer.close()` would close the connection too
            assert answer.status_code < 500, path
            assert answer["X-Content-Type-Options"] == "nosniff", path
            assert answer["Referrer-Policy"] == "same-origin", path
            assert answer["X-Frame-Options"] == "DENY", path
            assert answer["Cross-Origin-Opener-Policy"] == "same-origin", path
            assert "geolocation=()" in answer["Permissions-Policy"], path
            assert (
                int(re.findall(r"max-age=(\d+)", answer["Strict-Transport-Security"])[0]) >= YEAR_S
            )
            told = policy(answer)
            assert told["frame-ancestors"] == ["'none'"], path
            assert told["default-src"] == ["'none'"], path
            assert "'unsafe-inline'" not in told.get("script-src", []), path
            if needs_sign_in(path):
                assert re.search("no-store|private", answer["Cache-Control"]), path
                assert {"Authorization", "Cookie"} <= {*re.split(", *", answer["Vary"])}, path

    def test_says_nothing_of_tls_where_there_is_none(self, client, settings):
        settings.SECURE_HSTS_SECONDS = YEAR_S
        assert "Strict-Transport-Security" not in client.get("/health")

    def test_of_the_api_may_load_nothing(self, api, dispatcher):
        OrderFactory(terminal__organization=dispatcher.organization)
        for answer in (api.get("/orders"), api.get("/nowhere"), api.get("/schema")):
            assert policy(answer) == headers.NOTHING

    @pytest.mark.parametrize("path", ["/admin/", "/api/v1/orders"])
    def test_has_them_when_it_is_an_accident_too(self, monkeypatch, path):
        monkeypatch.setattr("core.tenancy.unit_of_work", lambda: 1 / 0)
        client = Client(raise_request_exception=False)
        client.force_login(UserFactory())
        answer = client.get(path)
        assert answer.status_code == 500
        assert answer["X-Frame-Options"] == "DENY"
        assert policy(answer)["frame-ancestors"] == ["'none'"]

    def test_of_a_page_has_no_inline_script_or_style(self, client):
        user = UserFactory(admin=True)
        order = OrderFactory(terminal__organization=user.organization)
        client.force_login(user)
        for path in (
            "/admin/",
            "/admin/orders/order/",
            f"/admin/orders/order/{order.pk}/change/",
            "/api/v1/docs",
            "/problems/conflict",
        ):
            text = client.get(path).content.decode()
            assert not re.findall(r"<style", text), path
            assert not re.findall(r"<script(?![^>]*src=)[^>]*>", text), path
            assert not re.findall(r"\son[a-z]+=\"|javascript:", text), path


class TestCors:
    ORIGINS = ["https://evil.example", "null", "https://localhost.evil.example", "http://localhost"]

    @pytest.mark.parametrize("origin", ORIGINS)
    def test_is_closed(self, api, anonymous, client, origin):
        for answer in (
            api.get("/orders", headers={"origin": origin}),
            anonymous.get("/orders", headers={"origin": origin}),
            anonymous.get("/health", headers={"origin": origin}),
            client.get("/admin/login/", headers={"origin": origin}),
            api.post("/orders", {}, headers={"origin": origin}),
        ):
            assert not [name for name in answer.headers if name.startswith("Access-Control-")]

    @pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
    def test_answers_no_preflight(self, anonymous, method):
        answer = anonymous.options(
            "/api/v1/orders",
            headers={
                "origin": "https://evil.example",
                "access-control-request-method": method,
                "access-control-request-headers": "authorization",
            },
        )
        assert answer.status_code in (401, 405)
        assert not [name for name in answer.headers if name.startswith("Access-Control-")]


class TestHostHeader:
    @pytest.mark.parametrize(
        "host",
        ["evil.example", "evil.example:80", "testserver.evil.example", "a b", "testserver@x"],
    )
    @pytest.mark.parametrize("path", ["/api/v1/health", "/api/v1/orders", "/admin/login/"])
    def test_of_somebody_else_is_refused(self, client, host, path):
        answer = client.get(path, headers={"host": host})
        assert answer.status_code == 400
        assert host not in answer.content.decode()

    @pytest.mark.parametrize("trust", [True, False])
    def test_is_not_taken_from_what_a_client_forwards(self, api, dispatcher, settings, trust):
        settings.TRUST_PROXY = trust
        for _ in range(3):
            OrderFactory(terminal__organization=dispatcher.organization)
        forged = {"x-forwarded-host": "evil.example", "x-forwarded-server": "evil.example"}
        answer = api.get("/orders?per_page=1", headers=forged)
        assert answer.status_code == 200
        assert "evil.example" not in answer.content.decode() + str(answer.headers)

    def test_forwarded_protocol_is_believed_from_a_trusted_proxy_only(self, client, settings):
        settings.SECURE_SSL_REDIRECT = True
        forged = {"x-forwarded-proto": "https", "x-forwarded-ssl": "on"}
        assert client.get("/admin/login/", headers=forged).status_code == 301
        settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
        assert client.get("/admin/login/", headers=forged).status_code == 200


class TestWhereSignInLeads:
    AWAY = [
        "https://evil.example",
        "//evil.example",
        "///evil.example",
        "/\\evil.example",
        "http:evil.example",
        "javascript:alert(1)",
        "https://testserver@evil.example/",
        "https://testserver.evil.example/",
    ]

    @pytest.mark.parametrize("away", AWAY)
    def test_is_this_host_only(self, client, away):
        user = UserFactory()
        answer = client.post(
            "/admin/login/", {"username": user.username, "password": PASSWORD, "next": away}
        )
        assert (answer.status_code, answer["Location"]) == (302, "/admin/")
        answer = client.get("/admin/login/", {"next": away})
        assert "evil" not in answer.get("Location", "")
        assert "javascript" not in answer.get("Location", "")

    @pytest.mark.parametrize("away", AWAY)
    def test_is_this_host_only_after_signing_out_too(self, client, away):
        client.force_login(UserFactory())
        answer = client.post("/admin/logout/", {"next": away})
        assert answer.status_code in (200, 302)
        assert "evil" not in answer.get("Location", "")
        assert "javascript" not in answer.get("Location", "")


class TestTheSessionOnTheApi:
    @pytest.fixture
    def session(self) -> Client:
        client = Client(enforce_csrf_checks=True)
        client.force_login(UserFactory())
        return client

    def test_writes_nothing_without_its_csrf_token(self, session):
        answer = session.post("/api/v1/terminals", {"name": "x"}, content_type="application/json")
        assert answer.status_code == 403

    def test_writes_nothing_for_another_site(self, session):
        session.get("/admin/")
        session.get("/admin/terminals/terminal/add/")
        token = session.cookies["csrftoken"].value
        answer = session.post(
            "/api/v1/terminals",
            {"name": "x"},
            content_type="application/json",
            headers={"origin": "https://evil.example", "x-csrftoken": token},
        )
        assert answer.status_code == 403

    def test_is_kept_from_scripts_and_other_sites(self, client):
        user = UserFactory()
        client.post("/admin/login/", {"username": user.username, "password": PASSWORD})
        cookie = client.cookies["sessionid"]
        assert (cookie["httponly"], cookie["samesite"]) == (True, "Lax")
