"""Bearer tokens: which are taken, which are not, and how they end."""

import base64
import hashlib
import hmac
import json
import time
import uuid
from datetime import timedelta
from threading import Thread
from typing import Any

import jwt
import pytest
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.utils import timezone

from core import accounts, tenancy
from core.api.tokens import KEYS, Access, Refresh, exchanged, key_id, tokens_for
from core.models import Role, TokenFamily, User
from tests.conftest import ApiClient
from tests.core.factories import PASSWORD, OrganizationFactory, UserFactory
from tests.terminals.factories import TerminalFactory

pytestmark = pytest.mark.django_db


def with_token(token: Any) -> ApiClient:
    return ApiClient(HTTP_AUTHORIZATION=f"Bearer {token}")


def is_good(token: Any) -> bool:
    answer = with_token(token).get("/orders")
    assert answer.status_code in {200, 401}
    return answer.status_code == 200


def sign_in(user: User) -> dict[str, str]:
    answer = ApiClient().post("/auth/token", {"username": user.username, "password": PASSWORD})
    assert answer.status_code == 200
    return answer.json()


def refresh(token: str):
    return ApiClient().post("/auth/token/refresh", {"refresh": token})


def logout(token: str):
    return ApiClient().post("/auth/logout", {"refresh": token})


class TestRefreshing:
    @pytest.fixture
    def signed_in(self, dispatcher) -> dict[str, str]:
        return sign_in(dispatcher)

    def test_gives_a_new_pair(self, signed_in):
        answer = refresh(signed_in["refresh"])
        assert answer.status_code == 200
        newer = answer.json()
        assert set(newer) == {"access", "refresh"}
        assert newer["refresh"] != signed_in["refresh"]
        assert is_good(newer["access"])

    def test_goes_on_and_on(self, signed_in):
        token = signed_in["refresh"]
        for _ in range(5):
            token = refresh(token).json()["refresh"]
        assert TokenFamily.objects.count() == 1

    def test_prolongs_the_family(self, signed_in):
        TokenFamily.objects.update(expires_at=timezone.now())
        refresh(signed_in["refresh"])
        assert TokenFamily.objects.get().expires_at > timezone.now() + timedelta(days=6)

    def test_with_a_used_token_ends_the_whole_family(self, signed_in):
        newer = refresh(signed_in["refresh"]).json()
        stolen = refresh(signed_in["refresh"])
        assert (stolen.status_code, stolen.json()["code"]) == (401, "not-authenticated")
        assert stolen["WWW-Authenticate"].startswith("Bearer")
        assert not is_good(newer["access"])
        assert not is_good(signed_in["access"])
        assert refresh(newer["refresh"]).status_code == 401

    def test_with_a_used_token_ends_no_other_family(self, signed_in, dispatcher):
        elsewhere = sign_in(dispatcher)
        refresh(signed_in["refresh"])
        refresh(signed_in["refresh"])
        assert is_good(elsewhere["access"])
        assert refresh(elsewhere["refresh"]).status_code == 200

    def test_leaves_a_line_in_the_log_when_a_used_token_comes(self, signed_in, caplog):
        refresh(signed_in["refresh"])
        refresh(signed_in["refresh"])
        assert "a used refresh token came again" in caplog.text

    def test_is_not_for_who_was_disabled(self, signed_in, dispatcher):
        User.objects.filter(pk=dispatcher.pk).update(is_active=False)
        assert refresh(signed_in["refresh"]).status_code == 401

    def test_is_for_superusers_too(self):
        signed_in = sign_in(UserFactory(superuser=True))
        newer = refresh(signed_in["refresh"]).json()
        assert is_good(newer["access"])
        assert refresh(signed_in["refresh"]).status_code == 401
        assert not is_good(newer["access"])


@pytest.mark.django_db(transaction=True)
def test_of_two_refreshes_at_once_one_succeeds():
    """Both have read that the token is good before either is through."""
    token = sign_in(UserFactory())["refresh"]
    statuses: list[int] = []

    def second() -> None:
        try:
            statuses.append(refresh(token).status_code)
        finally:
            connection.close()

    with tenancy.everyone("test"):
        verified = Refresh(token)
        exchanged(verified, User.objects.get())  # holds the family
        other = Thread(target=second)
        other.start()
        wait_for_a_waiter()
    other.join(10)
    assert statuses == [401]
    assert TokenFamily.objects.get().revoked_at  # nobody can tell which of them was the owner


def wait_for_a_waiter() -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM pg_locks"
                " WHERE NOT granted AND pg_backend_pid() = ANY (pg_blocking_pids(pid))"
            )
            if cursor.fetchone()[0]:
                return
        time.sleep(0.01)
    raise AssertionError("nobody waits")


class TestLogout:
    def test_ends_every_token_of_the_family_at_once(self, dispatcher):
        signed_in = sign_in(dispatcher)
        answer = logout(signed_in["refresh"])
        assert (answer.status_code, answer.content) == (204, b"")
        assert not is_good(signed_in["access"])
        assert refresh(signed_in["refresh"]).status_code == 401

    def test_again_is_the_same(self, dispatcher):
        token = sign_in(dispatcher)["refresh"]
        assert [logout(token).status_code for _ in range(2)] == [204, 204]

    def test_with_a_used_token_ends_the_family_too(self, dispatcher):
        used = sign_in(dispatcher)["refresh"]
        newer = refresh(used).json()
        assert logout(used).status_code == 204
        assert not is_good(newer["access"])

    def test_leaves_other_sign_ins_alone(self, dispatcher):
        here, elsewhere = sign_in(dispatcher), sign_in(dispatcher)
        logout(here["refresh"])
        assert is_good(elsewhere["access"])

    @pytest.mark.parametrize("body", [{}, {"refresh": ""}, {"refresh": 5}, {"access": "x"}])
    def test_needs_a_refresh_token(self, body):
        assert ApiClient().post("/auth/logout", body).status_code == 422

    def test_takes_no_access_token(self, dispatcher):
        signed_in = sign_in(dispatcher)
        assert logout(signed_in["access"]).status_code == 401
        assert is_good(signed_in["access"])


class TestMe:
    def test_is_who_signed_in(self, api, dispatcher):
        organization = dispatcher.organization
        assert api.get("/auth/me").json() == {
            "id": str(dispatcher.pk),
            "username": dispatcher.username,
            "organization": {
                "id": str(organization.pk),
                "slug": organization.slug,
                "name": organization.name,
            },
            "role": "dispatcher",
            "terminals": [],
        }

    def test_names_the_terminals_it_is_bound_to(self, api, dispatcher):
        from terminals.services import bind_staff

        own = [
            TerminalFactory(organization=dispatcher.organization, account_code=code)
            for code in ("B", "A")
        ]
        TerminalFactory(organization=dispatcher.organization)
        bind_staff(dispatcher, own)
        shown = api.get("/auth/me").json()["terminals"]
        assert [each["account_code"] for each in shown] == ["A", "B"]
        assert set(shown[0]) == {"id", "name", "account_code"}

    def test_may_belong_to_no_organization(self, api_of):
        answer = api_of(UserFactory(superuser=True)).get("/auth/me")
        assert answer.json()["organization"] is None

    def test_is_nobody_without_a_token(self, anonymous):
        assert anonymous.get("/auth/me").status_code == 401

    @pytest.mark.parametrize("role", Role.values)
    def test_is_for_every_role(self, api_of, role):
        assert api_of(UserFactory(role=role)).get("/auth/me").json()["role"] == role


class TestKeys:
    OLD, NEW = "an-old-key-" * 4, "a-newer-key-" * 4

    def test_may_be_changed_without_signing_anybody_out(self, dispatcher, settings, client):
        settings.SECRET_KEY = self.OLD
        signed_in = sign_in(dispatcher)
        client.force_login(dispatcher)
        settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = self.NEW, [self.OLD]
        assert is_good(signed_in["access"])
        newer = refresh(signed_in["refresh"]).json()
        assert jwt.get_unverified_header(newer["access"])["kid"] == key_id(self.NEW)
        assert client.get("/admin/").status_code == 200
        settings.SECRET_KEY_FALLBACKS = []
        assert is_good(newer["access"])
        assert not is_good(signed_in["access"])

    def test_say_nothing_about_themselves(self, dispatcher, settings):
        kid = jwt.get_unverified_header(sign_in(dispatcher)["access"])["kid"]
        assert kid not in settings.SECRET_KEY
        assert len(kid) == 12

    def test_that_were_withdrawn_are_no_good(self, dispatcher, settings):
        token = sign_in(dispatcher)["access"]
        settings.SECRET_KEY = self.NEW
        assert not is_good(token)


class TestWhoChanged:
    """What was a good token is none, or means the new rights, from the next request on."""

    @pytest.fixture
    def signed_in(self, dispatcher) -> dict[str, str]:
        return sign_in(dispatcher)

    def assert_dead(self, signed_in: dict[str, str]) -> None:
        assert not is_good(signed_in["access"])
        assert refresh(signed_in["refresh"]).status_code == 401

    def test_the_password(self, signed_in, dispatcher):
        accounts.change_user(dispatcher, {}, password="another-tide-comes-in")
        self.assert_dead(signed_in)

    def test_is_active(self, signed_in, dispatcher):
        User.objects.filter(pk=dispatcher.pk).update(is_active=False)
        self.assert_dead(signed_in)

    def test_the_organization(self, signed_in, dispatcher):
        User.objects.filter(pk=dispatcher.pk).update(organization=OrganizationFactory())
        self.assert_dead(signed_in)

    def test_is_gone(self, signed_in, dispatcher):
        dispatcher.delete()
        self.assert_dead(signed_in)

    def test_the_role(self, signed_in, dispatcher):
        User.objects.filter(pk=dispatcher.pk).update(role=Role.VIEWER)
        client = with_token(signed_in["access"])
        assert client.get("/drivers").status_code == 200
        assert client.post("/drivers", {"name": "Kari"}).status_code == 403


# ------------------------------------------------------------------------------ table J: odd tokens


def encoded(part: Any) -> bytes:
    raw = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


class Mint:
    """Makes tokens of every kind, most of them signed with the right key."""

    def __init__(self, user: User, key: str) -> None:
        self.key = key
        self.good = tokens_for(user)
        self.claims: dict[str, Any] = jwt.decode(
            str(self.good.access_token), options={"verify_signature": False}
        )

    def token(self, header: Any = None, claims: Any = None, key: str | None = None) -> str:
        """Signed by hand, as no library would do it for us."""
        header = {"alg": "HS256", "typ": "JWT", "kid": key_id(self.key), **(header or {})}
        body = encoded(header) + b"." + encoded({**self.claims, **(claims or {})})
        return self.signed(body, key or self.key)

    def signed(self, body: bytes, key: str, digest: Any = hashlib.sha256) -> str:
        signature = hmac.new(key.encode(), body, digest).digest()
        return (body + b"." + encoded(signature)).decode()

    def without(self, *names: str) -> str:
        kept = {name: value for name, value in self.claims.items() if name not in names}
        header = {"alg": "HS256", "typ": "JWT", "kid": key_id(self.key)}
        return self.signed(encoded(header) + b"." + encoded(kept), self.key)

    def raw(self, claims: bytes, header: bytes | None = None) -> str:
        plain = {"alg": "HS256", "typ": "JWT", "kid": key_id(self.key)}
        head = encoded(header if header is not None else plain)
        return self.signed(head + b"." + encoded(claims), self.key)


NOW = int(time.time())


def odd_tokens(mint: Mint, stranger: User) -> dict[str, str]:
    """Sixty tokens and more, none of which opens anything."""
    good = mint.token()
    head, body, signature = good.split(".")
    of_stranger = tokens_for(stranger).access_token.payload
    deleted = str(uuid.uuid4())
    huge = json.dumps(mint.claims)[:-1].encode()
    headers: dict[str, Any] = {
        "alg none": {"alg": "none"},
        "alg nOnE": {"alg": "nOnE"},
        "alg HS384 in name": {"alg": "HS384"},
        "alg RS256": {"alg": "RS256"},
        "alg ES256": {"alg": "ES256"},
        "alg PS512": {"alg": "PS512"},
        "alg empty": {"alg": ""},
        "alg null": {"alg": None},
        "alg list": {"alg": ["HS256"]},
        "alg number": {"alg": 256},
        "crit": {"crit": ["exp"]},
        "kid path": {"kid": "../../dev/null"},
        "kid sql": {"kid": "' OR 1=1 --"},
        "kid other": {"kid": key_id("another")},
        "kid empty": {"kid": ""},
        "kid null": {"kid": None},
        "kid list": {"kid": [key_id(mint.key)]},
        "jku alone": {"kid": None, "jku": "https://evil.example/keys"},
        "x5u alone": {"kid": None, "x5u": "https://evil.example/cert"},
        "jwk alone": {"kid": None, "jwk": {"kty": "oct", "k": "AAAA"}},
    }
    claims: dict[str, Any] = {
        "expired": {"exp": NOW - 120},
        "expired just outside the leeway": {"exp": NOW - 62},
        "exp text": {"exp": "tomorrow"},
        "exp null": {"exp": None},
        "exp list": {"exp": [NOW + 60]},
        "exp 1e20": {"exp": 10**20},
        "exp 1e12 in text": {"exp": "1e12"},
        "exp -1": {"exp": -1},
        "exp true": {"exp": True},
        "nbf in the future": {"nbf": NOW + 3600},
        "nbf text": {"nbf": "soon"},
        "iat in the future": {"iat": NOW + 3600},
        "iat text": {"iat": "x"},
        "user id list": {"user_id": [1]},
        "user id object": {"user_id": {}},
        "user id word": {"user_id": "abc"},
        "user id NUL": {"user_id": "1\u0000"},
        "user id number": {"user_id": 1},
        "user id null": {"user_id": None},
        "user id true": {"user_id": True},
        "user id of nobody": {"user_id": deleted},
        "user id of somebody else": {"user_id": str(stranger.pk)},
        "organization of somebody else": {"organization": str(stranger.organization_id)},
        "organization empty": {"organization": ""},
        "organization null": {"organization": None},
        "organization list": {"organization": []},
        "organization word": {"organization": "x"},
        "family of somebody else": {"family": of_stranger["family"]},
        "family of nobody": {"family": deleted},
        "family null": {"family": None},
        "family word": {"family": "x\u0000"},
        "password of another time": {"hash_password": "0" * 32},
        "password null": {"hash_password": None},
        "audience other": {"aud": "another-api"},
        "audience empty list": {"aud": []},
        "audience number": {"aud": 1},
        "issuer other": {"iss": "docksid"},
        "issuer list": {"iss": ["dockside"]},
        "issuer longer": {"iss": "dockside.evil"},
        "type other": {"token_type": "sliding"},
        "type null": {"token_type": None},
    }
    return {
        **{name: mint.token(header=change) for name, change in headers.items()},
        **{name: mint.token(claims=change) for name, change in claims.items()},
        **{
            f"without {name}": mint.without(name)
            for name in (
                *("exp", "aud", "iss", "jti", "token_type", "user_id"),
                *("organization", "family", "hash_password"),
            )
        },
        "alg none without signature": (
            encoded({"alg": "none", "kid": key_id(mint.key)}) + b"." + body.encode() + b"."
        ).decode(),
        "HS384 signed so": mint.signed(
            encoded({"alg": "HS384", "kid": key_id(mint.key)}) + b"." + body.encode(),
            mint.key,
            hashlib.sha384,
        ),
        "HS512 signed so": mint.signed(
            encoded({"alg": "HS512", "kid": key_id(mint.key)}) + b"." + body.encode(),
            mint.key,
            hashlib.sha512,
        ),
        "no header kid": mint.signed(encoded({"alg": "HS256"}) + b"." + body.encode(), mint.key),
        "empty signature": f"{head}.{body}.",
        "signature of another body": f"{head}.{encoded({**mint.claims, 'jti': 'x'}).decode()}."
        f"{signature}",
        "other key": mint.token(key="some-other-key-" * 4),
        "cut": good[:-4],
        "cut in the middle": good[: len(good) // 2],
        "two parts": f"{head}.{body}",
        "four parts": f"{good}.{signature}",
        "a.b.c": "a.b.c",
        "dots": "..",
        "one letter": "x",
        "8 kB": f"{head}.{'A' * 6000}.{signature}",
        "not base64": f"{head}.{body[:-1]}!.{signature}",
        "refresh as access": str(mint.good),
        "exp NaN": mint.raw(huge + b', "exp": NaN}'),
        "exp 1e400": mint.raw(huge + b', "exp": 1e400}'),
        "exp -1e400": mint.raw(huge + b', "exp": -1e400}'),
        "claims are a list": mint.raw(b"[]"),
        "claims are text": mint.raw(b'"x"'),
        "claims are null": mint.raw(b"null"),
        "claims are no JSON": mint.raw(b"{"),
        "claims are not UTF-8": mint.raw(b'{"a": "\xff"}'),
        "claims nested deep": mint.raw(b'{"a":' * 500 + b"1" + b"}" * 500),
        "header is a list": mint.raw(json.dumps(mint.claims).encode(), b"[]"),
        "header is no JSON": mint.raw(json.dumps(mint.claims).encode(), b"{"),
        "b64 false": mint.token(header={"b64": False, "crit": ["b64"]}),
    }


class TestOddTokens:
    @pytest.fixture
    def mint(self, dispatcher, settings) -> Mint:
        return Mint(dispatcher, settings.SECRET_KEY)

    def test_the_mint_makes_good_ones_where_nothing_is_odd(self, mint):
        assert is_good(mint.token())

    @pytest.mark.parametrize("header", [{"jku": "https://evil.example"}, {"x5u": "file:///etc"}])
    def test_keys_that_a_header_names_are_not_looked_for(self, mint, header, monkeypatch):
        def opened(*args: Any, **kwargs: Any) -> None:
            raise AssertionError(f"opened {args}")

        monkeypatch.setattr("urllib.request.urlopen", opened)
        assert is_good(mint.token(header=header))

    def test_open_nothing_and_break_nothing(self, mint):
        tokens = odd_tokens(mint, UserFactory())
        assert len(tokens) >= 60
        got = {}
        for name, token in tokens.items():
            answer = with_token(token).get("/orders")
            got[name] = (answer.status_code, answer.get("WWW-Authenticate", "")[:6])
        odd = {name: seen for name, seen in got.items() if seen != (401, "Bearer")}
        assert odd == {}

    @pytest.mark.parametrize("path", ["/auth/token/refresh", "/auth/logout"])
    def test_are_no_refresh_tokens_either(self, mint, path):
        tokens = odd_tokens(mint, UserFactory())
        tokens["refresh as access"] = str(mint.good.access_token)
        tokens["8 kB"] += "A" * 9000
        statuses = {
            name: ApiClient().post(path, {"refresh": token}).status_code
            for name, token in tokens.items()
        }
        assert {name: each for name, each in statuses.items() if each not in {401, 422}} == {}

    def test_exp_far_away_is_signed_by_us_only(self, mint):
        """10¹² is the year 33658: a date that Python cannot hold, and no reason to stumble."""
        assert not is_good(mint.token(claims={"exp": 10**12}))

    @pytest.mark.parametrize(
        "header",
        [
            "Bearer",
            "Bearer ",
            "Bearer a b",
            "Basic YTpi",
            "Basic",
            "bearer",
            "Token x",
            "Bearer \xe9",
            "\xff\xfe",
            "",
            "Bearer " + "x" * 100_000,
        ],
    )
    def test_odd_headers_are_refused(self, header):
        answer = ApiClient(HTTP_AUTHORIZATION=header).get("/orders")
        assert answer.status_code == 401
        assert "Bearer" in answer["WWW-Authenticate"]

    def test_two_headers_are_refused(self, mint):
        """A server joins them with a comma."""
        good = mint.token()
        for both in (f"Bearer {good},Bearer {good}", f"Bearer {good}, Basic YTpi"):
            assert ApiClient(HTTP_AUTHORIZATION=both).get("/orders").status_code == 401

    @pytest.mark.parametrize("name", ["access", "token", "access_token", "authorization"])
    def test_none_is_taken_from_the_query(self, mint, name):
        answer = ApiClient().get(f"/orders?{name}={mint.token()}")
        assert answer.status_code == 401

    def test_a_good_token_in_another_scheme_is_refused(self, mint):
        assert ApiClient(HTTP_AUTHORIZATION=f"JWT {mint.token()}").get("/orders").status_code == 401


class TestTheSession:
    def test_writes_nothing_without_its_csrf_token(self, dispatcher):
        client = Client(enforce_csrf_checks=True)
        client.force_login(dispatcher)
        body = json.dumps({"name": "Kari"})
        answer = client.post("/api/v1/drivers", body, content_type="application/json")
        assert answer.status_code == 403
        assert client.get("/api/v1/drivers").json()["data"] == []

    @pytest.mark.parametrize(
        "target", ["https://evil.example", "//evil.example", "javascript:alert(1)", "/\\evil"]
    )
    def test_goes_to_our_own_host_only_after_sign_in(self, client, dispatcher, target):
        body = {"username": dispatcher.username, "password": PASSWORD, "next": target}
        answer = client.post(f"/admin/login/?next={target}", body)
        assert answer.status_code == 302
        assert answer["Location"] == "/admin/"


class TestTheWall:
    def test_hides_the_families_of_others(self, dispatcher):
        stranger = UserFactory()
        tokens_for(dispatcher)
        tokens_for(stranger)
        with tenancy.within(dispatcher.organization_id):
            assert [each.user_id for each in TokenFamily.objects.all()] == [dispatcher.pk]


class TestPurging:
    def test_forgets_what_has_ended_and_nothing_else(self, dispatcher, capsys):
        tokens_for(dispatcher)
        tokens_for(dispatcher)
        ended = TokenFamily.objects.first()
        ended.expires_at = timezone.now() - timedelta(days=2)
        ended.save_changes(["expires_at"])
        call_command("purge_tokens")
        assert capsys.readouterr().out == "1 expired sign-ins forgotten.\n"
        assert ended.pk not in TokenFamily.objects.values_list("pk", flat=True)
        assert TokenFamily.objects.count() == 1


class TestATokenThatComesAgain:
    """Its signature is not asked again; everything else is."""

    def test_is_good_until_its_time_is_over(self, dispatcher, monkeypatch):
        token = tokens_for(dispatcher).access_token
        assert is_good(token)
        over = token["exp"] + KEYS.get_leeway().total_seconds()
        monkeypatch.setattr("time.time", lambda: over - 1)
        assert is_good(token)
        monkeypatch.setattr("time.time", lambda: over)
        assert not is_good(token)

    def test_is_dead_once_its_key_is_withdrawn(self, dispatcher, settings):
        token = str(tokens_for(dispatcher).access_token)
        assert is_good(token)
        settings.SECRET_KEY = "another-" * 8
        assert not is_good(token)

    def test_is_remembered_by_all_of_its_text(self, dispatcher):
        token = str(tokens_for(dispatcher).access_token)
        assert is_good(token)
        assert not is_good(token[:-2])

    def test_finds_room_among_many(self, dispatcher, monkeypatch):
        monkeypatch.setattr("core.api.tokens.REMEMBERED", 1)
        tokens = [tokens_for(dispatcher).access_token for _ in range(3)]
        assert all(map(is_good, [*tokens, *tokens]))


def test_access_tokens_live_shortly(dispatcher):
    token = Access(str(tokens_for(dispatcher).access_token))
    assert token["exp"] - token["iat"] <= 15 * 60
