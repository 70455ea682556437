"""Limits hold over all processes of a server."""

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from django.conf import settings
from django.db import connection

from core.api.authentication import tokens_for
from tests.core.factories import UserFactory
from tests.core.test_embedded import children_of
from tests.waiting import eventually

pytestmark = [pytest.mark.server, pytest.mark.django_db(transaction=True)]

ROOT = Path(__file__).parents[2]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """gunicorn with two worker processes, on the database of the test."""
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
        "DB_POOL_SIZE": "4",
        "LIMIT_READ": "20/minute",
        "CACHE_TIMEOUT_MS": "5000",  # a busy machine is no reason to count apart
        "LOG_FORMAT": "json",
    }
    log = tmp_path / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", "-c", "config/gunicorn.py", "config.wsgi"],
            cwd=ROOT,
            env={**os.environ, **variables, "DJANGO_SETTINGS_MODULE": "config.settings"},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield listening(log, process), process
    finally:
        process.terminate()
        process.wait(30)


def listening(log: Path, process: subprocess.Popen[bytes]) -> str:
    """The address that the server says it listens at, once it answers."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        _, found, rest = log.read_text().partition("Listening at: ")
        if found:
            url = rest.split()[0].strip('"')
            try:
                if httpx.get(f"{url}/health/ready").status_code == 200:
                    return url
            except httpx.HTTPError:
                pass
        time.sleep(0.1)
    raise AssertionError(log.read_text())


def test_exactly_twenty_of_fifty_at_once_pass_from_two_processes(server):
    url, process = server
    assert eventually(lambda: len(children_of(process.pid)) == 2)
    headers = {"Authorization": f"Bearer {tokens_for(UserFactory()).access_token}"}

    def ask(_: int) -> int:
        # A connection each, so that both processes take some.
        return httpx.get(f"{url}/api/v1/orders", headers=headers, timeout=30).status_code

    with ThreadPoolExecutor(50) as threads:
        statuses = Counter(threads.map(ask, range(50)))
    assert statuses == {200: 20, 429: 30}
