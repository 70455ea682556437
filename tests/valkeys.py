"""Valkey servers of a test's own, and what is sent to them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from django.db import connection
from redis.connection import Connection

from core import valkey
from core.embedded import Valkey


@contextmanager
def own_valkey(folder: Path) -> Iterator[tuple[Valkey, str]]:
    """A Valkey that nobody else uses, and its URL."""
    server = Valkey(folder)
    try:
        yield server, server.start()
    finally:
        server.stop()


def forget_servers() -> None:
    """Let nobody ask the Valkeys of a test any more, and nothing be known of them."""
    for server in valkey._servers.values():
        if server.is_away:
            server._timer.cancel()
            server._timer.join()
    valkey._servers.clear()


def use(settings: Any, url: str) -> None:
    """Let the process know this Valkey, with the patience of production."""
    default = settings.CACHES["default"]
    patience = {"SOCKET_CONNECT_TIMEOUT": 0.25, "SOCKET_TIMEOUT": 0.25}
    options = {**default["OPTIONS"], **patience}
    settings.CACHES = {"default": {**default, "LOCATION": url, "OPTIONS": options}}


def through(url: str, port: int) -> str:
    """The URL of the same server behind a proxy at this port."""
    return f"{url.rpartition(':')[0]}:{port}/0"


@contextmanager
def calls_of_valkey() -> Iterator[list[Any]]:
    """Every command that is sent, once each."""
    sent: list[Any] = []
    send = Connection.send_packed_command

    def counted(self: Any, command: Any, *args: Any, **options: Any) -> Any:
        sent.append(command)
        return send(self, command, *args, **options)

    with mock.patch.object(Connection, "send_packed_command", counted):
        yield sent


def as_if_committed() -> None:
    """Run what waits for the commit that a test without one never has."""
    waiting, connection.run_on_commit = connection.run_on_commit, []
    for _, order, *_ in waiting:
        order()
