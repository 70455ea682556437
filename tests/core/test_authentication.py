"""Who is calling: tokens, and table J of docs/reliability.md; the admin's session."""

import base64
import hashlib
import hmac
import json
import socket
import time
from uuid import uuid4

import pytest
from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.middleware.csrf import get_token
from django.test import Client, RequestFactory
from rest_framework_simplejwt.tokens import AccessToken, RefreshToken

from core.models import User
from tests.core.answers import blamed, problem
from tests.core.factories import PASSWORD, OrganizationFactory, UserFactory
from tests.core.nasty import NASTY
from tests.fleet.factories import DriverFactory

CHALLENGE = 'Bearer realm="dockside"'
MINUTE = 60


def encoded(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def signed(
    payload: str,
    header: str = '{"alg": "HS256", "typ": "JWT"}',
    key: str | None = None,
    by=hashlib.sha256,
) -> str:
    """A token of these two JSON texts, whatever they say, with a signature that is right."""
    body = f"{encoded(header.encode())}.{encoded(payload.encode())}"
    secret = (settings.SECRET_KEY if key is None else key).encode()
    return f"{body}.{encoded(hmac.digest(secret, body.encode(), by))}"


def claims(user: User, kind=AccessToken, **changes) -> str:
    """What a good token of the user says, as JSON; a change to `...` leaves a claim out."""
    payload = str(kind.for_user(user)).split(".")[1]
    said = {**json.loads(base64.urlsafe_b64decode(payload + "==")), **changes}
    return json.dumps({name: value for name, value in said.items() if value is not ...})


def with_raw(said: str, name: str, raw: str) -> str:
    """These claims with one written as it stands."""
    rest = {key: value for key, value in json.loads(said).items() if key != name}
    return json.dumps(rest)[:-1] + f', "{name}": {raw}}}'


@pytest.fixture
def get(anonymous):
    """Asks for the orders with this token."""

    def get(token: str):
        return anonymous.get("/orders", HTTP_AUTHORIZATION=f"Bearer {token}")

    return get


@pytest.fixture
def refuses(get, anonymous):
    """Nobody gets in with this token, neither to the orders nor to a new token."""

    def refuses(token: str) -> None:
        response = get(token)
        problem(response, 401, "not-authenticated")
        assert response["WWW-Authenticate"] == CHALLENGE
        problem(anonymous.post("/auth/token/refresh", {"refresh": token}), 401)

    return refuses


class TestSigningIn:
    def test_gives_a_short_and_a_long_token(self, anonymous, get, dispatcher):
        response = anonymous.post(
            "/auth/token", {"username": dispatcher.username, "password": PASSWORD}
        )
        assert response.status_code == 200
        assert set(response.json()) == {"access", "refresh"}
        assert get(response.json()["access"]).status_code == 200
        assert response["Cache-Control"] in {"no-store", "private, no-cache"}
        assert AccessToken(response.json()["access"])["exp"] - time.time() < 16 * MINUTE

    def test_works_for_a_superuser_of_no_organization(self, anonymous, get):
        user = UserFactory(superuser=True)
        body = {"username": user.username, "password": PASSWORD}
        assert get(anonymous.post("/auth/token", body).json()["access"]).status_code == 200

    def test_is_refused_in_one_way_whatever_is_wrong(self, anonymous, dispatcher):
        inactive = UserFactory(is_active=False)
        without = UserFactory(password="")
        unusable = UserFactory(password="!x")
        told = set()
        for username, password in (
            (dispatcher.username, "wrong"),
            (dispatcher.username, f" {PASSWORD}"),
            (dispatcher.username, PASSWORD.upper()),
            (dispatcher.username.upper(), PASSWORD),
            (f" {dispatcher.username}", PASSWORD),
            ("nobody", PASSWORD),
            (inactive.username, PASSWORD),
            (without.username, PASSWORD),
            (unusable.username, PASSWORD),
            (unusable.username, "!x"),
            (str(dispatcher.pk), PASSWORD),
        ):
            response = anonymous.post("/auth/token", {"username": username, "password": password})
            problem(response, 401, "not-authenticated")
            assert response["WWW-Authenticate"] == CHALLENGE
            told.add(response.content.replace(response["X-Request-ID"].encode(), b""))
        assert len(told) == 1

    def test_takes_nasty_names_for_what_they_are(self, anonymous):
        for nasty in NASTY:
            for body in (
                {"username": nasty, "password": "x"},
                {"username": "x", "password": nasty},
            ):
                problem(anonymous.post("/auth/token", body), 401)

    @pytest.mark.parametrize("field", ["username", "password"])
    @pytest.mark.parametrize("wrong", ["", None, 1, True, [], {}, "a\x00", "x" * 1_025])
    def test_needs_a_name_and_a_password(self, anonymous, field, wrong):
        body = {"username": "x", "password": "x", field: wrong}
        assert [name for name, _ in blamed(anonymous.post("/auth/token", body))] == [field]
        del body[field]
        assert blamed(anonymous.post("/auth/token", body)) == [(field, "required")]

    def test_knows_nothing_else(self, anonymous):
        body = {"username": "x", "password": "x", "email": "x", "otp": 1}
        told = blamed(anonymous.post("/auth/token", body))
        assert told == [("email", "unknown-field"), ("otp", "unknown-field")]


class TestRefreshing:
    def test_gives_a_new_short_token(self, anonymous, get, dispatcher):
        refresh = str(RefreshToken.for_user(dispatcher))
        answer = anonymous.post("/auth/token/refresh", {"refresh": refresh}).json()
        assert set(answer) == {"access"}
        assert get(answer["access"]).status_code == 200

    @pytest.mark.parametrize("wrong", ["", None, 1, [], "a\x00", "x" * 8_193])
    def test_needs_a_text(self, anonymous, wrong):
        told = blamed(anonymous.post("/auth/token/refresh", {"refresh": wrong}))
        assert [name for name, _ in told] == ["refresh"]

    @pytest.mark.parametrize("nasty", ["x", "....", "\u00e6.\u00e6.\u00e6", "👍", "x" * 8_192])
    def test_is_refused_without_a_token(self, anonymous, nasty):
        problem(anonymous.post("/auth/token/refresh", {"refresh": nasty}), 401)


class TestAForgedToken:
    """J1: whatever the header says, only our key and our algorithm count."""

    @pytest.mark.parametrize("algorithm", ["none", "None", "nOnE", "NONE", "", "HS1", "hs256"])
    def test_without_a_signature_is_refused(self, refuses, dispatcher, algorithm):
        header = encoded(json.dumps({"alg": algorithm, "typ": "JWT"}).encode())
        payload = encoded(claims(dispatcher).encode())
        for signature in ("", encoded(b""), encoded(b"x"), encoded(bytes(32))):
            refuses(f"{header}.{payload}.{signature}")
        refuses(signed(claims(dispatcher), json.dumps({"alg": algorithm})))

    @pytest.mark.parametrize(
        ("algorithm", "by"),
        [
            ("HS384", hashlib.sha384),
            ("HS512", hashlib.sha512),
            ("HS256", hashlib.sha384),
            ("RS256", hashlib.sha256),
            ("ES256", hashlib.sha256),
            ("PS256", hashlib.sha256),
            ("EdDSA", hashlib.sha256),
        ],
    )
    def test_by_another_algorithm_is_refused(self, refuses, dispatcher, algorithm, by):
        refuses(signed(claims(dispatcher), json.dumps({"alg": algorithm, "typ": "JWT"}), by=by))

    def test_by_another_key_is_refused(self, refuses, dispatcher):
        for key in ("", "x", settings.SECRET_KEY[:-1], settings.SECRET_KEY + "x", "null"):
            refuses(signed(claims(dispatcher), key=key))

    def test_cut_or_touched_is_refused(self, refuses, get, dispatcher):
        good = signed(claims(dispatcher))
        assert get(good).status_code == 200
        header, payload, signature = good.split(".")
        other = encoded(claims(UserFactory()).encode())
        for bad in (
            *(good[:-2], good[1:], good[:40], f"{header}.{payload}", f"{header}.{payload}."),
            *(f"{payload}.{header}.{signature}", f"{header}.{other}.{signature}", f"{good}.x"),
            *(f".{payload}.{signature}", f"{header}..{signature}", "a.b.c", "..", ".", "null"),
            *(good.swapcase(), good[::-1], "x" * 8_000, (good * 20)[:8_000]),
        ):
            refuses(bad)

    def test_with_odd_padding_is_refused_or_means_the_same(self, get, dispatcher):
        header, payload, signature = signed(claims(dispatcher)).split(".")
        for odd in (
            f"{header}.{payload}.{signature}=",
            f"{header}=.{payload}=.{signature}=",
            f"{header}.{payload}\n.{signature}",
        ):
            assert get(odd).status_code in {200, 401}

    def test_of_no_json_is_refused(self, refuses, dispatcher):
        good = claims(dispatcher)
        for header in ("", "x", "[]", "null", "1", "{", "[" * 5_000, '{"alg": ' + "[" * 3_000):
            refuses(signed(good, header))
        for payload in ("", "x", "[]", "null", "1", '"x"', "{", "[" * 5_000, '{"a":' * 1_000):
            refuses(signed(payload))

    @pytest.mark.parametrize(
        "header",
        [
            {"kid": "../../../../dev/null"},
            {"kid": "' OR 1=1 --"},
            {"jku": "http://127.0.0.1:1/jwks.json"},
            {"x5u": "http://127.0.0.1:1/cert.pem"},
            {"jwk": {"kty": "oct", "k": encoded(b"x")}},
            {"x5c": ["MII"]},
        ],
        ids=str,
    )
    def test_that_names_its_own_key_is_judged_by_ours(self, get, dispatcher, monkeypatch, header):
        def connect(*_args):
            raise AssertionError("nobody is asked")

        monkeypatch.setattr(socket, "create_connection", connect)
        monkeypatch.setattr(socket.socket, "connect", connect)
        header = json.dumps({"alg": "HS256", "typ": "JWT", **header})
        assert get(signed(claims(dispatcher), header)).status_code == 200
        problem(get(signed(claims(dispatcher), header, key="x")), 401)


class TestAnOddClaim:
    """J2 to J5: signed by us, and yet not what we hand out."""

    def test_is_refused_once_it_has_expired(self, refuses, get, dispatcher):
        now = int(time.time())
        assert (
            get(signed(claims(dispatcher, exp=now - MINUTE // 2))).status_code == 200
        )  # clocks differ
        refuses(signed(claims(dispatcher, exp=now - MINUTE - 2)))
        refuses(signed(claims(dispatcher, exp=0)))
        refuses(signed(claims(dispatcher, exp=-1)))
        refuses(signed(claims(dispatcher, exp=...)))

    @pytest.mark.parametrize("name", ["exp", "iat", "nbf"])
    @pytest.mark.parametrize(
        "raw", ['"x"', '""', "NaN", "1e400", "-1e400", "Infinity", "[]", "{}", "1" + "0" * 4_000]
    )
    def test_is_refused_if_its_time_is_none(self, refuses, dispatcher, name, raw):
        refuses(signed(with_raw(claims(dispatcher), name, raw)))

    @pytest.mark.parametrize(
        "raw", ["1" + "0" * 12, "1" + "0" * 20, "1" + "0" * 300, "true", "null"]
    )
    def test_is_no_accident_if_its_end_is_out_of_reach(self, get, dispatcher, raw):
        """A token that we signed for a far future is good, or refused; never a 500."""
        assert get(signed(with_raw(claims(dispatcher), "exp", raw))).status_code in {200, 401}

    @pytest.mark.parametrize("name", ["iat", "nbf"])
    def test_is_refused_if_it_comes_from_the_future(self, refuses, get, dispatcher, name):
        now = int(time.time())
        assert get(signed(claims(dispatcher, **{name: now + MINUTE // 2}))).status_code == 200
        refuses(signed(claims(dispatcher, **{name: now + 2 * MINUTE})))

    @pytest.mark.parametrize(
        "raw",
        [
            *("[1]", "{}", '"abc"', '"1\\u0000"', "1", "null", "true", '""', "1.5", "[]"),
            '"\\ud800"',
            '"00000000-0000-0000-0000-000000000000"',
            f'"{uuid4()}"',
        ],
    )
    def test_is_refused_if_it_names_no_user(self, refuses, dispatcher, raw):
        refuses(signed(with_raw(claims(dispatcher), "user_id", raw)))
        refuses(signed(claims(dispatcher, user_id=...)))

    def test_is_refused_if_it_names_a_user_in_another_way(self, refuses, dispatcher):
        for name in (f"urn:uuid:{dispatcher.pk}", dispatcher.pk.hex, f"{{{dispatcher.pk}}}"):
            refuses(signed(claims(dispatcher, user_id=name)))

    def test_is_refused_if_it_is_for_something_else(self, refuses, get, anonymous, dispatcher):
        refresh = str(RefreshToken.for_user(dispatcher))
        problem(get(refresh), 401)
        access = str(AccessToken.for_user(dispatcher))
        problem(anonymous.post("/auth/token/refresh", {"refresh": access}), 401)
        for kind in (..., None, "", "Access", "sliding", ["access"], 1):
            refuses(signed(claims(dispatcher, token_type=kind)))

    @pytest.mark.parametrize("name", ["iss", "aud"])
    @pytest.mark.parametrize("value", [..., None, "", "other", "dock", "dockside-api2", 1, {}, []])
    def test_is_refused_if_it_is_by_or_for_somebody_else(self, refuses, dispatcher, name, value):
        refuses(signed(claims(dispatcher, **{name: value})))

    def test_is_refused_without_its_own_id(self, refuses, dispatcher):
        refuses(signed(claims(dispatcher, jti=...)))

    def test_about_the_password_is_refused_if_it_is_missing(self, refuses, dispatcher):
        from rest_framework_simplejwt.settings import api_settings

        for value in (..., None, "", "x", 1, [], {}):
            refuses(signed(claims(dispatcher, **{api_settings.REVOKE_TOKEN_CLAIM: value})))


class TestAUserWhoHasChanged:
    """J7: a token lives no longer than what it stands for."""

    @pytest.fixture
    def tokens(self, dispatcher, get, anonymous):
        access, refresh = AccessToken.for_user(dispatcher), RefreshToken.for_user(dispatcher)

        def statuses():
            renewed = anonymous.post("/auth/token/refresh", {"refresh": str(refresh)})
            return get(str(access)).status_code, renewed.status_code

        assert statuses() == (200, 200)
        return statuses

    def test_by_a_new_password_ends_every_token(self, tokens, dispatcher):
        dispatcher.set_password("another-tide-comes-in")
        dispatcher.save()
        assert tokens() == (401, 401)

    def test_by_being_disabled_ends_every_token(self, tokens, dispatcher):
        User.objects.filter(pk=dispatcher.pk).update(is_active=False)
        assert tokens() == (401, 401)
        User.objects.filter(pk=dispatcher.pk).update(is_active=True)
        assert tokens() == (200, 200)

    def test_by_being_deleted_ends_every_token(self, tokens, dispatcher):
        dispatcher.delete()
        assert tokens() == (401, 401)

    def test_of_organization_sees_the_new_one_at_once(self, api, dispatcher):
        old = DriverFactory(organization=dispatcher.organization)
        new = DriverFactory()
        User.objects.filter(pk=dispatcher.pk).update(organization=new.organization)
        assert [each["id"] for each in api.get("/drivers").json()["data"]] == [str(new.pk)]
        problem(api.get(f"/drivers/{old.pk}"), 404)


class TestTheHeader:
    @pytest.mark.parametrize(
        "value",
        [
            *("Bearer", "Bearer ", "Bearer  ", "bearer", "Basic YTpi", "Token x", "x", " ", "\t"),
            *("Bearer a b", "Bearer a,Bearer b", "Bearer: x", "Digest x", "Bearer \xff", "\x00"),
            *("Bearer " + "x" * 100_000, "Bearer x.y.z", "Bearer ..", "Negotiate"),
        ],
        ids=lambda value: repr(value[:20]),
    )
    def test_is_refused_unless_it_is_a_good_bearers(self, anonymous, value):
        response = anonymous.get("/orders", HTTP_AUTHORIZATION=value)
        problem(response, 401, "not-authenticated")
        assert response["WWW-Authenticate"] == CHALLENGE

    def test_may_be_written_in_any_case(self, anonymous, dispatcher):
        for word in ("Bearer", "bearer", "BEARER"):
            value = f"{word} {AccessToken.for_user(dispatcher)}"
            assert anonymous.get("/orders", HTTP_AUTHORIZATION=value).status_code == 200

    def test_is_the_only_place_for_a_token(self, anonymous, dispatcher):
        token = str(AccessToken.for_user(dispatcher))
        for name in ("token", "access_token", "authorization"):
            problem(anonymous.get(f"/orders?{name}={token}"), 401)
        anonymous.cookies["access"] = token
        problem(anonymous.get("/orders", HTTP_X_AUTHORIZATION=f"Bearer {token}"), 401)


class TestTheSession:
    """J10: the admin's cookie opens the API, but no other site can use it."""

    @pytest.fixture
    def browser(self, dispatcher):
        browser = Client(enforce_csrf_checks=True)
        browser.force_login(dispatcher)
        return browser

    def post(self, browser, **headers):
        return browser.post(
            "/api/v1/drivers", {"name": "Kari"}, content_type="application/json", headers=headers
        )

    def csrf_token(self, browser) -> str:
        request = RequestFactory().get("/")
        request.user = AnonymousUser()
        token = get_token(request)
        browser.cookies[settings.CSRF_COOKIE_NAME] = request.META["CSRF_COOKIE"]
        return token

    def test_reads(self, browser):
        assert browser.get("/api/v1/drivers").status_code == 200

    def test_writes_with_its_token_against_forgery(self, browser):
        assert self.post(browser, **{"X-CSRFToken": self.csrf_token(browser)}).status_code == 201

    def test_does_not_write_without_it(self, browser):
        problem(self.post(browser), 403, "permission-denied")
        self.csrf_token(browser)
        for forged in ("", "x", "x" * 64, "a" * 32):
            problem(self.post(browser, **{"X-CSRFToken": forged}), 403, "permission-denied")
        assert browser.get("/api/v1/drivers").json()["total"] == 0

    def test_does_not_write_from_another_origin(self, browser):
        token = self.csrf_token(browser)
        for origin in ("https://evil.example", "null", "http://testserver.evil.example"):
            response = self.post(browser, **{"X-CSRFToken": token, "Origin": origin})
            problem(response, 403, "permission-denied")

    def test_is_not_asked_where_a_bearer_is_refused(self, browser):
        response = browser.get("/api/v1/drivers", headers={"Authorization": "Bearer x.y.z"})
        problem(response, 401, "not-authenticated")

    def test_ends_with_the_user(self, browser, dispatcher):
        User.objects.filter(pk=dispatcher.pk).update(is_active=False)
        problem(browser.get("/api/v1/drivers"), 401)
        User.objects.filter(pk=dispatcher.pk).update(is_active=True)
        dispatcher.set_password("another-tide-comes-in")
        dispatcher.save()
        problem(browser.get("/api/v1/drivers"), 401)

    @pytest.mark.parametrize("cookie", ["x", "", "x" * 5_000, "' OR 1=1 --", "\x00", "../x"])
    def test_is_nobodys_if_it_is_made_up(self, db, cookie):
        browser = Client()
        browser.cookies[settings.SESSION_COOKIE_NAME] = cookie
        problem(browser.get("/api/v1/drivers"), 401)

    def test_does_not_sign_in_to_get_a_token(self, browser):
        """A page that signs somebody in as somebody else would be a trap."""
        response = browser.post(
            "/api/v1/auth/token",
            {"username": "x", "password": "y"},
            content_type="application/json",
        )
        problem(response, 401)


class TestNobodyElse:
    def test_sees_anything_without_signing_in(self, anonymous):
        OrganizationFactory()
        for path in ("/orders", "/drivers", "/trucks", "/trailers", "/terminals"):
            problem(anonymous.get(path), 401)
