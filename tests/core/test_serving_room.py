"""How much of what clients send is kept: `core.serving.worker`, without a server."""

import socket
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from core.serving import worker
from core.serving.connection import Connection, State

HEAD = "POST /api/v1/orders HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n"


@pytest.fixture
def serving(settings, monkeypatch) -> Iterator[Any]:
    """A worker that reads and never answers, with room for 100,000 bytes."""
    monkeypatch.setattr(worker, "ROOM", 100_000)
    made = worker.Worker.__new__(worker.Worker)
    unused = SimpleNamespace(register=lambda *_: None, unregister=lambda *_: None)
    made.poller, made.alive, made.nr_conns, made._held = unused, True, 0, 0
    made.cfg, made._settings, made._connections = SimpleNamespace(keepalive=5), settings, set()
    made._hand_over = lambda connection: connection.wait_for_thread(0)
    made.clients = []
    yield made
    for client in made.clients:
        client.close()
    for connection in list(made._connections):
        made._drop(connection)
    assert made._held == 0


class Client:
    """Somebody at the other end of a socket."""

    def __init__(self, serving: Any) -> None:
        self.serving = serving
        ours, self.socket = socket.socketpair()
        serving.clients.append(self.socket)
        self.connection = Connection(ours, "", "")
        serving._connections.add(self.connection)
        serving.nr_conns += 1
        serving._await(self.connection, State.READING)

    def send(self, length: int, sent: int) -> "Client":
        """A request with a body of `length`, of which so much is `sent`."""
        left = HEAD.format(length).encode() + b"x" * sent
        while left and self.connection.state is State.READING:
            self.socket.sendall(left[:50_000])
            left = left[50_000:]
            self.serving._readable(self.connection, None)
        return self

    @property
    def is_refused(self) -> bool:
        return self.connection.state is State.LEAVING


class TestTheRoomForLargeRequests:
    def test_is_shared_by_all_and_has_an_end(self, serving):
        first = Client(serving).send(900_000, 150_000)
        second = Client(serving).send(900_000, 150_000)
        assert [first.is_refused, second.is_refused] == [False, True]
        answer = second.socket.recv(10_000)
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nRetry-After: " in answer
        assert len(second.connection.incoming) == 0

    def test_is_not_needed_by_small_ones(self, serving):
        Client(serving).send(900_000, 160_000)
        small = [Client(serving).send(50_000, 49_000) for _ in range(20)]
        assert not any(each.is_refused for each in small)

    @pytest.mark.parametrize("leaves", ["drop", "answered", "refused"])
    def test_is_given_back(self, serving, leaves):
        first = Client(serving).send(150_000, 150_000)
        if leaves == "drop":
            first.connection.state = State.READING
            serving._drop(first.connection)
        elif leaves == "answered":
            done = SimpleNamespace(
                cancelled=lambda: False, exception=lambda: None, result=lambda: True
            )
            serving.finish_request(first.connection, done)
            assert first.connection.state is State.IDLE
        else:
            serving._refuse(first.connection, "unavailable", "")
        assert serving._held == 0
        assert not Client(serving).send(150_000, 150_000).is_refused
