"""`script/server` from its start to its end: embedded servers, migrations, gunicorn, signals."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.management.base import CommandError

from core.embedded import Postgres, Valkey
from core.management.commands import server as command
from tests.core.test_embedded import OURS, ROOT, children_of, has_ended
from tests.waiting import eventually

pytestmark = pytest.mark.server

LEFT_OUT = {*OURS, "BIND", "DB_POOL", "DJANGO_SETTINGS_MODULE"}


class RunningServer:
    """`python -m core.embedded python manage.py server`, as script/server starts it."""

    def __init__(self, folder: Path, **variables: str) -> None:
        environment = {name: value for name, value in os.environ.items() if name not in LEFT_OUT}
        environment |= dict.fromkeys(("DATABASE_URL", "DATABASE_OWNER_URL", "REDIS_URL"), "")
        environment |= {"BIND": "127.0.0.1:0", "DEMO": "0", "WEB_CONCURRENCY": "1"} | variables
        chain = ["core/embedded.py", "--data-dir", str(folder), "python", "manage.py", "server"]
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            [sys.executable, "-P", *chain],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def wait_until_ready(self) -> str:
        """The URL of the line `ready: …`."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))
            if line.startswith("ready: "):
                # From here on somebody has to read what it logs, or it would wait for a reader.
                threading.Thread(target=self.process.communicate, daemon=True).start()
                return line.split()[1]
        raise AssertionError(f"never ready: {self.lines} {self.process.communicate()[1]}")

    def descendants(self) -> list[int]:
        """The command, gunicorn and its worker; the embedded servers may outlive them."""
        (command,) = (
            pid
            for pid in children_of(self.process.pid)
            if b"manage.py" in Path(f"/proc/{pid}/cmdline").read_bytes()
        )
        parts = children_of(command)
        (gunicorn,) = (
            pid for pid in parts if b"gunicorn" in Path(f"/proc/{pid}/cmdline").read_bytes()
        )
        (reader,) = {*parts} - {gunicorn}  # of documents
        return [command, gunicorn, *children_of(gunicorn), reader]

    def end(self, *signals: signal.Signals) -> int:
        for number in signals:
            self.process.send_signal(number)
            time.sleep(0.1)  # two at once would arrive as one
        return self.process.wait(30)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A data folder that one test after the other starts a server in."""
    folder = tmp_path_factory.mktemp("server") / "data"
    yield folder
    for server in (Postgres(folder / "postgres"), Valkey(folder / "valkey")):
        server.stop()


@pytest.fixture
def running(folder: Path) -> Iterator[RunningServer]:
    server = RunningServer(folder)
    yield server
    if server.process.poll() is None:
        server.process.kill()
        server.process.wait()


def is_free(url: str) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", int(url.rpartition(":")[2])))
            probe.listen()
        except OSError:
            return False
        return True


class TestTheServer:
    @pytest.mark.parametrize("signals", [[signal.SIGTERM], [signal.SIGINT, signal.SIGINT]])
    def test_serves_until_a_signal_and_leaves_nothing_running(self, running, folder, signals):
        url = running.wait_until_ready()
        assert running.lines[-1] == f"ready: {url}"
        assert {line.split()[0] for line in running.lines[-4:]} == {
            "API:",
            "docs:",
            "admin:",
            "ready:",
        }
        with urllib.request.urlopen(f"{url}/api/v1/health/ready") as answer:
            assert answer.status == 200

        pids = running.descendants()
        assert len(pids) == 4
        owner = Postgres(folder / "postgres").owner_url().encode()
        knowing = [owner in Path(f"/proc/{pid}/environ").read_bytes() for pid in pids]
        assert knowing == [True, False, False, False]  # the command alone
        assert running.end(*signals) == 0
        assert all(map(has_ended, pids))
        assert is_free(url)
        assert not Postgres(folder / "postgres").is_alive()
        assert not Valkey(folder / "valkey").is_alive()

    def test_gives_way_to_another_one_without_failing_a_request(self, running):
        """SIGUSR2 deploys; what cannot start changes nothing."""
        url = running.wait_until_ready()
        command, former, *_, former_reader = running.descendants()
        statuses, over = Counter(), threading.Event()

        def ask() -> None:
            while not over.is_set():
                with urllib.request.urlopen(f"{url}/api/v1/health", timeout=20) as answer:
                    statuses[answer.status] += 1

        asking = threading.Thread(target=ask)
        asking.start()
        try:
            running.process.send_signal(signal.SIGUSR2)
            assert eventually(lambda: former not in children_of(command), 60)
            # The worker for documents goes last.
            assert eventually(lambda: former_reader not in children_of(command), 30)
        finally:
            over.set()
            asking.join()
        assert set(statuses) == {200}
        _, later, *_ = running.descendants()
        assert later != former
        assert running.end(signal.SIGTERM) == 0
        assert has_ended(later)
        assert is_free(url)

    def test_starts_the_worker_beside_it_again(self, running):
        running.wait_until_ready()
        command, gunicorn, *_, reader = running.descendants()
        os.kill(reader, signal.SIGKILL)
        assert eventually(lambda: {*children_of(command)} - {gunicorn} not in (set(), {reader}), 20)
        assert gunicorn in children_of(command)
        assert running.end(signal.SIGTERM) == 0

    @pytest.mark.parametrize("killed", ["supervisor", "command"])
    def test_frees_its_port_when_a_part_is_killed(self, running, killed):
        url = running.wait_until_ready()
        pids = running.descendants()
        os.kill(running.process.pid if killed == "supervisor" else pids[0], signal.SIGKILL)
        running.process.wait(30)
        assert eventually(lambda: all(map(has_ended, pids)))
        assert is_free(url)

    def test_ends_with_an_error_when_gunicorn_does(self, running):
        running.wait_until_ready()
        os.kill(running.descendants()[1], signal.SIGKILL)
        assert running.process.wait(30) == 1


class TestTheAddress:
    def test_is_the_next_free_port_where_none_was_asked_for(self, monkeypatch):
        monkeypatch.delenv("BIND", raising=False)
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            monkeypatch.setattr(command, "DEFAULT_BIND", f"127.0.0.1:{port}")
            with command.listen() as listener:
                assert listener.getsockname()[1] > port

    def test_is_refused_by_name_where_it_is_taken(self, monkeypatch):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            bind = f"127.0.0.1:{taken.getsockname()[1]}"
            monkeypatch.setenv("BIND", bind)
            with pytest.raises(CommandError, match=f"^BIND={bind}: Address already in use$"):
                command.listen()

    @pytest.mark.parametrize("bind", ["8000", ":8000", "localhost", "127.0.0.1:", "a:b", "[::1]:x"])
    def test_is_refused_where_it_is_none(self, monkeypatch, bind):
        monkeypatch.setenv("BIND", bind)
        with pytest.raises(CommandError, match="is not HOST:PORT"):
            command.listen()

    @pytest.mark.skipif(not socket.has_ipv6, reason="this machine has no IPv6")
    def test_may_be_ipv6_in_brackets(self, monkeypatch):
        monkeypatch.setenv("BIND", "[::1]:0")
        try:
            listener = command.listen()
        except CommandError:
            pytest.skip("this machine has no IPv6 address")
        with listener:
            assert listener.getsockname()[0] == "::1"
