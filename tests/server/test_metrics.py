"""What two workers tell Prometheus together, and whether the dashboard and the alerts know it."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import promql_parser as promql
import pytest
import yaml
from django.urls import get_resolver
from prometheus_client.parser import text_string_to_metric_families

from core import upkeep
from core.api.tokens import tokens_for
from tests.core.test_embedded import children_of
from tests.server.conftest import PATIENCE_S, ROOT, _committed, _environment
from tests.waiting import eventually

pytestmark = [pytest.mark.server, pytest.mark.django_db]

TOKEN = "kJ8vQx2mZr7TnWb4"
DASHBOARD = ROOT / "docs" / "grafana" / "dockside.json"
ALERTS = ROOT / "docs" / "prometheus" / "alerts.yml"
PAGE = ROOT / "docs" / "metrics.md"
# What Prometheus adds by itself.
OF_PROMETHEUS = {"up": {"job"}}
ITS_LABELS = {"instance", "job"}

Sample = tuple[str, dict[str, str], float]


@dataclass
class Metered:
    """A server whose metrics have a port of their own."""

    url: str
    port: int
    process: subprocess.Popen[bytes]
    token: str

    def get(self, path: str, **headers: str) -> httpx.Response:
        given = {"Authorization": f"Bearer {self.token}", **headers}
        # A connection each: it is chance which worker takes it.
        return httpx.get(self.url + path, headers=given, timeout=PATIENCE_S)

    def scrape(self, token: str = TOKEN, path: str = "/metrics") -> httpx.Response:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return httpx.get(f"http://127.0.0.1:{self.port}{path}", headers=headers, timeout=5)

    def samples(self) -> list[Sample]:
        families = text_string_to_metric_families(self.scrape().raise_for_status().text)
        return [(each.name, each.labels, each.value) for one in families for each in one.samples]

    def sum(self, name: str, **labels: str) -> float:
        wanted = labels.items()
        return sum(
            value
            for each, given, value in self.samples()
            if each == name and wanted <= given.items()
        )

    def workers(self) -> set[int]:
        return children_of(self.process.pid)


@contextmanager
def gunicorn(log: Path, listener: socket.socket, **variables: str) -> Iterator[Any]:
    """A server on `listener`, and the port of its metrics."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    variables = {"METRICS_BIND": f"127.0.0.1:{port}", "METRICS_TOKEN": TOKEN, **variables}
    command = [sys.executable, "-m", "gunicorn", "-c", "config/gunicorn.py"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "-b", f"fd://{listener.fileno()}", "config.wsgi:application"],
            cwd=ROOT,
            env=_environment() | variables,
            pass_fds=[listener.fileno()],
            stdout=output,
            stderr=output,
        )
    try:
        yield process, port
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


@pytest.fixture(scope="module")
def metered(django_db_setup, django_db_blocker, tmp_path_factory) -> Iterator[Metered]:
    log = tmp_path_factory.mktemp("metrics") / "log"
    with (
        django_db_blocker.unblock(),
        _committed() as (user, _),
        socket.create_server(("127.0.0.1", 0)) as listener,
        gunicorn(log, listener, WEB_CONCURRENCY="2") as (process, port),
    ):
        url = "http://127.0.0.1:{}".format(*listener.getsockname()[1:])
        server = Metered(url, port, process, str(tokens_for(user).access_token))
        assert server.get("/health").status_code == 200
        assert eventually(lambda: server.sum("dockside_workers") == 2, PATIENCE_S)
        (folder,) = folders(process.pid)
        assert folder.stat().st_mode & 0o777 == 0o700
        yield server
    assert folders(process.pid) == []  # nothing is left in memory


def folders(master: int) -> list[Path]:
    places = [Path("/dev/shm"), Path(tempfile.gettempdir())]
    pattern = f"dockside-metrics-{master}-*"
    return [folder for place in places for folder in place.glob(pattern)]


def wait_for(metered: Metered, name: str, is_so: Callable[[float], bool], **labels: str) -> bool:
    return eventually(lambda: is_so(metered.sum(name, **labels)), PATIENCE_S)


REQUESTS = "dockside_http_request_duration_seconds_count"


class TestTwoWorkers:
    def test_count_together_whoever_is_asked(self, metered):
        before = metered.sum(REQUESTS, route="orders-list", status="200")
        for _ in range(12):
            assert metered.get("/api/v1/orders").status_code == 200
        assert eventually(
            lambda: metered.sum(REQUESTS, route="orders-list", status="200") == before + 12
        )
        told = {metered.sum(REQUESTS, route="orders-list", status="200") for _ in range(8)}
        assert told == {before + 12}

    def test_tell_of_a_pool_each(self, metered):
        assert wait_for(metered, "dockside_pool_connections_limit", lambda sum: sum == 2 * 5)
        assert eventually(
            lambda: metered.sum("dockside_pool_connections", state="idle") >= 2 * 2, PATIENCE_S
        )
        metered.get("/api/v1/orders")
        assert wait_for(metered, "dockside_pool_requests_total", lambda sum: sum > 0)

    def test_say_no_more_than_they_should(self, metered):
        for path in [
            "/api/v1/orders/01890000-0000-7000-8000-000000000000",
            "/x/secret",
            "/static/y",
        ]:
            metered.get(path)
        httpx.request("BREW", f"{metered.url}/api/v1/orders")
        patterns = {str(key) for key in get_resolver().reverse_dict if isinstance(key, str)}
        known = patterns | {"unknown", "static"}
        for name, labels, _ in metered.samples():
            values = set(labels.values()) - {labels.get("le")}
            assert not [value for value in values if re.search(r"[0-9a-f]{8}-|secret|/", value)]
            assert len(labels) <= 4, name
            if route := labels.get("route"):
                assert route in known or route.startswith(("core.api.public", "admin:"))

    def test_count_what_never_reached_the_application(self, metered):
        refused = {"route": "unknown", "method": "other", "status": "400"}
        problems = {"code": "malformed-request"}

        def counted() -> tuple[float, float]:
            return (
                metered.sum(REQUESTS, **refused),
                metered.sum("dockside_problems_total", **problems),
            )

        before = counted()
        address = httpx.URL(metered.url)
        with socket.create_connection((address.host, address.port), 5) as wire:
            wire.sendall(b"this is no HTTP\n\n")
            assert wire.recv(100).startswith(b"HTTP/1.1 400")
        assert eventually(lambda: counted() == (before[0] + 1, before[1] + 1))

    def test_lose_nothing_when_one_is_killed_and_all_are_replaced(self, metered):
        metered.get("/api/v1/orders")
        counted, before = metered.sum(REQUESTS, route="orders-list"), metered.workers()
        os.kill(min(before), signal.SIGKILL)
        metered.process.send_signal(signal.SIGHUP)
        assert eventually(
            lambda: (
                len(metered.workers() - before) == 2
                and not before & metered.workers()
                and metered.sum("dockside_workers") == 2
            ),
            PATIENCE_S,
        )
        assert metered.sum(REQUESTS, route="orders-list") == counted
        told = {labels.get("pid") for _, labels, _ in metered.samples()}
        assert not told & {str(pid) for pid in before}

    def test_lives_in_forks_of_what_the_master_has_loaded(self, metered):
        loading = cpu_ticks(metered.process.pid)
        os.kill(min(before := metered.workers()), signal.SIGKILL)
        assert eventually(
            lambda: len(metered.workers() - before) == 1 and metered.sum("dockside_workers") == 2,
            PATIENCE_S,
        )
        (successor,) = metered.workers() - before
        assert cpu_ticks(successor) < loading / 2
        assert str(metered.process.pid) not in {
            labels.get("pid") for _, labels, _ in metered.samples()
        }


def cpu_ticks(pid: int) -> int:
    """What a process itself has used of the processor."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


class TestThePort:
    @pytest.mark.parametrize(
        ("token", "path", "status"),
        [
            ("", "/metrics", 401),
            ("wrong", "/metrics", 401),
            (TOKEN, "/", 404),
            (TOKEN, "/api", 404),
        ],
    )
    def test_has_one_page_for_who_has_the_token(self, metered, token, path, status):
        answer = metered.scrape(token, path)
        assert answer.status_code == status
        assert "dockside_" not in answer.text

    def test_is_the_only_door_to_it(self, metered):
        assert metered.get("/metrics", Authorization=f"Bearer {TOKEN}").status_code == 404

    def test_is_not_held_up_by_who_says_nothing(self, metered):
        silent = [socket.create_connection(("127.0.0.1", metered.port)) for _ in range(20)]
        assert metered.scrape().status_code == 200
        for one in silent:
            one.close()

    def test_answers_while_postgresql_and_valkey_are_deaf(self, django_db_setup, tmp_path):
        with (
            socket.create_server(("127.0.0.1", 0)) as deaf,
            socket.create_server(("127.0.0.1", 0)) as listener,
        ):
            nobody = deaf.getsockname()[1]
            variables = {
                "DATABASE_URL": f"postgres://nobody:x@127.0.0.1:{nobody}/none",
                "REDIS_URL": f"redis://127.0.0.1:{nobody}/0",
            }
            with gunicorn(tmp_path / "log", listener, **variables) as (process, port):
                server = Metered("", port, process, "")

                def parts() -> dict[str, float]:
                    try:
                        samples = server.samples()
                    except httpx.HTTPError:
                        return {}
                    return {
                        labels["part"]: value
                        for name, labels, value in samples
                        if name == "dockside_part_up"
                    }

                assert eventually(lambda: parts() == {"database": 0, "cache": 0}, PATIENCE_S)
                process.kill()  # it would wait for a database that says nothing
        assert process.wait(PATIENCE_S) == -signal.SIGKILL
        for folder in folders(process.pid):
            shutil.rmtree(folder)  # else the next server would


def queries_of_dashboard() -> list[str]:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    return [target["expr"] for panel in panels for target in panel.get("targets", [])]


def alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load(ALERTS.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def selectors(query: str) -> list[tuple[str, set[str]]]:
    """The metrics that a query asks for, each with the labels by which it is chosen or grouped.

    Raises:
        ValueError: it is no PromQL.
    """
    found: list[tuple[str, set[str]]] = []

    def walk(node: Any, grouped: frozenset[str]) -> None:
        if isinstance(node, promql.VectorSelector):
            found.append((node.name, grouped | {each.name for each in node.matchers.matchers}))
        if isinstance(node, promql.AggregateExpr) and node.modifier:
            grouped |= set(node.modifier.labels)
        for name in ("expr", "lhs", "rhs", "vector_selector", "vs"):
            if (below := getattr(node, name, None)) is not None:
                walk(below, grouped)
        for below in getattr(node, "args", None) or []:
            walk(below, grouped)

    walk(promql.parse(query.replace("$__rate_interval", "5m")), frozenset())
    assert found, query
    return found


QUERIES = [*queries_of_dashboard(), *(rule["expr"] for rule in alerts())]
# Series that are there only once something is read through the cache.
OF_THE_CACHE = {"dockside_cache_reads_total": {"resource", "outcome"}}


class TestTheDashboardAndTheAlerts:
    def test_ask_for_nothing_that_is_not_told(self, metered):
        metered.get("/api/v1/orders")
        wait_for(metered, "dockside_process_open_files", lambda sum: sum > 0)
        told: dict[str, set[str]] = {**OF_PROMETHEUS, **OF_THE_CACHE}
        for name, labels, _ in metered.samples():
            told.setdefault(name, set()).update(labels)
        asked = [each for query in QUERIES for each in selectors(query)]
        for name, labels in asked:
            assert name in told, name
            assert labels <= told[name] | ITS_LABELS, name

    def test_and_their_page_leave_out_nothing_that_is_told(self, metered):
        names = {name for query in QUERIES for name, _ in selectors(query)}
        page = PAGE.read_text()
        for name, labels, _ in metered.samples():
            family = re.sub(r"_(bucket|sum|count)$", "", name)
            assert any(asked.startswith(family) for asked in names), name
            (row,) = (line for line in page.splitlines() if line.startswith(f"| `{family}`"))
            assert labels.keys() - {"le"} == set(re.findall(r"`(\w+)`", row.split("|")[3])), name

    def test_know_what_legends_and_annotations_name(self):
        for panel in json.loads(DASHBOARD.read_text())["panels"]:
            for target in panel.get("targets", []):
                named = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
                for _, labels in selectors(target["expr"]):
                    assert named <= labels | ITS_LABELS | {"pid"}

    def test_each_alert_says_what_is_wrong_and_how_urgent_it_is(self):
        names = [rule["alert"] for rule in alerts()]
        assert len(names) == len(set(names)) >= 8
        for rule in alerts():
            assert rule["labels"]["severity"] in {"page", "ticket"}
            assert rule["annotations"]["summary"]

    def test_warn_of_transaction_ids_when_the_command_does(self):
        (rule,) = (each for each in alerts() if each["alert"] == "DocksideTransactionIdsHalfUsed")
        share, last = re.findall(r"> ([\d.]+) \* ([\d.e]+)", rule["expr"])[0]
        assert float(share) * float(last) == upkeep.WARN_AT * upkeep.LAST_ID
