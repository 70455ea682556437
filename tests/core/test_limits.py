"""How often somebody may ask: counted exactly, told in headers, and never an outage."""

import re
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext

from core import limits
from core.api import limited
from core.limits import FORGET, Change, Kind, Memory
from core.models import Organization
from tests.conftest import ApiClient
from tests.core.factories import OrganizationFactory, UserFactory
from tests.core.keys import client_with, make_key
from tests.orders.factories import OrderFactory
from tests.valkeys import calls_of_valkey, use

pytestmark = pytest.mark.django_db

POLICY = re.compile(r'"([a-z-]+)";q=(\d+);w=(\d+)')
LEFT = re.compile(r'"([a-z-]+)";r=(\d+);t=(\d+)')


def told(answer) -> tuple[str, int, int, int]:
    """Name, quota, what is left, seconds until it is there again."""
    name, quota, _ = POLICY.fullmatch(answer["RateLimit-Policy"]).groups()
    again, left, seconds = LEFT.fullmatch(answer["RateLimit"]).groups()
    assert again == name
    return name, int(quota), int(left), int(seconds)


@contextmanager
def hung_server() -> Iterator[str]:
    """A server that takes connections and never says anything."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"redis://127.0.0.1:{listener.getsockname()[1]}/0"


@contextmanager
def no_server() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    yield f"redis://127.0.0.1:{port}/0"


class TestCounting:
    def test_lets_exactly_n_of_many_at_once_through(self):
        def one(_: int) -> bool:
            return limits.use(Kind.READ, "user:1").is_exceeded

        with ThreadPoolExecutor(8) as threads, pytest.MonkeyPatch.context() as patch:
            patch.setattr("django.conf.settings.LIMIT_READ", "50/minute")
            refused = list(threads.map(one, range(200)))
        assert refused.count(False) == 50

    def test_asks_valkey_once(self, monkeypatch):
        limits.use(Kind.READ, "user:1")  # the script is known from here on
        with calls_of_valkey() as calls:
            limits.use(Kind.READ, "user:1")
        assert len(calls) == 1

    @pytest.fixture(params=["valkey", "memory"])
    def change(self, request):
        """One change, in Valkey and in memory: they are to be the same."""
        if request.param == "valkey":
            return lambda *changes: limits.change(*changes)
        memory = Memory()
        return lambda *changes: memory.change(changes)

    def test_begins_a_window_with_the_first(self, change):
        ((count, left_s),) = change(Change("a", 1, 60))
        assert count == 1
        assert 59 < left_s <= 60
        time.sleep(0.05)
        ((count, later_s),) = change(Change("a", 1, 60))
        assert count == 2
        assert later_s < left_s - 0.04

    def test_begins_it_again_where_it_is_renewed(self, change):
        change(Change("a", 1, 60))
        ((count, left_s),) = change(Change("a", 1, 600, renewed=True))
        assert count == 2
        assert left_s > 599

    def test_looks_without_counting(self, change):
        assert change(Change("a", 0, 60)) == [(0, 0)]
        change(Change("a", 1, 60))
        assert change(Change("a", 0, 600))[0].total == 1
        assert change(Change("a", 0, 600))[0].left_s <= 60

    def test_takes_back_and_forgets_but_never_below_nothing(self, change):
        change(Change("a", 5, 60))
        assert change(Change("a", -2, 60))[0].total == 3
        assert change(Change("a", FORGET, 60)) == [(0, 0)]
        assert change(Change("a", -1, 60)) == [(0, 0)]
        assert change(Change("a", 1, 60))[0].total == 1

    def test_changes_several_at_once(self, change):
        counts = change(Change("a", 1, 60), Change("b", 2, 60), Change("c", 0, 60))
        assert [each.total for each in counts] == [1, 2, 0]

    def test_begins_anew_when_the_window_is_over(self, change):
        change(Change("a", 5, 1))
        time.sleep(1.05)
        assert change(Change("a", 1, 1))[0].total == 1

    def test_keeps_only_so_much_in_memory(self, monkeypatch):
        monkeypatch.setattr(limits, "KEPT_IN_MEMORY", 100)
        memory = Memory()
        for number in range(250):
            memory.change([Change(str(number), 1, 60)])
        assert len(memory._counts) <= 100
        assert memory.change([Change("249", 1, 60)])[0].total == 2


class TestRates:
    @pytest.mark.parametrize(
        ("text", "amount", "window_s"),
        [("600/minute", 600, 60), ("5/15minutes", 5, 900), ("1/second", 1, 1), ("9/day", 9, 86400)],
    )
    def test_are_so_many_in_so_long(self, text, amount, window_s):
        rate = limits.rate(text)
        assert (rate.amount, rate.get_expiry()) == (amount, window_s)

    @pytest.mark.parametrize(
        "wrong", ["600", "0/minute", "5/fortnight", "5/minute;9/hour", "-1/day"]
    )
    def test_are_refused_where_they_are_none(self, db, wrong):
        organization = OrganizationFactory()
        with pytest.raises(ValidationError):
            Organization(slug="a", name="A", limit_read=wrong).full_clean()
        with pytest.raises(IntegrityError), transaction.atomic():
            Organization.objects.filter(pk=organization.pk).update(limit_read=wrong)

    def test_may_be_written_with_spaces(self, db):
        organization = Organization(slug="a", name="A", limit_read=" 600 / Minute ")
        organization.full_clean()
        assert organization.limit_read == "600/minute"


class TestRequests:
    def test_are_told_what_is_left(self, api, settings):
        settings.LIMIT_READ = "3/minute"
        left = [told(api.get("/orders")) for _ in range(3)]
        assert [each[:3] for each in left] == [("read", 3, 2), ("read", 3, 1), ("read", 3, 0)]
        assert all(1 <= each[3] <= 60 for each in left)

    def test_are_refused_when_there_is_nothing_left(self, api, settings):
        settings.LIMIT_READ = "1/minute"
        assert api.get("/orders").status_code == 200
        answer = api.get("/orders")
        assert (answer.status_code, answer.json()["code"]) == (429, "rate-limited")
        assert answer["Content-Type"] == "application/problem+json"
        assert told(answer)[:3] == ("read", 1, 0)
        assert 1 <= int(answer["Retry-After"]) <= 60

    def test_pass_at_once_after_the_wait_they_were_told(self, api, settings):
        settings.LIMIT_READ = "2/second"
        for _ in range(3):
            while api.get("/orders").status_code == 200:
                pass
            refused = api.get("/orders")
            if refused.status_code == 429:
                time.sleep(int(refused["Retry-After"]))
                assert api.get("/orders").status_code == 200

    def test_cost_the_database_nothing_when_they_are_refused_again(
        self, api, settings, dispatcher, caplog
    ):
        settings.LIMIT_READ = "1/minute"
        api.get("/orders")
        first = api.get("/orders")
        caplog.clear()
        with CaptureQueriesContext(connection) as seen:
            again = api.get("/drivers")
        assert not seen.captured_queries
        assert (again.status_code, again.json()["code"]) == (429, "rate-limited")
        assert told(again)[:3] == told(first)[:3]
        assert 1 <= int(again["Retry-After"]) <= int(first["Retry-After"])
        assert str(dispatcher.pk) in caplog.text
        assert api.post("/drivers", {"name": "Kari"}).status_code == 201  # counted apart

    def test_pass_again_within_a_second_after_their_limit_was_raised(
        self, api, settings, monkeypatch
    ):
        settings.LIMIT_READ = "1/minute"
        api.get("/orders")
        assert api.get("/orders").status_code == 429
        settings.LIMIT_READ = "9/minute"
        assert api.get("/orders").status_code == 429
        monkeypatch.setattr(limited, "REMEMBERED_S", 0.0)
        assert told(api.get("/orders"))[:3] == ("read", 9, 8)

    def test_of_a_key_are_noted_once_a_minute_also_where_they_are_refused(
        self, settings, statements
    ):
        settings.LIMIT_READ = "1/minute"
        api = client_with(make_key(OrganizationFactory())[1])
        with statements() as seen:
            assert [api.get("/orders").status_code for _ in range(4)] == [200, 429, 429, 429]
        assert sum(sql.startswith("UPDATE") for sql in seen.sql) == 1

    def test_that_were_refused_are_not_remembered_without_end(self, api_of, settings, monkeypatch):
        settings.LIMIT_READ = "1/minute"
        monkeypatch.setattr(limited, "KEPT", 2)
        monkeypatch.setattr(limited, "_refused", {})
        for _ in range(3):
            busy = api_of(UserFactory())
            assert [busy.get("/orders").status_code for _ in range(2)] == [200, 429]
            assert len(limited._refused) <= 2

    def test_to_write_are_counted_apart(self, api, settings):
        settings.LIMIT_WRITE = "1/minute"
        body = {"name": "Kari"}
        assert told(api.post("/drivers", body))[:3] == ("write", 1, 0)
        assert api.post("/drivers", body).status_code == 429
        assert api.get("/drivers").status_code == 200

    def test_that_are_refused_leave_no_trace(self, api, settings):
        settings.LIMIT_WRITE = "1/minute"
        api.post("/drivers", {"name": "Kari"})
        api.post("/drivers", {"name": "Ola"})
        assert [row["name"] for row in api.get("/drivers").json()["data"]] == ["Kari"]

    def test_of_others_are_not_touched(self, api, api_of, settings, dispatcher):
        settings.LIMIT_READ = "1/minute"
        api.get("/orders")
        assert api.get("/orders").status_code == 429
        colleague = UserFactory(organization=dispatcher.organization)
        assert api_of(colleague).get("/orders").status_code == 200

    def test_that_nobody_signed_are_counted_by_address(self, settings, db):
        settings.LIMIT_READ = "2/minute"
        guess = ApiClient(HTTP_AUTHORIZATION="Bearer a.b.c", REMOTE_ADDR="192.0.2.1")
        nobody = ApiClient(REMOTE_ADDR="192.0.2.1")
        elsewhere = ApiClient(REMOTE_ADDR="192.0.2.2")
        assert guess.get("/orders").status_code == 401
        assert nobody.get("/orders").status_code == 401
        assert guess.get("/orders").status_code == 429
        assert elsewhere.get("/orders").status_code == 401

    def test_for_health_and_description_are_never_counted(self, anonymous, settings):
        settings.LIMIT_READ = "1/minute"
        for path in ("/health", "/health/live", "/schema"):
            answers = [anonymous.get(path) for _ in range(3)]
            assert {answer.status_code for answer in answers} == {200}
            assert not answers[0].has_header("RateLimit")

    def test_that_are_repeated_after_a_deadlock_count_once(self, api, settings, monkeypatch):
        from django.db import OperationalError
        from psycopg.errors import DeadlockDetected

        from fleet.api.views import DriverViewSet

        real, tries = DriverViewSet.list, []

        def stumbling(self, request):
            tries.append(1)
            if len(tries) < 3:
                raise OperationalError from DeadlockDetected()
            return real(self, request)

        monkeypatch.setattr(DriverViewSet, "list", stumbling)
        settings.LIMIT_READ = "2/minute"
        assert told(api.get("/drivers"))[:3] == ("read", 2, 1)
        assert len(tries) == 3


class TestOrganizations:
    def test_have_limits_of_their_own(self, settings, api_of):
        settings.LIMIT_READ, settings.LIMIT_WRITE = "1/minute", "9/minute"
        busy = UserFactory(organization__limit_read="3/hour")
        api = api_of(busy)
        assert told(api.get("/orders"))[:3] == ("read", 3, 2)
        assert told(api.post("/drivers", {"name": "Kari"}))[:3] == ("write", 9, 8)
        plain = api_of(UserFactory())
        plain.get("/orders")
        assert plain.get("/orders").status_code == 429

    def test_cost_no_statement(self, api_of, statements):
        user = UserFactory(organization__limit_read="300/hour")
        api = api_of(user)
        OrderFactory(terminal__organization=user.organization)
        api.get("/orders")
        with statements() as seen:
            api.get("/orders")
        asked = [sql for sql in seen.sql if '"core_organization"' in sql]
        assert len(asked) == 1  # together with who it is
        assert '"core_user"' in asked[0]

    def test_are_limited_in_the_admin_by_superusers(self, client):
        organization = OrganizationFactory()
        client.force_login(UserFactory(superuser=True))
        page = f"/admin/core/organization/{organization.pk}/change/"
        body = {"slug": organization.slug, "name": organization.name}
        client.post(page, {**body, "limit_read": "5/minute", "limit_write": "", "limit_upload": ""})
        organization.refresh_from_db()
        assert organization.limit_read == "5/minute"
        refused = client.post(page, {**body, "limit_read": "often"})
        assert "This is not a rate" in refused.content.decode()


class TestWithoutValkey:
    @pytest.fixture(params=[no_server, hung_server], ids=["stopped", "hung"])
    def away(self, request, settings) -> Iterator[None]:
        with request.param() as url:
            use(settings, url)
            yield

    def test_there_is_a_limit_all_the_same(self, away, api, settings):
        settings.LIMIT_READ = "2/minute"
        assert [api.get("/orders").status_code for _ in range(4)] == [200, 200, 429, 429]

    def test_exactly_n_of_many_at_once_pass_in_one_process(self, away, settings):
        settings.LIMIT_READ = "50/minute"
        with ThreadPoolExecutor(8) as threads:
            windows = list(threads.map(lambda _: limits.use(Kind.READ, "user:1"), range(200)))
        assert sum(not window.is_exceeded for window in windows) == 50
