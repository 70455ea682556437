"""How much of what clients send is kept: `core.serving.worker`, without a server."""

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Semaphore
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
    made._notes, made._room_for_notes = ThreadPoolExecutor(1), Semaphore()
    made.clients, made.worker_connections = [], 100
    yield made
    made._notes.shutdown()
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


GET = b"GET /api/v1/orders HTTP/1.1\r\nHost: localhost\r\n"


class TestWhoIsTurnedAway:
    @pytest.fixture
    def turned_away(self, serving) -> Any:
        """What is said to somebody who sent this, and the connection afterwards."""

        def send(request: bytes) -> tuple[bytes, Connection]:
            client = Client(serving)
            client.socket.sendall(request)
            serving._readable(client.connection, None)
            assert client.connection.state is State.WITH_THREAD
            serving._shed(client.connection)
            return client.socket.recv(10_000), client.connection

        return send

    @pytest.mark.parametrize(
        "request_",
        [GET + b"\r\n", GET + b"Connection: keep-alive\r\n\r\n", HEAD.format(1).encode() + b"x"],
    )
    def test_may_come_again_over_the_same_connection(self, turned_away, request_):
        answer, connection = turned_away(request_)
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nRetry-After: " in answer
        assert b"Connection" not in answer
        assert connection.state is State.IDLE
        assert len(connection.incoming) == 0

    @pytest.mark.parametrize(
        "request_",
        [
            GET + b"Connection: close\r\n\r\n",
            GET + b"Connection: Keep-Alive, Close\r\n\r\n",
            GET + b"Connection: keep-alive\r\nConnection: close\r\n\r\n",
            GET.replace(b"1.1", b"1.0") + b"\r\n",
            GET + b"\r\n" + GET,  # more than one question
            GET + b"Content-Length: 1, 2\r\n\r\n",  # who knows where the next one begins?
            GET + b"Content-Length : 1\r\n\r\n",
            GET + b"X: y\nContent-Length: 1\r\n\r\n",
            GET + b"X: y\rContent-Length: 1\r\n\r\n",
            GET + b"X: y\r\n Content-Length: 1\r\n\r\n",
            GET + b"X\0: y\r\n\r\n",
            GET + b"Transfer-Encoding : chunked\r\n\r\n",
            GET + b"Transfer-Encoding: chunked\r\n\r\n0;\n\r\n\r\n",
            GET.replace(b"1.1", b"1.2") + b"\r\n",
            b"CONNECT elsewhere:80 HTTP/1.1\r\nHost: localhost\r\n\r\n",
            b"HEAD http://localhost/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
        ],
    )
    def test_is_let_go_where_nothing_more_is_to_come_or_to_be_known(self, turned_away, request_):
        answer, connection = turned_away(request_)
        assert b"\r\nConnection: close\r\n" in answer
        assert connection.state is State.LEAVING

    @pytest.mark.parametrize("field", [b"", b"Connection: close\r\n"])
    def test_gets_no_body_that_was_not_asked_for(self, turned_away, field):
        answer, _ = turned_away(GET.replace(b"GET", b"HEAD") + field + b"\r\n")
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nContent-Length: 0" not in answer
        assert answer.endswith(b"\r\n\r\n")

    def test_is_let_go_where_half_of_all_places_are_taken(self, serving, turned_away):
        serving.worker_connections = 4
        answers = [turned_away(GET + b"\r\n")[0] for _ in range(3)]
        assert [b"\r\nConnection: close\r\n" in each for each in answers] == [False, True, True]

    def test_is_let_go_when_all_is_about_to_end(self, serving, turned_away):
        serving.alive = False
        answer, connection = turned_away(GET + b"\r\n")
        assert b"\r\nConnection: close\r\n" in answer
        assert connection.state is State.LEAVING

    def test_is_let_go_if_the_answer_does_not_fit(self, serving, turned_away, monkeypatch):
        monkeypatch.setattr(Connection, "say", lambda *_: False)
        monkeypatch.setattr(socket.socket, "recv", lambda *_: b"")
        _, connection = turned_away(GET + b"\r\n")
        assert connection not in serving._connections
