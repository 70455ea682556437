"""Each serving process hears of what changes, whoever changed it."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import httpx
import pytest
from django.conf import settings
from django.db import connection

from core.api.authentication import tokens_for
from core.postgres import apart
from tests.fleet.factories import DriverFactory
from tests.server.test_limits_two_processes import listening
from tests.waiting import eventually

pytestmark = [pytest.mark.server, pytest.mark.django_db(transaction=True)]

ROOT = Path(__file__).parents[2]
LISTENERS = (
    "SELECT count(*) FROM pg_stat_activity"
    " WHERE application_name = 'dockside-cache' AND datname = current_database()"
)


@pytest.fixture
def log(tmp_path):
    return tmp_path / "log"


@pytest.fixture
def url(log):
    """Where a server with two worker processes answers, in front of the test database."""
    parameters = connection.get_connection_params()
    host, port = parameters.get("host") or "127.0.0.1", parameters.get("port") or 5432
    who = f"{parameters['user']}:{parameters.get('password') or ''}"
    variables = {
        "DATABASE_URL": f"postgres://{who}@{host}:{port}/{parameters['dbname']}",
        "DATABASE_OWNER_URL": "",
        "REDIS_URL": settings.CACHES["default"]["LOCATION"],
        "SECRET_KEY": settings.SECRET_KEY,
        "BIND": "127.0.0.1:0",
        "WEB_CONCURRENCY": "2",
        "DB_POOL_SIZE": "2",
        "LOG_FORMAT": "json",
        "DJANGO_SETTINGS_MODULE": "config.settings",
    }
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", "-c", "config/gunicorn.py", "config.wsgi"],
            cwd=ROOT,
            env={**os.environ, **variables},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield listening(log, process)
    finally:
        process.terminate()
        assert process.wait(30) == 0  # whoever listens does not hold up the end


def outcomes(log) -> Counter[str]:
    """How the cache served the requests so far."""
    lines = (json.loads(line) for line in log.read_text().splitlines() if '"cache":' in line)
    return Counter(line["cache"] for line in lines if line["cache"])


def test_a_change_by_plain_sql_is_served_by_both_processes(url, log, dispatcher):
    driver = DriverFactory(organization=dispatcher.organization)
    headers = {"Authorization": f"Bearer {tokens_for(dispatcher).access_token}"}

    def name() -> str:
        # A connection each, so that both processes take some.
        answer = httpx.get(f"{url}/api/v1/drivers", headers=headers, timeout=30)
        return answer.json()["data"][0]["name"]

    with apart.connect("plain-sql") as plain:
        assert eventually(lambda: plain.execute(LISTENERS).fetchone() == (2,))
        assert {name() for _ in range(8)} == {driver.name}
        assert outcomes(log) == {"miss": 1, "hit": 7}  # what one has loaded serves the other
        plain.execute("SET dockside.everyone = 'on'")
        with plain.transaction():
            plain.execute("UPDATE fleet_driver SET name = 'By SQL'")
            assert name() == driver.name
        assert eventually(lambda: name() == "By SQL")
        assert {name() for _ in range(8)} == {"By SQL"}
