"""A real server, as config/gunicorn.py starts it, in front of the test database."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from django.conf import settings
from django.contrib.auth.hashers import PBKDF2PasswordHasher
from django.db import connection

from core.api.tokens import tokens_for
from core.models import Organization, User
from core.postgres.ownership import as_owner
from terminals.models import Terminal
from tests.core.factories import PASSWORD, OrganizationFactory, UserFactory
from tests.terminals.factories import TerminalFactory

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 20


@dataclass
class Answer:
    """What came back: `headers` by their names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def closes(self) -> bool:
        return self.headers.get("connection") == "close"


class Wire:
    """One connection: bytes go out as they stand, answers come in one by one."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.socket = socket.create_connection(address, PATIENCE_S)
        self.unread = b""

    def send(self, *parts: bytes | str) -> "Wire":
        for part in parts:
            self.socket.sendall(part if isinstance(part, bytes) else part.encode("latin-1"))
        return self

    def end(self) -> "Wire":
        """Say that nothing more comes; what the server says can still be read."""
        self.socket.shutdown(socket.SHUT_WR)
        return self

    def answer(self, *, has_body: bool = True) -> Answer:
        """The next answer to the end of its body; the server's "go on" is passed over."""
        first, *lines = self._until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        status = int(first.split()[1])
        if status == 100:
            return self.answer()
        pairs = (line.partition(":") for line in lines)
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        if not has_body:
            return Answer(status, headers, b"")
        if headers.get("transfer-encoding") == "chunked":
            return Answer(status, headers, b"".join(self._chunks()))
        return Answer(status, headers, self._take(int(headers["content-length"])))

    def _chunks(self) -> Iterator[bytes]:
        while length := int(self._until(b"\r\n"), 16):
            yield self._take(length)
            self._take(2)
        self._take(2)

    def is_closed(self) -> bool:
        """Whether the server has closed it, without another word."""
        try:
            return not self.unread and self.socket.recv(1) == b""
        except ConnectionResetError:
            return True

    def __enter__(self) -> "Wire":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def _until(self, mark: bytes) -> bytes:
        while mark not in self.unread:
            self._read()
        head, _, self.unread = self.unread.partition(mark)
        return head

    def _take(self, length: int) -> bytes:
        while len(self.unread) < length:
            self._read()
        taken, self.unread = self.unread[:length], self.unread[length:]
        return taken

    def _read(self) -> None:
        more = self.socket.recv(65_536)
        assert more, f"closed after {self.unread!r}"
        self.unread += more


@dataclass
class Server:
    """The server, and a dispatcher with a terminal who uses it."""

    address: tuple[str, int]
    log: Path
    organization: Organization
    user: User
    terminal: Terminal
    token: str

    @property
    def url(self) -> str:
        return "http://{}:{}".format(*self.address)

    def wire(self) -> Wire:
        return Wire(self.address)

    def head(self, method: str, path: str, *headers: str) -> str:
        """The beginning of a request by the dispatcher, up to the empty line."""
        own = [
            f"{method} {path} HTTP/1.1",
            "Host: localhost",
            f"Authorization: Bearer {self.token}",
        ]
        return "\r\n".join([*own, *headers]) + "\r\n\r\n"

    def lines(self, request_id: str = "") -> list[dict[str, Any]]:
        """What was logged of one request, or of all."""
        written = [json.loads(line) for line in self.log.read_text().splitlines()]
        return [line for line in written if request_id in {"", line.get("request_id")}]


def _environment(**wanted: str) -> dict[str, str]:
    """Of a server in front of the test database, small enough to be filled up."""
    database = connection.settings_dict
    user, password = (quote(database[name], safe="") for name in ("USER", "PASSWORD"))
    place = f"{database['HOST']}:{database['PORT'] or 5432}/{database['NAME']}"
    left_out = {"DJANGO_SETTINGS_MODULE", "BIND", "LOG_LEVEL"}
    return {
        **{name: value for name, value in os.environ.items() if name not in left_out},
        "DATABASE_URL": f"postgres://{user}:{password}@{place}",
        "DATABASE_OWNER_URL": "",  # serving needs none
        "SECRET_KEY": settings.SECRET_KEY,
        "LOG_FORMAT": "json",
        "WEB_CONCURRENCY": "1",
        "WEB_THREADS": "4",
        "DB_POOL_SIZE": "2",
        "DB_POOL_OVERFLOW": "3",
        **wanted,
    }


@contextmanager
def _committed() -> Iterator[tuple[User, Terminal]]:
    """A user and a terminal that other processes see, too; gone afterwards with all they made."""
    try:
        organization = OrganizationFactory()
        # The real server knows no fast hash.
        password = PBKDF2PasswordHasher().encode(PASSWORD, "salt")
        yield (
            UserFactory(organization=organization, password=password),
            TerminalFactory(organization=organization),
        )
    finally:
        with as_owner(), connection.cursor() as cursor:
            cursor.execute(f"TRUNCATE {Organization._meta.db_table} CASCADE")
            cursor.execute("DELETE FROM procrastinate_jobs")  # to read what is gone


@contextmanager
def _running(
    listener: socket.socket, log: Path, **wanted: str
) -> Iterator["subprocess.Popen[bytes]"]:
    """gunicorn on `listener`, whose environment has what is `wanted` besides."""
    command = [sys.executable, "-m", "gunicorn", "-c", "config/gunicorn.py"]
    command += ["-b", f"fd://{listener.fileno()}", "config.wsgi:application"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=_environment(**wanted),
            pass_fds=[listener.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
        try:
            yield process
        finally:
            process.terminate()
            process.wait(PATIENCE_S)


@pytest.fixture(scope="module")
def server(django_db_setup, django_db_blocker, tmp_path_factory) -> Iterator[Server]:
    log = tmp_path_factory.mktemp("server") / "log"
    with (
        django_db_blocker.unblock(),
        _committed() as (user, terminal),
        socket.create_server(("127.0.0.1", 0)) as listener,
        _running(listener, log),
    ):
        token = str(tokens_for(user).access_token)
        server = Server(listener.getsockname(), log, user.organization, user, terminal, token)
        # The socket listens already: the first request waits for the worker.
        with server.wire() as wire:
            assert wire.send(server.head("GET", "/health")).answer().status == 200
        yield server
        assert server.lines()  # whatever the tests sent, each line of the log is one JSON object


@pytest.fixture
def wire(server: Server) -> Iterator[Wire]:
    with server.wire() as wire:
        yield wire
