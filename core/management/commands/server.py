"""`script/server`: a migrated database, a demo day in an empty one, and gunicorn until Ctrl-C.

SIGUSR2 deploys: the database is migrated by the code as it now is, another gunicorn starts on the
same socket, and when all its workers serve, the first one finishes its requests and ends; then the
worker beside it is replaced too. If anything goes wrong on the way, the first one goes on as if
nothing had happened.
"""

import contextlib
import http.client
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import OperationalError, connection
from django.db.migrations.executor import MigrationExecutor

from core.management.commands._beside import serving_environment, start_child, worker_beside

DEFAULT_BIND = "127.0.0.1:8000"
PORTS_TRIED = 100  # from the default one upwards
READY_SECONDS = 60.0
STOP_SECONDS = 40.0  # besides DRAIN_S; gunicorn lets requests finish for 30
LOOK_SECONDS = 0.5
# Any number, as long as nothing else takes an advisory lock by it.
PREPARATION_LOCK = 0x444F434B
NO = {"0", "false", "no", "off"}


class Stopped(BaseException):
    """SIGINT, SIGTERM or SIGHUP came. No `except Exception` on the way shall keep it."""


class Command(BaseCommand):
    help = "Migrates, loads the demo day into an empty database, and serves until Ctrl-C."

    stopping = False
    deploy_wanted = False

    def handle(self, *args: Any, **options: Any) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) != signal.SIG_IGN or number != signal.SIGHUP:
                signal.signal(number, self.stop)
        signal.signal(signal.SIGUSR2, self.want_deploy)
        with contextlib.suppress(Stopped):
            listen().close()  # a taken address is better told before the work than after it
            try:
                self.prepare_database()
            except OperationalError as error:
                raise CommandError(f"the database: {str(error).splitlines()[0]}") from None
            self.serve()

    def stop(self, number: int, frame: FrameType | None) -> None:
        """Break off once. Ctrl-C often comes twice, from the terminal and from a supervisor."""
        if not self.stopping:
            self.stopping = True
            raise Stopped

    def want_deploy(self, number: int, frame: FrameType | None) -> None:
        self.deploy_wanted = True

    def say(self, line: str) -> None:
        """Print a line at once, also into a pipe: somebody waits for it."""
        self.stdout.write(line)
        self.stdout.flush()

    def prepare_database(self) -> None:
        """Migrate, and fill an empty database. A second process waits and finds it done."""
        with preparation_lock():
            executor = MigrationExecutor(connection)
            waiting = len(executor.migration_plan(executor.loader.graph.leaf_nodes()))
            call_command("migrate", verbosity=0, interactive=False)
            state = f"{waiting} migrations applied" if waiting else "up to date"
            self.say(f"database: {state}")
            if os.environ.get("DEMO", "1").lower() not in NO:
                call_command("load_demo", if_empty=True, stdout=self.stdout)

    def serve(self) -> None:
        listener = listen()
        host, port = listener.getsockname()[:2]
        if not os.environ.get("BIND") and port != int(DEFAULT_BIND.rpartition(":")[2]):
            self.say(f"{DEFAULT_BIND} is taken, serving on port {port}")
        address = f"{f'[{host}]' if ':' in host else host}:{port}"
        self.running = [Gunicorn(listener, address)]
        try:
            wildcards = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 — only compared
            near = wildcards.get(host, host)
            self.wait_until_ready(self.running[0].process, near, port)
            url = f"http://{f'[{near}]' if ':' in near else near}:{port}"
            self.say(f"API:   {url}/api/v1/")
            self.say(f"docs:  {url}/api/v1/docs")
            self.say(f"admin: {url}/admin/")
            with worker_beside(self.say) as worker:
                self.say(f"ready: {url}")
                while (code := self.running[0].wait(LOOK_SECONDS)) is None:
                    worker.look()
                    if self.deploy_wanted:
                        self.deploy_wanted = False
                        if self.deploy(listener, address):
                            worker.replace()
        finally:
            self.stopping = True
            listener.close()  # who comes from now on is refused, instead of waiting for nobody
            for gunicorn in self.running:
                gunicorn.end()
        raise CommandError(f"gunicorn ended by itself, with code {code}")

    def deploy(self, listener: socket.socket, address: str) -> bool:
        """Let another gunicorn, with the code as it now is, take over; whether it did."""
        self.say("deploy: started")
        with preparation_lock():
            migrated = subprocess.run(
                [sys.executable, "manage.py", "migrate", "--no-input", "--verbosity", "0"],
                cwd=settings.BASE_DIR,
                check=False,
            )
        if migrated.returncode:
            self.say("deploy: given up, the migrations failed")
            return False
        former = self.running[0]
        self.running.append(Gunicorn(listener, address))
        if self.running[1].all_serve(READY_SECONDS):
            self.running.reverse()
        self.running[1].end()
        gone = self.running.pop()
        is_done = gone is former
        self.say("deploy: done" if is_done else "deploy: given up, the new one did not start")
        return is_done

    def wait_until_ready(self, gunicorn: subprocess.Popen[bytes], host: str, port: int) -> None:
        answer = "no answer"
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            if gunicorn.poll() is not None:
                raise CommandError(f"gunicorn did not start: it ended with {gunicorn.returncode}")
            answer = readiness(host, port)
            if answer == "200":
                return
            time.sleep(0.1)
        raise CommandError(f"not ready after {READY_SECONDS:.0f} seconds: {answer}")


@contextlib.contextmanager
def preparation_lock() -> Iterator[None]:
    """Hold the database-wide lock of whoever prepares it.

    Tried again and again rather than waited for: `lock_timeout` would end the waiting.
    """
    with connection.cursor() as cursor:
        while True:
            cursor.execute("SELECT pg_try_advisory_lock(%s)", [PREPARATION_LOCK])
            if cursor.fetchone() == (True,):
                break
            time.sleep(0.2)
    try:
        yield
    finally:
        connection.close()  # which frees the lock, also where a transaction failed


def listen() -> socket.socket:
    """A listening socket on BIND, or on the first free port from 127.0.0.1:8000 on.

    It is opened here and handed to gunicorn: between finding a port free and taking it, another
    clone on this machine could take it.
    """
    given = os.environ.get("BIND", "")
    host, _, port = (given or DEFAULT_BIND).rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise CommandError(f"BIND={given} is not HOST:PORT")
    for number in [int(port)] if given else range(int(port), int(port) + PORTS_TRIED):
        try:
            family, kind, protocol, _, address = socket.getaddrinfo(
                host, number, type=socket.SOCK_STREAM
            )[0]
        except OSError as error:
            raise CommandError(f"BIND={given}: {error.strerror}") from None
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
            listener.listen(2048)
        except OSError as error:
            listener.close()
            if given:
                raise CommandError(f"BIND={given}: {error.strerror}") from None
        else:
            return listener
    raise CommandError(f"no free port from {DEFAULT_BIND} on; name one in BIND")


class Gunicorn:
    """gunicorn on a socket that this process keeps."""

    def __init__(self, listener: socket.socket, address: str) -> None:
        reading, ready = os.pipe()
        self._ready = os.fdopen(reading, "rb", buffering=0)
        arguments = ["-c", str(settings.BASE_DIR / "config" / "gunicorn.py")]
        arguments += ["--bind", f"fd://{listener.fileno()}", "config.wsgi:application"]
        environment = serving_environment() | {"BIND": address, "READY_FD": str(ready)}
        try:
            self.process = start_child(
                ["-m", "gunicorn", *arguments],
                environment,
                pass_fds=[listener.fileno(), ready],
            )
        finally:
            os.close(ready)

    def wait(self, seconds: float) -> int | None:
        """The exit code, or None if it still runs."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def all_serve(self, seconds: float) -> bool:
        """Wait until each worker has said that it serves; False if that takes too long."""
        silent = int(os.environ.get("WEB_CONCURRENCY") or 2)
        deadline = time.monotonic() + seconds
        while silent > 0:
            left = max(0.0, deadline - time.monotonic())
            said = select.select([self._ready], [], [], left)[0] and self._ready.read(silent)
            if not said:  # too late, or all who could have said it are gone
                return False
            silent -= len(said)
        return True

    def end(self) -> None:
        """Let it finish its requests; after `STOP_SECONDS` end it and its workers by force."""
        if self.process.poll() is None:
            self.process.terminate()
            if self.wait(STOP_SECONDS + settings.DRAIN_S) is None:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()
        self._ready.close()


def readiness(host: str, port: int) -> str:
    """The status that the readiness check answers, or why there is none."""
    allowed = [name for name in settings.ALLOWED_HOSTS if name != "*"] or ["localhost"]
    headers = {"Host": "localhost" if "localhost" in allowed else allowed[0].lstrip(".")}
    asking = http.client.HTTPConnection(host, port, timeout=5)
    try:
        asking.request("GET", "/api/v1/health/ready", headers=headers)
        return str(asking.getresponse().status)
    except (OSError, http.client.HTTPException) as error:
        return str(error) or type(error).__name__
    finally:
        asking.close()
