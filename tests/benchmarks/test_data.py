"""The orders that benchmarks load are orders as the application keeps them."""

import json
import subprocess
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest
from django.conf import settings
from django.contrib.auth.hashers import PBKDF2PasswordHasher
from django.db import connection, transaction

from benchmarks import data
from benchmarks.peers import sql_alone
from core import tenancy
from core.models import Organization, User
from core.postgres.ownership import as_owner
from orders.models import Order, Status
from tests.conftest import ApiClient

ORDERS = 700
TABLES = [*data.COLUMNS, "documents_orderdocument", "documents_orderdocumenttext"]


@contextmanager
def open_to_its_owner():
    """COPY passes no row-level security: until the end of this transaction it holds only others."""
    with as_owner(), transaction.atomic(), connection.cursor() as cursor:
        for table in TABLES:
            cursor.execute(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY")
        yield cursor
        for table in TABLES:
            cursor.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")


@pytest.fixture
def loaded(transactional_db, monkeypatch):
    """A small load with all triggers, foreign keys checked; the user it was made for."""
    monkeypatch.setattr(data, "HOME", data.Tenant("benchmark", 1, terminals=2))
    with open_to_its_owner() as cursor:
        data.load(cursor.connection, ORDERS)
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
    try:
        with tenancy.everyone("test"):
            yield User.objects.get(username=data.USERNAME)
    finally:
        with as_owner(), connection.cursor() as cursor:
            cursor.execute(f"TRUNCATE {Organization._meta.db_table} CASCADE")


class TestTheLoad:
    def test_keeps_every_rule_and_is_told_apart_from_its_neighbour(self, loaded):
        assert PBKDF2PasswordHasher().verify(data.PASSWORD, loaded.password)
        home = Organization.objects.get(slug="benchmark")
        with tenancy.within(home.pk):
            assert Order.objects.count() == ORDERS
            assert set(Order.objects.values_list("status", flat=True)) == set(Status)
            whole = Order.objects.filter(eta_driver__isnull=False, etd_trailer__isnull=False)
            assert whole.count() > ORDERS / 2
        with tenancy.everyone("test"):
            assert Order.objects.count() == ORDERS + ORDERS // 10

    def test_comes_out_the_same_each_time(self):
        first, again = (list(data.order_rows(data.NEIGHBOUR, 500)) for _ in range(2))
        assert first == again
        assert len({row[0] for row in first}) == 500

    def test_fills_a_page_of_a_terminals_day(self, loaded):
        api = ApiClient(loaded)
        for terminal, day in data.full_days(ORDERS, 4):
            page = api.get(f"/orders?terminal_id={terminal}&eta_date={day}&per_page=50").json()
            assert len(page["data"]) == 50

    def test_gives_some_orders_documents(self, loaded):
        page = ApiClient(loaded).get("/orders?per_page=50").json()["data"]
        assert {order["documents_count"] for order in page} == {0, 1, 2, 3}

    def test_takes_the_body_of_a_new_order(self, loaded):
        answer = ApiClient(loaded).post("/orders", data.new_order())
        assert answer.status_code == 201, answer.content
        assert len(answer.json()["reference"]) == len(data.REFERENCE) <= 32


class TestTheStatementsPlayedBack:
    def test_find_what_the_list_answered(self, loaded):
        api = ApiClient(loaded)
        ((terminal, day), *_) = data.full_days(ORDERS, 1)
        address = f"/orders?terminal_id={terminal}&eta_date={day}&per_page=50"
        statements, answer = sql_alone.written_down(lambda: api.get(address))
        with transaction.atomic():
            rows = [
                row
                for each in statements
                if "orders_order" in str(each.query)
                for row in each.play(connection.connection, lambda value: value)
            ]
        ids = [row["id"] for row in answer.json()["data"]]
        assert len(ids) == 50
        assert all(key in str(rows) for key in ids)


class TestTheCommand:
    def test_says_which_benchmarks_there_are(self):
        script = settings.BASE_DIR / "script" / "bootstrap.py"
        code = (
            "import sys, runpy; sys.argv = ['bootstrap.py', 'benchmark', 'nothing'];"
            f"made = runpy.run_path({str(script)!r}); made['benchmark'](['nothing'])"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.returncode == 1
        for name in ("growth", "improvements", "peers"):
            assert name in done.stderr


class TestTheClient:
    @pytest.fixture
    def server(self):
        """Keeps connections, answers 200 in one place and 401 in any other; notes bodies."""

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            bodies: ClassVar[list[bytes]] = []

            def do_POST(self):
                self.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(200 if self.path == "/good" else 401)
                self.send_header("Content-Length", "70000")
                self.end_headers()
                self.wfile.write(b"x" * 70_000)

            def log_message(self, *args):
                pass

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            yield server
            server.shutdown()
            thread.join()

    def test_counts_answers_and_refusals_and_repeats_no_reference(self, server):
        body = {"reference": data.REFERENCE}
        job = {
            "port": server.server_port,
            "token": "",
            "requests": [("POST", "/good", body), ("POST", "/bad", body)],
            "seconds": 0.2,
            "connections": 2,
        }
        client = [sys.executable, str(settings.BASE_DIR / "benchmarks" / "load.py")]
        done = subprocess.run(client, input=json.dumps(job).encode(), capture_output=True)
        told = json.loads(done.stdout)
        refused = told["failures"].pop("401")
        assert told["failures"] == {}
        assert told["count"] >= 4
        assert abs(told["count"] - 2 * refused) <= 2
        assert len(told["latencies"]) == told["count"]
        bodies = server.RequestHandlerClass.bodies
        assert len(set(bodies)) == len(bodies) == told["count"]
        assert len(json.loads(bodies[0])["reference"]) == len(data.REFERENCE)
