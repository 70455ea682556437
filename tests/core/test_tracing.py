"""Traces: off unless wanted, and then from the caller down to the SQL."""

import os
import subprocess
import sys

import pytest
from django.db import DataError, connection
from django.test import Client
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from core import tracing
from core.api.tokens import tokens_for
from tests.core.factories import UserFactory

TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SECRET = "AB12345"


@pytest.fixture
def spans(transactional_db, monkeypatch):
    """What is traced of a request: of a database connection only if it was opened meanwhile."""
    monkeypatch.delenv("OTEL_PYTHON_DJANGO_EXCLUDED_URLS", raising=False)
    exporter = InMemorySpanExporter()
    tracing.start(SimpleSpanProcessor(exporter))
    connection.close()
    yield exporter.get_finished_spans
    for each in tracing.instrumentors():
        each.uninstrument()
    connection.close()


class TestATrace:
    def test_goes_on_from_the_caller_down_to_sql_and_valkey_and_tells_no_values(self, spans):
        headers = {
            "Authorization": f"Bearer {tokens_for(UserFactory()).access_token}",
            "traceparent": f"00-{TRACE}-{CALLER}-01",
        }
        answer = Client(headers=headers).get("/api/v1/orders", {"q": SECRET})
        assert answer.status_code == 200
        found = [span for span in spans() if f"{span.context.trace_id:032x}" == TRACE]
        (request,) = (span for span in found if span.kind.name == "SERVER")
        assert f"{request.parent.span_id:016x}" == CALLER
        below = [span for span in found if span is not request]
        assert {span.parent.span_id for span in below} == {request.context.span_id}
        sql = [span for span in below if span.attributes["db.system"] == "postgresql"]
        assert any("orders_order" in span.attributes["db.statement"] for span in sql)
        assert any(span.attributes["db.system"] == "redis" for span in below)
        assert SECRET not in "".join(span.to_json() for span in found)

    def test_tells_that_a_statement_failed_and_no_value_of_it(self, spans):
        with connection.cursor() as cursor, pytest.raises(DataError, match=SECRET):
            cursor.execute("SELECT %s::int AS number", [SECRET])
        (failed,) = (span for span in spans() if span.status.status_code.name == "ERROR")
        assert failed.attributes["db.statement"] == "SELECT %s::int AS number"
        assert SECRET not in failed.to_json()

    def test_of_a_health_check_is_none(self, spans):
        before = len(spans())
        assert Client().get("/api/v1/health/live").status_code == 200
        assert len(spans()) == before


class TestWithoutBeingWanted:
    def serve(self, code: str, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "SECRET_KEY": "x" * 50, **variables}
        environment["DJANGO_SETTINGS_MODULE"] = "config.settings"
        return subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True
        )

    def test_nothing_of_it_is_imported(self):
        # Not the part about metrics: redis imports that by itself wherever it is installed.
        ours = tuple(
            f"opentelemetry.{part}" for part in ("instrumentation", "exporter", "sdk.trace")
        )
        code = (
            "import sys, config.wsgi;"
            f"print([name for name in sys.modules if name.startswith({ours})])"
        )
        assert self.serve(code, OTEL_EXPORTER_OTLP_ENDPOINT="").stdout.strip() == "[]"

    def test_a_server_that_wants_it_and_has_it_not_does_not_start(self):
        code = "import sys; sys.modules['opentelemetry'] = None; import config.wsgi"
        done = self.serve(code, OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9")
        assert done.returncode == 1
        assert done.stderr.strip().splitlines()[-1].endswith("install requirements-otel.txt")
