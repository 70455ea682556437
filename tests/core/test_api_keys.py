"""API keys: how programs sign in."""

import re
from datetime import timedelta
from io import StringIO
from math import log2

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.sessions.models import Session
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from core import keys
from core.errors import Conflict, RuleBroken, UnknownReference
from core.models import ApiKey, Scope
from tests.conftest import ApiClient
from tests.core.factories import OrganizationFactory, UserFactory
from tests.core.keys import client_with, make_key
from tests.orders.factories import OrderFactory
from tests.terminals.factories import TerminalFactory

pytestmark = pytest.mark.django_db

FORM = re.compile(r"dk_[A-Za-z0-9]{8}\.([A-Za-z0-9]{32})")
A_DAY = timedelta(days=1)


@pytest.fixture
def harbour():
    return OrganizationFactory(slug="harbour")


def stored(key):
    return ApiKey.objects.filter(pk=key.pk).values().get()


class TestCreateKey:
    def test_makes_a_key_that_nobody_guesses(self, harbour):
        texts = {make_key(harbour)[1] for _ in range(50)}
        assert len(texts) == 50
        assert all(FORM.fullmatch(text) for text in texts)
        assert 32 * log2(62) >= 112

    def test_keeps_the_hash_only(self, harbour):
        key, text = make_key(harbour)
        secret = FORM.fullmatch(text)[1]
        with connection.cursor() as cursor:
            for table in ("core_apikey", "core_apikeyevent", "terminals_terminalkey"):
                cursor.execute(f"SELECT {table}::text FROM {table}")
                dump = str(cursor.fetchall())
                assert secret not in dump
                assert (key.prefix in dump) is (table != "terminals_terminalkey")
                assert (key.hashed_key in dump) is (table == "core_apikey")

    def test_refuses_what_could_not_be_used_or_told_apart(self, harbour):
        for wrong in (
            {"name": ""},
            {"scope": "everything"},
            {"expires_at": timezone.now()},
        ):
            with pytest.raises(RuleBroken):
                make_key(harbour, **wrong)
        with pytest.raises(UnknownReference):
            make_key(harbour, terminals=[TerminalFactory()])
        assert not ApiKey.objects.exists()


class TestAKey:
    def test_reads_and_writes_as_its_scope_says(self):
        order = OrderFactory()
        address = f"/orders/{order.pk}"
        reading = client_with(make_key(order.organization, scope=Scope.READ)[1])
        writing = client_with(make_key(order.organization, scope=Scope.WRITE)[1])
        assert reading.get(address).status_code == 200
        refusal = reading.patch(address, {"notes": "x"})
        assert (refusal.status_code, refusal.json()["code"]) == (403, "permission-denied")
        assert writing.get(address).status_code == 200
        assert writing.patch(address, {"notes": "x"}).status_code == 200

    def test_makes_things_of_its_own_organization(self, harbour):
        made = client_with(make_key(harbour)[1]).post("/drivers", {"name": "Kari"})
        assert made.status_code == 201
        assert harbour.drivers.get().name == "Kari"

    @pytest.mark.usefixtures("no_filters")
    def test_stays_behind_the_wall_of_its_organization(self, harbour):
        """It is looked up beyond the wall, and what follows is not."""
        theirs = OrderFactory()
        program = client_with(make_key(harbour)[1])
        assert program.get("/orders").json()["data"] == []
        assert program.get(f"/orders/{theirs.pk}").status_code == 404
        assert program.delete(f"/orders/{theirs.pk}").status_code == 404

    def test_is_dead_as_soon_as_it_is_revoked(self, harbour):
        key, text = make_key(harbour)
        program = client_with(text)
        assert program.get("/orders").status_code == 200
        assert keys.revoke_key(key)
        assert program.get("/orders").status_code == 401
        assert not keys.revoke_key(key)

    def test_is_dead_as_soon_as_it_expires(self, harbour):
        key, text = make_key(harbour, expires_at=timezone.now() + A_DAY)
        program = client_with(text)
        assert program.get("/orders").status_code == 200
        ApiKey.objects.filter(pk=key.pk).update(expires_at=timezone.now())
        assert program.get("/orders").status_code == 401

    def test_says_who_it_is(self, harbour):
        terminal = TerminalFactory(organization=harbour)
        _, text = make_key(harbour, name="ERP", terminals=[terminal])
        me = client_with(text).get("/auth/me").json()
        assert (me["username"], me["role"]) == ("ERP", "dispatcher")
        assert [each["id"] for each in me["terminals"]] == [str(terminal.pk)]

    def test_costs_one_statement(self, harbour, statements):
        program = client_with(make_key(harbour)[1])
        program.get("/orders")
        with statements() as seen:
            assert program.get("/orders?period=today").status_code == 200
        assert len(seen.sql) <= 4, seen.sql

    def test_stands_in_the_log_by_its_prefix(self, harbour, caplog):
        key, text = make_key(harbour)
        program, secret = client_with(text), FORM.fullmatch(text)[1]
        program.get("/orders")
        program.get(f"/orders?api_key={text}")
        program.post("/orders", {"reference": "x"})
        ApiClient(HTTP_AUTHORIZATION=f"Api-Key {text}x").get("/orders")
        ApiClient(HTTP_AUTHORIZATION=f"Bearer {text}").get("/orders")
        assert key.prefix in caplog.text
        assert secret not in caplog.text


class TestLastUse:
    def test_is_noted_whatever_becomes_of_the_request(self, harbour):
        key, text = make_key(harbour, scope=Scope.READ)
        assert stored(key)["last_used_at"] is None
        assert client_with(text).post("/drivers", {"name": "Kari"}).status_code == 403
        assert timezone.now() - stored(key)["last_used_at"] < timedelta(seconds=10)

    def test_is_noted_once_a_minute(self, harbour):
        key, text = make_key(harbour)
        for ago, is_noted in ((50, False), (70, True)):
            then = timezone.now() - timedelta(seconds=ago)
            ApiKey.objects.filter(pk=key.pk).update(last_used_at=then)
            client_with(text).get("/orders")
            assert (stored(key)["last_used_at"] > then) is is_noted

    def test_is_not_noted_of_a_key_that_is_refused(self, harbour):
        key, text = make_key(harbour)
        keys.revoke_key(key)
        client_with(text).get("/orders")
        assert stored(key)["last_used_at"] is None


class TestOddCredentials:
    """Table J9: never the first that works."""

    @pytest.mark.parametrize(
        "odd",
        [
            "Api-Key",
            "Api-Key ",
            "{key}",
            "ApiKey {key}",
            "Token {key}",
            "Bearer {key}",
            "Basic {key}",
            "Api-Key {bearer}",
            "Api-Key {key} {key}",
            "Api-Key {key},Api-Key {key}",  # two headers, as a server hands them on
            "Api-Key {key}, Bearer {bearer}",
            "Bearer {bearer}, Api-Key {key}",
            "Bearer {bearer},Api-Key {key}",
            'Api-Key "{key}"',
            "Api-Key {key}\x00",
            "Api-Key {key}é",
            "Api-Key {key}%20",
            "Api-Key {lower}",
            "Api-Key {key}" + 100_000 * "A",
            "Api-Key dk_' OR 1=1--.x",
        ],
    )
    def test_are_refused(self, harbour, odd):
        _, key = make_key(harbour)
        bearer = ApiClient(UserFactory()).defaults["HTTP_AUTHORIZATION"].split()[1]
        header = odd.format(key=key, bearer=bearer, lower=key.lower())
        answer = ApiClient(HTTP_AUTHORIZATION=header).get("/orders")
        assert answer.status_code == 401
        assert answer["WWW-Authenticate"]

    @pytest.mark.parametrize("name", ["api_key", "api-key", "key", "token", "access_token"])
    def test_in_the_query_are_never_taken(self, harbour, name):
        _, key = make_key(harbour)
        assert ApiClient().get(f"/orders?{name}={key}").status_code == 401
        assert client_with(key).get(f"/orders?{name}={key}").status_code == 422

    def test_elsewhere_are_never_taken(self, harbour):
        _, key = make_key(harbour)
        program = ApiClient(HTTP_X_API_KEY=key, HTTP_API_KEY=key)
        program.cookies["api_key"] = key
        assert program.get("/orders").status_code == 401

    def test_of_any_case_name_the_scheme(self, harbour):
        _, key = make_key(harbour)
        assert ApiClient(HTTP_AUTHORIZATION=f"api-key {key}").get("/orders").status_code == 200

    def test_beside_a_session_count_alone(self, harbour):
        """A key of one organization beside the session of another: the key's, or nobody's."""
        theirs = OrderFactory()
        key, text = make_key(harbour)
        program = client_with(text)
        program.force_login(UserFactory(organization=theirs.organization))
        assert program.get("/orders").json()["data"] == []
        keys.revoke_key(key)
        assert program.get("/orders").status_code == 401


class TestRotateKey:
    def test_makes_a_successor_that_may_do_the_same(self, harbour):
        terminal = TerminalFactory(organization=harbour)
        old, _ = make_key(harbour, name="ERP", terminals=[terminal])
        new, text = keys.rotate_key(old, overlap=A_DAY)
        assert (new.name, new.scope, new.expires_at) == ("ERP", Scope.WRITE, None)
        assert list(new.terminals.all()) == [terminal]
        assert new.replaces == old
        assert client_with(text).get("/orders").status_code == 200

    def test_lets_the_old_one_live_for_the_overlap(self, harbour):
        old, text = make_key(harbour)
        _, newer = keys.rotate_key(old, overlap=A_DAY)
        assert timedelta() < stored(old)["expires_at"] - timezone.now() <= A_DAY
        assert client_with(text).get("/orders").status_code == 200
        ApiKey.objects.filter(pk=old.pk).update(expires_at=timezone.now())
        assert client_with(text).get("/orders").status_code == 401
        assert client_with(newer).get("/orders").status_code == 200

    def test_never_prolongs_the_old_one(self, harbour):
        soon = timezone.now() + timedelta(hours=1)
        old, _ = make_key(harbour, expires_at=soon)
        new, _ = keys.rotate_key(old, overlap=A_DAY)
        assert stored(old)["expires_at"] == soon
        assert new.expires_at > soon  # an hour from now on

    def test_refuses_a_key_that_is_of_no_use_or_was_replaced(self, harbour):
        revoked, replaced = make_key(harbour)[0], make_key(harbour)[0]
        keys.revoke_key(revoked)
        keys.rotate_key(replaced, overlap=A_DAY)
        for key in (revoked, replaced):
            with pytest.raises(Conflict):
                keys.rotate_key(key, overlap=A_DAY)
        assert ApiKey.objects.count() == 3


def said_by(*arguments):
    out = StringIO()
    call_command(*arguments, stdout=out)
    return out.getvalue().splitlines()


class TestTheCommands:
    def test_make_a_key_and_print_it_once(self, harbour):
        TerminalFactory(organization=harbour, account_code="A")
        line, text = said_by(
            *("create_api_key", "ERP", "--organization", "harbour", "--scope", "write"),
            *("--terminal", "A", "--expires-days", "30"),
        )
        key = ApiKey.objects.get()
        assert line == f"Key ERP ({key.prefix}) made: write of harbour at A. It is shown this once:"
        assert client_with(text).get("/orders").status_code == 200
        assert [terminal.account_code for terminal in key.terminals.all()] == ["A"]
        assert timedelta(days=29) < key.expires_at - timezone.now() <= timedelta(days=30)

    @pytest.mark.parametrize(
        ("options", "scope"),
        [
            ([], "read"),
            (["--scope", "read"], "read"),
            (["--scope", "read", "write"], "write"),
            (["--scope", "read", "--scope", "write"], "write"),
        ],
    )
    @pytest.mark.usefixtures("harbour")
    def test_let_writing_include_reading(self, options, scope):
        said_by("create_api_key", "ERP", "--organization", "harbour", *options)
        assert ApiKey.objects.get().scope == scope

    @pytest.mark.parametrize(
        ("arguments", "code"),
        [
            (["create_api_key", "ERP", "--organization", "nowhere"], 1),
            (["create_api_key", "ERP", "--organization", "harbour", "--terminal", "X"], 1),
            (["create_api_key", "", "--organization", "harbour"], 1),
            (["create_api_key", "ERP", "--organization", "harbour", "--expires-days", "0"], 2),
            (["revoke_api_key", "dk_12345678"], 1),
            (["rotate_api_key", "dk_12345678"], 1),
            (["rotate_api_key", "dk_12345678", "--overlap-hours", "-1"], 2),
        ],
    )
    @pytest.mark.usefixtures("harbour")
    def test_refuse_in_one_line(self, arguments, code):
        with pytest.raises(CommandError, match=r"\A[^\n]+\Z") as refusal:
            said_by(*arguments)
        assert refusal.value.returncode == code
        assert not ApiKey.objects.exists()

    def test_revoke_a_key(self, harbour):
        key, text = make_key(harbour, name="ERP")
        assert said_by("revoke_api_key", key.prefix) == [f"Key ERP ({key.prefix}) revoked."]
        assert client_with(text).get("/orders").status_code == 401
        again = said_by("revoke_api_key", text)  # a whole key names itself, and is not repeated
        assert again == [f"Key ERP ({key.prefix}) was revoked; nothing changed."]

    def test_rotate_a_key(self, harbour):
        key, old = make_key(harbour)
        _, new = said_by("rotate_api_key", key.prefix, "--overlap-hours", "2")
        assert {client_with(text).get("/orders").status_code for text in (old, new)} == {200}
        assert stored(key)["expires_at"] - timezone.now() <= timedelta(hours=2)

        key = ApiKey.objects.get(replaces=key)
        _, newest = said_by("rotate_api_key", key.prefix, "--overlap-hours", "0")
        assert client_with(new).get("/orders").status_code == 401
        assert client_with(newest).get("/orders").status_code == 200


class TestTheAdmin:
    @pytest.fixture
    def chief(self, harbour):
        return UserFactory(admin=True, organization=harbour)

    @pytest.fixture
    def client(self, chief):
        client = Client()
        client.force_login(chief)
        return client

    def test_shows_a_new_key_once(self, client, chief, harbour):
        terminal = TerminalFactory(organization=harbour)
        given = {"name": "ERP", "scope": "write", "terminals": [terminal.pk]}
        page = client.post(reverse("admin:core_apikey_add"), given)
        text = FORM.search(page.content.decode())
        assert page.status_code == 200
        assert "no-store" in page["Cache-Control"]
        assert client_with(text[0]).get("/orders").status_code == 200
        key = ApiKey.objects.get()
        assert (key.created_by, list(key.terminals.all())) == (chief, [terminal])

        for name, arguments in (("changelist", []), ("change", [key.pk]), ("history", [key.pk])):
            page = client.get(reverse(f"admin:core_apikey_{name}", args=arguments))
            assert page.status_code == 200
            assert key.prefix in page.content.decode()
            assert text[1] not in page.content.decode()
        assert text[1] not in str(LogEntry.objects.values())
        kept = [session.get_decoded() for session in Session.objects.all()]
        assert text[1] not in str(kept)

    def test_makes_none_at_anothers_terminal(self, client):
        given = {"name": "ERP", "scope": "write", "terminals": [TerminalFactory().pk]}
        page = client.post(reverse("admin:core_apikey_add"), given)
        assert "not one of the available choices" in page.content.decode()
        assert not ApiKey.objects.exists()

    def test_lets_a_superuser_choose_the_organization(self, harbour):
        client = Client()
        client.force_login(UserFactory(superuser=True))
        given = {"name": "ERP", "scope": "read", "owner": harbour.pk}
        assert FORM.search(client.post(reverse("admin:core_apikey_add"), given).content.decode())
        assert ApiKey.objects.get().organization == harbour

    def act(self, client, action, *chosen):
        return client.post(
            reverse("admin:core_apikey_changelist"),
            {"action": action, "_selected_action": [key.pk for key in chosen]},
            follow=True,
        )

    def test_revokes_keys_at_once(self, client, harbour):
        key, text = make_key(harbour)
        theirs, theirs_text = make_key(OrganizationFactory())
        self.act(client, "revoke", key, theirs)
        assert client_with(text).get("/orders").status_code == 401
        assert client_with(theirs_text).get("/orders").status_code == 200

    def test_replaces_one_key_at_a_time(self, client, harbour):
        key, other = make_key(harbour)[0], make_key(harbour)[0]
        assert "one key at a time" in self.act(client, "rotate", key, other).content.decode()
        assert ApiKey.objects.count() == 2
        page = self.act(client, "rotate", key)
        text = FORM.search(page.content.decode())[0]
        assert client_with(text).get("/orders").status_code == 200
        assert ApiKey.objects.get(replaces=key).prefix == text.partition(".")[0]

    def test_changes_nothing_about_a_key(self, client, harbour):
        key, _ = make_key(harbour)
        before = stored(key)
        given = {"name": "X", "scope": "write", "prefix": "dk_x"}
        client.post(reverse("admin:core_apikey_change", args=[key.pk]), given)
        assert stored(key) == before
        assert client.post(reverse("admin:core_apikey_delete", args=[key.pk])).status_code == 403
