"""What one process counts; tests/server/test_metrics.py has two of them."""

import json
import os
import subprocess
import sys
import threading
from typing import Any

import psycopg
import pytest
from django.conf import settings as django_settings
from django.core.management import CommandError, call_command
from django.db import connection
from django.http import HttpResponse
from django.test import RequestFactory, override_settings
from prometheus_client import Counter

from core import limits, metrics, safety, upkeep
from core.api.problems import PROBLEMS
from core.errors import RateLimited
from core.limits import Window
from core.metrics import sampler
from core.metrics.requests import request_metrics
from core.postgres.ownership import as_owner
from tests.core.factories import PASSWORD

TOKEN = "kJ8vQx2mZr7TnWb4"


def value(name: str, **labels: str) -> float:
    return metrics.REGISTRY.get_sample_value(name, labels) or 0.0


@pytest.fixture
def risen():
    """How much a metric has risen since it was first asked for."""
    before: dict[str, float] = {}

    def risen(name: str, **labels: str) -> float:
        now = value(name, **labels)
        return now - before.setdefault(json.dumps([name, labels]), now)

    return risen


@pytest.fixture
def metered(settings):
    settings.MIDDLEWARE = ["core.metrics.requests.request_metrics", *settings.MIDDLEWARE]


REQUESTS = "dockside_http_request_duration_seconds_count"
STATEMENTS = "dockside_http_request_sql_statements_sum"
IN_SQL = "dockside_http_request_sql_seconds_sum"


@pytest.mark.usefixtures("metered")
class TestARequest:
    def test_is_counted_by_its_route_with_its_statements(self, api, risen, statements):
        orders = {"route": "orders-list", "method": "GET"}
        counts = [(REQUESTS, {**orders, "status": "200"}), (STATEMENTS, orders), (IN_SQL, orders)]
        for name, labels in counts:
            risen(name, **labels)
        with statements() as sent:
            assert api.get("/orders").status_code == 200
        requests, in_sql, seconds = (risen(name, **labels) for name, labels in counts)
        # Within a test's own transaction, that of the request is a savepoint: a statement, too.
        assert (requests, in_sql) == (1, len(sent.captured_queries))
        assert in_sql > 1
        assert 0 < seconds < 10

    @pytest.mark.parametrize("path", ["/nothing-{}", "/api/v1/{}", "/admin-{}/x"])
    def test_of_no_route_is_one_of_the_unknown_however_it_is_called(self, client, risen, path):
        for number in range(3):
            labels = {"route": "unknown", "method": "GET", "status": "404"}
            risen(REQUESTS, **labels)
            client.get(path.format(number))
        assert risen(REQUESTS, **labels) == 3

    def test_with_a_made_up_method_is_one_of_the_others(self, client, risen):
        labels = {"route": "health-live", "method": "other", "status": "405"}
        for method in ("BREW", "PROPFIND"):
            risen(REQUESTS, **labels)
            client.generic(method, "/api/v1/health/live")
        assert risen(REQUESTS, **labels) == 2

    def test_that_names_a_row_is_counted_without_it(self, api, risen):
        labels = {"route": "orders-detail", "method": "GET", "status": "404"}
        risen(REQUESTS, **labels)
        api.get("/orders/01890000-0000-7000-8000-000000000000")
        assert risen(REQUESTS, **labels) == 1
        assert "01890000" not in str(list(metrics.REGISTRY.collect()))

    def test_that_fails_leaves_no_trace_of_itself_in_the_thread(self):
        def fail(request: Any) -> HttpResponse:
            raise RuntimeError

        with pytest.raises(RuntimeError):
            request_metrics(fail)(RequestFactory().get("/"))
        assert connection.execute_wrappers == []
        assert sampler.answering == set()


class TestWhatIsRefused:
    def test_is_counted_by_the_code_of_the_problem(self, api, risen):
        risen("dockside_problems_total", code="not-found")
        api.get("/nothing")
        assert risen("dockside_problems_total", code="not-found") == 1

    def test_has_a_series_for_each_code_before_it_happens(self):
        names = {
            sample.labels["code"]
            for family in metrics.PROBLEMS.collect()
            for sample in family.samples
            if sample.name.endswith("_total")
        }
        assert names == set(PROBLEMS)

    def test_is_counted_by_the_limit(self, risen):
        risen("dockside_limit_refusals_total", limit="read")
        with pytest.raises(RateLimited):
            limits.refuse([Window("read", 1, 60, 2, 30.0), Window("write", 1, 60, 1, 30.0)])
        assert risen("dockside_limit_refusals_total", limit="read") == 1

    @pytest.mark.parametrize(
        ("tries", "outcome"),
        [([PASSWORD], "succeeded"), (["wrong"], "failed"), (["wrong"] * 6, "locked")],
    )
    def test_at_the_door_is_counted_by_how_it_went(
        self, anonymous, dispatcher, risen, tries, outcome
    ):
        risen("dockside_sign_ins_total", outcome=outcome)
        for password in tries:
            given = {"username": dispatcher.username, "password": password}
            anonymous.post("/auth/token", given)
        assert risen("dockside_sign_ins_total", outcome=outcome) == 1


class TestLooking:
    def test_raises_a_counter_by_what_a_total_has_risen_also_after_it_began_anew(self):
        counter = Counter("rising", "", registry=None)
        rise = sampler.Rise(counter, 0.5)
        for total, expected in [(10, 5), (10, 5), (14, 7), (2, 8)]:
            rise.to(total)
            assert counter._value.get() == expected

    def test_goes_on_after_an_accident_and_logs_it_once(self, monkeypatch, caplog):
        looked = []

        class Enough(BaseException):
            pass

        def look() -> None:
            looked.append(1)
            if len(looked) == 4:
                raise Enough
            raise OSError("secret")

        monkeypatch.setattr(sampler.time, "sleep", lambda _: None)
        with pytest.raises(Enough):
            sampler._look_again(look, 1)
        (line,) = (each.msg for each in caplog.records if each.name == "core.metrics")
        assert (line["event"], line["look"], line["kind"]) == (
            "metrics_look_failed",
            "look",
            "OSError",
        )

    def test_finds_the_parts_the_process_and_the_database(self, transactional_db):
        for look, _ in sampler._looks:
            look()
        assert value("dockside_part_up", part="database") == 1
        assert value("dockside_part_up", part="cache") == 1
        assert value("dockside_process_resident_memory_bytes") > 10_000_000
        assert value("dockside_postgres_transaction_id_age") > 0

    def test_can_be_joined_by_an_app(self, monkeypatch):
        monkeypatch.setattr(sampler, "_looks", [])
        seen = threading.Event()
        sampler.every(60)(seen.set)
        sampler.start()
        assert seen.wait(10)


@pytest.mark.django_db
class TestThePage:
    def ask(self, client, authorization: str = "") -> Any:
        return client.get("/metrics", headers={"Authorization": authorization})

    def test_is_not_there_unless_a_token_is_set(self, client):
        assert self.ask(client).status_code == 404
        assert self.ask(client, "Bearer ").status_code == 404

    @override_settings(METRICS_TOKEN=TOKEN)
    @pytest.mark.parametrize(
        "given", ["", "Bearer", f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer \xff", TOKEN]
    )
    def test_asks_for_the_token(self, client, given):
        answer = self.ask(client, given)
        assert (answer.status_code, answer["WWW-Authenticate"]) == (401, "Bearer")
        assert b"dockside_" not in answer.content

    @override_settings(METRICS_TOKEN=TOKEN)
    def test_is_for_who_has_it(self, client, django_assert_num_queries):
        with django_assert_num_queries(0):
            answer = self.ask(client, f"Bearer {TOKEN}")
        assert answer.status_code == 200
        assert answer["Content-Type"].startswith("text/plain")
        assert answer["Cache-Control"] == "no-store"
        assert b"dockside_build_info" in answer.content

    @override_settings(METRICS_TOKEN=TOKEN, METRICS_BIND="127.0.0.1:9100")
    def test_is_not_there_where_metrics_have_a_port_of_their_own(self, client):
        assert self.ask(client, f"Bearer {TOKEN}").status_code == 404

    def test_costs_nothing_while_nobody_may_ask(self):
        assert not sampler.is_wanted()
        assert "core.metrics.requests.request_metrics" not in django_settings.MIDDLEWARE


class TestAPortThatOthersReach:
    @pytest.mark.parametrize(
        ("bind", "token", "is_safe"),
        [
            ("0.0.0.0:9100", "", False),
            ("0.0.0.0:9100", TOKEN, True),
            ("127.0.0.1:9100", "", True),
        ],
    )
    def test_needs_a_token(self, settings, bind, token, is_safe):
        settings.METRICS_BIND, settings.METRICS_TOKEN = bind, token
        settings.SECRET_KEY, settings.ALLOWED_HOSTS = "kJ8vQx2mZr7TnWb4LpYc9HdFs3GgUe6Xa5", ["x"]
        told = [line for line in safety.dangers() if "METRICS_BIND" in line]
        assert bool(told) is not is_safe
        if is_safe:
            safety.refuse_unsafe()
        else:
            with pytest.raises(safety.Unsafe):
                safety.refuse_unsafe()


class TestAMalformedVariable:
    @pytest.mark.parametrize(
        ("name", "value"),
        [("METRICS_BIND", "9100"), ("METRICS_BIND", "host:x"), ("METRICS_TOKEN", "short")],
    )
    def test_stops_the_start_by_its_name(self, name, value):
        environment = {**os.environ, "SECRET_KEY": "x" * 50, name: value}
        done = subprocess.run(
            [sys.executable, "-c", "import config.settings"],
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 1
        assert name in done.stderr.splitlines()[-1]


def forgetful() -> dict[str, Any]:
    """How to connect as whoever is at work now, by a name of its own."""
    parameters = connection.get_connection_params() | {"application_name": "forgetful"}
    return {name: parameters[name] for name in parameters.keys() - {"context", "cursor_factory"}}


class TestUpkeep:
    """Transaction ids cannot be made to age here: what PostgreSQL answers is moved instead."""

    def test_is_told_of_a_healthy_database(self, db, capsys):
        call_command("database_upkeep")
        told = capsys.readouterr().out
        assert "transaction ids: the oldest is " in told
        assert "multixacts: " in told

    def test_is_urgent_from_half_of_the_ids_on(self, db, monkeypatch, capsys):
        real = upkeep._AGES
        with connection.cursor() as cursor:
            cursor.execute(real)
            (age, _) = cursor.fetchone()
        for missing, urgent in [(1, False), (0, True)]:
            moved = 1_050_000_000 - age - missing
            monkeypatch.setattr(upkeep, "_AGES", f"SELECT i + {moved}, m FROM ({real}) t (i, m)")
            if urgent:
                with pytest.raises(CommandError, match="More than 50% of the transaction ids"):
                    call_command("database_upkeep")
            else:
                call_command("database_upkeep")
            assert " 50.0% of what there is" in capsys.readouterr().out

    def test_names_tables_with_dead_rows_and_who_keeps_them(self, transactional_db, capsys):
        with (
            as_owner(),  # who may make tables
            connection.cursor() as cursor,
            psycopg.connect(**forgetful()) as holder,
        ):
            cursor.execute("CREATE TABLE upkeep_test AS SELECT generate_series(1, 100) AS id")
            try:
                holder.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
                holder.execute("SELECT 1")
                cursor.execute("DELETE FROM upkeep_test WHERE id > 20")
                cursor.execute("SELECT pg_stat_force_next_flush()")
                call_command("database_upkeep", rows=50)
                assert "upkeep_test: 80 dead rows beside 20 (80%), swept never" in (
                    capsys.readouterr().out
                )
                found = upkeep.look(lambda *asked: cursor.execute(*asked) or cursor, at_least=50)
                assert any("forgetful" in what for what, _ in found.holders)
                assert not [table for table in found.tables if table.live + table.dead < 50]
            finally:
                cursor.execute("DROP TABLE upkeep_test")
