"""A client's socket, and where its request stands. Used by one thread at a time."""

import enum
import socket
import time
from typing import Any

from core.serving import quick
from core.serving.incoming import Incoming

SLOWEST = 16_384  # bytes a second that earn a client more time


class State(enum.Enum):
    """Who waits for what."""

    READING = "for the rest of a request"
    WITH_THREAD = "for the answer"
    IDLE = "for the next request"
    LEAVING = "for the client to hang up"


class Connection:
    """One client; `sock`, `client` and `server` are what gunicorn's own code asks it for."""

    def __init__(self, sock: socket.socket, client: Any, server: Any) -> None:
        self.sock = sock
        self.client = client
        self.server = server
        self.state = State.READING
        self.incoming = Incoming()
        self.began_at = time.monotonic()
        self.handed_over_at = 0.0
        self.deadline = float("inf")
        self.is_watched = False  # the poller tells when there is something to read
        self.held = 0  # of the room for large requests that all share
        self._rest = b""  # what came after the request that a thread has
        self._has_ended = False  # the client sends nothing more

    @property
    def is_ready(self) -> bool:
        """Whether there is a request to answer, or to refuse."""
        cut = self._has_ended and len(self.incoming) > 0
        return self.state is not State.LEAVING and (self.incoming.is_ready or cut)

    @property
    def is_gone(self) -> bool:
        return self._has_ended and (self.state is State.LEAVING or not len(self.incoming))

    @property
    def may_stay(self) -> bool:
        """Whether it is known where the next request begins."""
        return self.incoming.is_whole

    @property
    def is_in_turn(self) -> bool:
        """Whether the client waits for its answer before it asks anything else.

        And whether everybody would say that its request ends there: no parser has judged it.
        """
        whole = self.may_stay and self.incoming.is_plain
        return whole and not self._rest and not self.incoming.is_last

    def await_(self, state: State, patience_s: float) -> None:
        """Be read by the main thread, for `patience_s` at most."""
        self.sock.setblocking(False)
        self.state = state
        if state is State.READING:
            self.began_at = time.monotonic()
        self.deadline = time.monotonic() + patience_s

    def wait_for_thread(self, now: float) -> None:
        self.state = State.WITH_THREAD
        self.handed_over_at = now
        self.deadline = float("inf")

    def read(self, patience_s: float) -> None:
        """Take in what has come.

        Raises:
            ConnectionError: the client is gone.
            OSError: a body does not fit onto the disk.
        """
        data = quick.receive(self.sock)
        if not data:
            self._has_ended = True
        elif self.state is not State.LEAVING:
            if self.state is State.IDLE:
                self.state = State.READING
                self.began_at = time.monotonic()
            self._feed(data)
            # Whoever keeps sending has time: SLOWEST for the whole of it.
            self.deadline = self.began_at + patience_s + len(self.incoming) / SLOWEST

    def _feed(self, data: bytes) -> None:
        self._rest = self.incoming.feed(data)
        if self.incoming.wants_go_on and not self.incoming.is_ready:
            self.incoming.wants_go_on = False
            self.say(b"HTTP/1.1 100 Continue\r\n\r\n")

    def next(self) -> None:
        """Turn to what came after the request that has been answered."""
        self.incoming.close()
        rest, self._rest, self.incoming = self._rest, b"", Incoming()
        self.began_at = time.monotonic()
        if rest:
            self._feed(rest)

    def say(self, answer: bytes) -> bool:
        """Send without waiting; whether all of it is on its way."""
        try:
            return quick.send(self.sock, answer) == len(answer)
        except OSError:
            return False

    def say_goodbye(self) -> bool:
        """Send nothing more; whether it is worth waiting for the client to do the same.

        What has come is let go.
        """
        self.incoming.close()
        self.incoming, self._rest = Incoming(), b""
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError:
            return False
        return not self._has_ended

    def close(self) -> None:
        self.incoming.close()
        self.sock.close()
