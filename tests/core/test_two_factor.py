"""No page of the admin without the second factor, where one is required."""

import re
import time
from collections.abc import Iterator
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.contrib import admin
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.urls import URLPattern, URLResolver
from django.utils import timezone
from django_otp.oath import TOTP
from django_otp.plugins.otp_static.models import StaticDevice, StaticToken
from django_otp.plugins.otp_totp.models import TOTPDevice

from core import history, tenancy, two_factor
from core.models import User
from tests.core.factories import PASSWORD, OrganizationFactory, UserFactory

pytestmark = pytest.mark.django_db

CODE, SET_UP, RECOVERY, TURN_OFF = (
    f"/admin/two-factor/{name}" for name in ("", "set-up/", "recovery-codes/", "turn-off/")
)


@pytest.fixture
def user() -> User:
    return UserFactory(organization=OrganizationFactory(require_two_factor=True), admin=True)


@pytest.fixture
def client() -> Client:
    return Client()


def sign_in(client: Client, user: User) -> None:
    answer = client.post("/admin/login/", {"username": user.username, "password": PASSWORD})
    assert answer.status_code == 302, answer.content


def code_for(key: str, steps: int = 0) -> str:
    totp = TOTP(bytes.fromhex(key))
    totp.time = time.time() + 30 * steps
    return f"{totp.token():06}"


def set_up(client: Client) -> list[str]:
    """Go through the page as a user does, and note the recovery codes."""
    client.get(SET_UP)
    answer = client.post(SET_UP, {"code": code_for(client.session["two_factor_new_key"])})
    return re.findall(r"<li><code>(.*?)</code>", answer.content.decode())


def with_app(user: User) -> TOTPDevice:
    return TOTPDevice.objects.create(user=user, name="Authenticator app")


def let_in(client: Client) -> bool:
    return client.get("/admin/").status_code == 200


def admin_addresses(patterns: Any = None, prefix: str = "/admin/") -> Iterator[str]:
    """Every address of the admin, with something in place of what varies."""
    for pattern in admin.site.get_urls() if patterns is None else patterns:
        path = prefix + re.sub(r"<[^>]*>", "x", str(pattern.pattern))
        if isinstance(pattern, URLResolver):
            yield from admin_addresses(pattern.url_patterns, path)
        elif isinstance(pattern, URLPattern):
            yield re.sub(r"\(\?P.*?\)\$?|[\^$]", "x", path)


class TestTheGate:
    def test_serves_no_page_of_the_admin_but_the_sign_in(self, client, user):
        sign_in(client, user)
        addresses = {*admin_addresses(), RECOVERY, TURN_OFF} - {"/admin/login/", "/admin/logout/"}
        assert len(addresses) > 30
        for method in (client.get, client.post):
            for address in addresses:
                answer = method(address)
                assert answer.status_code == 302, address
                assert answer["Location"].startswith(f"{CODE}?next="), address

    def test_lets_who_needs_none_pass(self, client):
        sign_in(client, UserFactory())
        assert let_in(client)
        assert client.get(CODE)["Location"] == "/admin/"

    def test_can_be_closed_for_everybody(self, client, settings):
        settings.ADMIN_REQUIRE_TWO_FACTOR = True
        for user in (UserFactory(), UserFactory(superuser=True)):
            sign_in(client, user)
            assert not let_in(client)
            assert len(set_up(client)) == 10
            assert let_in(client)

    def test_asks_who_was_signed_in_before_it_was_required(self, client):
        user = UserFactory()
        sign_in(client, user)
        assert let_in(client)
        user.organization.require_two_factor = True
        user.organization.save()
        assert not let_in(client)

    def test_is_no_page_for_who_has_not_signed_in(self, client):
        for address in (CODE, SET_UP, RECOVERY):
            assert client.get(address)["Location"].startswith("/admin/login/")

    def test_lets_who_gives_up_sign_out(self, client, user):
        sign_in(client, user)
        assert client.post("/admin/logout/").status_code in (200, 302)
        assert client.get(CODE)["Location"].startswith("/admin/login/")


class TestAVoluntarySecondStep:
    """Nobody asks for it; who sets it up is asked from then on."""

    @pytest.fixture
    def user(self) -> User:
        return UserFactory()

    @pytest.fixture
    def codes(self, client, user) -> list[str]:
        sign_in(client, user)
        return set_up(client)

    def test_is_offered_in_the_menu(self, client, user):
        sign_in(client, user)
        assert SET_UP in client.get("/admin/").content.decode()
        page = client.get(SET_UP).content.decode()
        assert "<svg" in page
        assert "you need" not in page

    def test_is_asked_for_in_every_session(self, client, user):
        other = Client()
        sign_in(other, user)
        sign_in(client, user)
        assert let_in(other)
        assert len(set_up(client)) == 10
        assert let_in(client)
        assert not let_in(other)
        assert other.get("/api/v1/orders").status_code == 401

    @pytest.mark.usefixtures("codes")
    def test_is_not_replaced_by_who_only_has_the_password(self, user):
        other = Client()
        sign_in(other, user)
        assert other.get(SET_UP)["Location"] == CODE
        assert other.get(RECOVERY)["Location"].startswith(f"{CODE}?next=")
        assert other.post(TURN_OFF, {"code": "000000"})["Location"].startswith(f"{CODE}?next=")
        assert TOTPDevice.objects.count() == 1

    def test_comes_before_its_recovery_codes(self, client, user):
        sign_in(client, user)
        assert client.post(RECOVERY)["Location"] == SET_UP
        assert not StaticDevice.objects.exists()

    def test_is_turned_off_by_a_last_code_alone(self, client, user, codes):
        assert TURN_OFF in client.get("/admin/").content.decode()
        assert client.post(TURN_OFF, {"code": "wrong"}).status_code == 200
        assert two_factor.is_set_up(user)
        StaticDevice.objects.update(throttling_failure_timestamp=None)
        assert client.post(TURN_OFF, {"code": codes[0]})["Location"] == "/admin/"
        assert not TOTPDevice.objects.exists()
        assert not StaticToken.objects.exists()
        assert let_in(client)
        other = Client()
        sign_in(other, user)
        assert let_in(other)

    def test_stays_where_it_has_become_required(self, client, user, codes):
        user.organization.require_two_factor = True
        user.organization.save()
        assert TURN_OFF not in client.get("/admin/").content.decode()
        assert client.post(TURN_OFF, {"code": codes[0]})["Location"] == "/admin/"
        assert TOTPDevice.objects.count() == 1


class TestHistory:
    def test_tells_who_set_it_up_and_who_reset_it(self, client, user):
        sign_in(client, user)
        set_up(client)
        call_command("reset_two_factor", user.username, stdout=StringIO())
        *_, made, gone = history.events_of(User).objects.filter(pgh_obj=user.pk).order_by("pgh_id")
        assert (made.two_factor_since is None, gone.two_factor_since is None) == (False, True)
        assert made.pgh_context["by"]["name"] == user.username
        assert (made.pgh_context["door"], gone.pgh_context["door"]) == ("admin", "command")


class TestTheApi:
    def test_takes_a_session_without_second_factor_for_nobody(self, client, user):
        sign_in(client, user)
        assert client.get("/api/v1/auth/me").status_code == 401
        assert client.get("/api/v1/orders").status_code == 401
        set_up(client)
        assert client.get("/api/v1/orders").status_code == 200

    def test_asks_programs_for_no_code(self, api_of, user):
        assert api_of(user).get("/orders").status_code == 200


class TestSettingUp:
    def test_is_where_the_first_sign_in_leads(self, client, user):
        sign_in(client, user)
        page = client.get("/admin/core/user/?q=a", follow=True)
        assert page.redirect_chain[-1][0] == f"{SET_UP}?next=%2Fadmin%2Fcore%2Fuser%2F%3Fq%3Da"
        key = client.session["two_factor_new_key"]
        text = page.content.decode()
        assert "<svg" in text
        assert two_factor.secret_of(TOTPDevice(key=key)) in text

    def test_shows_ten_recovery_codes_once_and_lets_in(self, client, user):
        sign_in(client, user)
        codes = set_up(client)
        assert len(set(codes)) == 10
        assert let_in(client)
        assert client.get(SET_UP, follow=True).redirect_chain[-1][0] == "/admin/"
        kept = [*StaticToken.objects.values_list("token", flat=True)]
        assert not {code.replace("-", "") for code in codes} & {each.lower() for each in kept}

    def test_takes_no_wrong_code(self, client, user):
        sign_in(client, user)
        client.get(SET_UP)
        for wrong in ("000000", "", "1", "x" * 40, "１２３４５６"):
            assert client.post(SET_UP, {"code": wrong}).status_code == 200
        assert not TOTPDevice.objects.exists()
        assert not let_in(client)

    def test_is_refused_to_who_only_has_the_password_of_somebody_set_up(self, client, user):
        with_app(user)
        sign_in(client, user)
        assert client.get(SET_UP)["Location"] == CODE
        assert client.post(SET_UP, {"code": "000000"})["Location"] == CODE
        assert TOTPDevice.objects.count() == 1

    def test_loses_against_who_was_first(self, client, user):
        sign_in(client, user)
        request = client.get(SET_UP).wsgi_request
        code = code_for(request.session["two_factor_new_key"])
        device = with_app(user)
        assert two_factor.set_up(request, code) is None
        assert TOTPDevice.objects.get() == device
        device.delete()
        assert two_factor.set_up(request, code)

    def test_offers_each_session_its_own_secret(self, user):
        keys = set()
        for _ in range(2):
            client = Client()
            sign_in(client, user)
            client.get(SET_UP)
            keys.add(client.session["two_factor_new_key"])
        assert len(keys) == 2


class TestTheCode:
    @pytest.fixture(autouse=True)
    def signed_in(self, client, user):
        self.device = with_app(user)
        sign_in(client, user)

    def later(self, seconds: int) -> None:
        for device in (TOTPDevice, StaticDevice):
            device.objects.exclude(throttling_failure_timestamp=None).update(
                throttling_failure_timestamp=timezone.now() - timedelta(seconds=seconds)
            )

    def test_lets_in_and_leads_to_the_page_asked_for(self, client):
        answer = client.post(f"{CODE}?next=/admin/core/user/", {"code": code_for(self.device.key)})
        assert answer["Location"] == "/admin/core/user/"
        assert let_in(client)

    @pytest.mark.parametrize(
        "away",
        [
            "https://evil.example",
            "//evil.example",
            "/\\evil",
            "javascript:alert(1)",
            "/api/v1/docs",
        ],
    )
    def test_leads_nowhere_else(self, client, away):
        answer = client.post(f"{CODE}?next={away}", {"code": code_for(self.device.key)})
        assert answer["Location"] == "/admin/"

    def test_makes_the_session_a_new_one(self, client):
        before = client.cookies["sessionid"].value
        client.post(CODE, {"code": code_for(self.device.key)})
        assert client.cookies["sessionid"].value != before

    def test_works_once(self, client, user):
        code = code_for(self.device.key)
        client.post(CODE, {"code": code})
        other = Client()
        sign_in(other, user)
        other.post(CODE, {"code": code})
        assert not let_in(other)

    def test_is_asked_for_at_each_sign_in(self, client, user):
        client.post(CODE, {"code": code_for(self.device.key)})
        client.post("/admin/logout/")
        sign_in(client, user)
        assert not let_in(client)

    def test_is_slowed_down_after_wrong_ones(self, client):
        for failures, wait_s in ((1, 1), (2, 2), (3, 4)):
            client.post(CODE, {"code": "000000"})
            self.device.refresh_from_db()
            assert self.device.throttling_failure_count == failures
            assert client.post(CODE, {"code": code_for(self.device.key)}).status_code == 200
            assert not let_in(client)
            self.later(wait_s + 1)
        client.post(CODE, {"code": code_for(self.device.key)})
        assert let_in(client)

    def test_of_somebody_else_is_none(self, client):
        other = with_app(UserFactory())
        client.post(CODE, {"code": code_for(other.key)})
        assert not let_in(client)

    def test_is_not_of_an_app_that_was_never_confirmed(self, client, user):
        TOTPDevice.objects.update(confirmed=False)
        client.post(CODE, {"code": code_for(self.device.key)})
        assert not let_in(client)

    def test_may_be_a_recovery_code_once(self, client, user):
        first, second, *_ = two_factor.new_recovery_codes(user)
        client.post(CODE, {"code": first.upper()})
        assert let_in(client)
        assert StaticToken.objects.count() == 9
        other = Client()
        sign_in(other, user)
        other.post(CODE, {"code": first})
        assert not let_in(other)
        self.later(5)
        other.post(CODE, {"code": second.replace("-", " ")})
        assert let_in(other)

    def test_may_be_no_hash_of_a_recovery_code(self, client, user):
        two_factor.new_recovery_codes(user)
        for token in StaticToken.objects.values_list("token", flat=True)[:3]:
            client.post(CODE, {"code": token})
            self.later(60)
        assert not let_in(client)


class TestRecoveryCodes:
    def test_are_offered_to_who_needs_them(self, client, user):
        sign_in(client, user)
        set_up(client)
        assert RECOVERY in client.get("/admin/").content.decode()
        other = Client()
        sign_in(other, UserFactory())
        assert RECOVERY not in other.get("/admin/").content.decode()

    def test_are_replaced_by_ten_new_ones(self, client, user):
        sign_in(client, user)
        old = set_up(client)
        assert "10 recovery codes left" in client.get(RECOVERY).content.decode()
        page = client.post(RECOVERY).content.decode()
        assert len(re.findall(r"<li><code>", page)) == 10
        assert old[0] not in page
        assert StaticToken.objects.count() == 10


class TestResetTwoFactor:
    def test_asks_every_session_again_and_sets_up_anew(self, client, user, capsys):
        sign_in(client, user)
        set_up(client)
        call_command("reset_two_factor", user.username)
        assert "sets up the second step anew" in capsys.readouterr().out
        assert not let_in(client)
        assert len(set_up(client)) == 10
        assert let_in(client)

    def test_says_where_there_is_nothing_to_do(self, user, capsys):
        call_command("reset_two_factor", user.username)
        assert "nothing changed" in capsys.readouterr().out
        with pytest.raises(CommandError, match="no user nobody"):
            call_command("reset_two_factor", "nobody")


class TestTheTables:
    def test_are_behind_the_wall(self, user):
        with_app(user)
        two_factor.new_recovery_codes(user)
        tables = ("otp_totp_totpdevice", "otp_static_staticdevice", "otp_static_statictoken")

        def counts() -> list[int]:
            with connection.cursor() as cursor:
                return [
                    cursor.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
                    for table in tables
                ]

        with tenancy.within(user.organization_id):
            assert counts() == [1, 1, 10]
        with tenancy.within(OrganizationFactory().pk):
            assert counts() == [0, 0, 0]
