"""gunicorn's threaded worker, with a main thread that reads, so that no thread waits for a client.

gunicorn's own `gthread` hands a connection to a thread as soon as its first byte is there, and the
thread then waits for the rest: as many slow clients as there are threads stop everything. Here the
main thread takes in each request whole, from thousands of connections at a time, and a thread gets
it when nothing is missing. That the main thread knows requests before threads do has more uses:

- one that waits too long for a thread is told so (503) at once, also while every thread hangs;
- questions after our health are answered by threads of their own;
- a client that sends too slowly is cut off, and nobody has noticed it;
- what all of them have sent so far is known, and large requests are refused (503) before they take
  more memory than there is.

After SIGTERM, readiness is off first; for `DRAIN_S` all goes on, then nothing new is accepted, what
is under way is finished, and every answer says `Connection: close`.

Imports of our own modules are made late: gunicorn loads this one before Django is set up.
"""

import contextlib
import errno
import selectors
import sys
import threading
import time
from collections import deque
from concurrent import futures
from functools import partial
from typing import Any

from gunicorn.http.errors import LimitRequestHeaders, NoMoreData
from gunicorn.http.parser import RequestParser
from gunicorn.workers import gthread

from core.serving import quick
from core.serving.connection import Connection, State

PROBE_THREADS = 4
TURN_S = 1.0
BUSY_TURN_S = 0.1  # while requests wait, their time is watched more closely
ACCEPTED_AT_ONCE = 64
FEW_MAY_WAIT_S = 2.5
FEW_PER_THREAD = 2
OVERLOADED_FOR_S = 5.0
LEFT_OPEN_AT_STOP_S = 2.0
SMALL = 65_536  # what each connection may send in any case
ROOM = 134_217_728  # for what is larger, of all connections together; see `Incoming.weight`
UNWRITTEN = 5_000  # refusals that are still to be written into the log
ANSWER_S = 10.0  # what a client may take for taking in an answer
# After each of its many system calls the main thread waits so long for busy threads to let it go
# on; Python's own 5 ms let it refuse some thirty requests a second.
SWITCH_S = 0.001


class Worker(gthread.ThreadWorker):
    """What config/gunicorn.py names as `worker_class`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._connections: set[Connection] = set()
        self._waiting: deque[tuple[Connection, futures.Future[bool]]] = deque()
        self._held = 0  # of ROOM
        self._looked_at = 0.0
        self._overloaded_until = 0.0

    @classmethod
    def check_config(cls, cfg: Any, log: Any) -> None:
        if cfg.is_ssl:
            raise RuntimeError("TLS ends at the proxy in front: this server speaks HTTP only")

    def init_process(self) -> None:
        self._probes = futures.ThreadPoolExecutor(PROBE_THREADS, thread_name_prefix="health")
        self._notes = futures.ThreadPoolExecutor(1, thread_name_prefix="notes")
        self._room_for_notes = threading.Semaphore(UNWRITTEN)
        super().init_process()

    # ------------------------------------------------------------------------- the main thread

    def run(self) -> None:
        from django.conf import settings

        sys.setswitchinterval(SWITCH_S)
        self._settings = settings
        self.poller.close()
        self.poller: Any = quick.Selector()
        self.poller.register(
            self.method_queue.fileno(), selectors.EVENT_READ, self.method_queue.run_callbacks
        )
        while self.alive:
            self._turn(accepting=True)
            if not self.is_parent_alive():
                break
        self._stop()

    def _turn(self, *, accepting: bool) -> None:
        """One round: take in what has come, then look whose time is over."""
        self.notify()
        self.set_accept_enabled(accepting and self.nr_conns < self.worker_connections)
        self.wait_for_and_dispatch_events(BUSY_TURN_S if self._waiting else TURN_S)
        now = time.monotonic()
        self._turn_away(now)
        if now - self._looked_at > BUSY_TURN_S:
            self._looked_at = now
            for connection in [each for each in self._connections if each.deadline < now]:
                self._time_is_over(connection)

    def _stop(self) -> None:
        from core import health

        health.stopping.set()
        self.alive = False  # from here on every answer is the last one on its connection
        until = time.monotonic() + self._settings.DRAIN_S
        while time.monotonic() < until:
            self._turn(accepting=True)
        for listener in self.sockets:
            self.accept(listener)  # whoever is in the queue already
        self.set_accept_enabled(False)
        for listener in self.sockets:
            listener.close()
        soon = time.monotonic() + LEFT_OPEN_AT_STOP_S
        for connection in self._connections:
            if connection.state is State.IDLE or not len(connection.incoming):
                connection.deadline = min(connection.deadline, soon)
        until += self.cfg.graceful_timeout
        while self._connections and time.monotonic() < until:
            self._turn(accepting=False)
        self.tpool.shutdown(wait=False)
        self._probes.shutdown(wait=False)
        self._notes.shutdown()
        for connection in list(self._connections):
            self._drop(connection)
        self.poller.close()
        self.method_queue.close()

    def accept(self, listener: Any) -> None:
        """Take everybody who is at the door: gunicorn's own takes one a round."""
        for _ in range(ACCEPTED_AT_ONCE):
            try:
                client, address = listener.accept()
            except OSError as error:
                if error.errno in {errno.EMFILE, errno.ENFILE}:
                    self.log.warning("out of file descriptors, %d connections", self.nr_conns)
                    self.set_accept_enabled(False)  # until the next round
                elif error.errno not in {errno.EAGAIN, errno.ECONNABORTED, errno.EWOULDBLOCK}:
                    raise
                return
            connection = Connection(client, address, listener.getsockname())
            self._connections.add(connection)
            self.nr_conns += 1
            self._await(connection, State.READING)

    def _await(self, connection: Connection, state: State) -> None:
        """Let the poller tell when there is something to read."""
        patience = {
            State.READING: self._settings.CLIENT_TIMEOUT_S,
            State.IDLE: self.cfg.keepalive if self.alive else LEFT_OPEN_AT_STOP_S,
            State.LEAVING: LEFT_OPEN_AT_STOP_S,
        }[state]
        connection.await_(state, patience)
        if not connection.is_watched:
            callback = partial(self._readable, connection)
            self.poller.register(connection.sock, selectors.EVENT_READ, callback)
            connection.is_watched = True

    def _look_away(self, connection: Connection) -> None:
        if connection.is_watched:
            connection.is_watched = False
            with contextlib.suppress(KeyError, ValueError):
                self.poller.unregister(connection.sock)

    def _readable(self, connection: Connection, _socket: Any) -> None:
        try:
            connection.read(self._settings.CLIENT_TIMEOUT_S)
        except (BlockingIOError, InterruptedError):
            return
        except ConnectionError:
            self._drop(connection)
        except OSError:  # its body goes to a file, and the disk is full
            self._refuse(connection, "unavailable", "The body cannot be stored right now.")
        else:
            if connection.is_gone:
                self._drop(connection)
            elif not self._has_room_for(connection):
                from core.serving.answers import FULL

                self._refuse(connection, "unavailable", FULL)
            elif connection.is_ready:
                self._hand_over(connection)

    def _has_room_for(self, connection: Connection) -> bool:
        """Whether what has come of its request may be kept, which is noted."""
        held = max(0, connection.incoming.weight - SMALL)
        self._held += held - connection.held
        grows, connection.held = held > connection.held, held
        return self._held <= ROOM or not grows

    def _hand_over(self, connection: Connection) -> None:
        """Give a request to a thread, unless it would wait in vain."""
        now = time.monotonic()
        if self._is_full(now) and not connection.incoming.is_probe:
            self._overloaded_until = now + OVERLOADED_FOR_S
            self._shed(connection)
            return
        self._look_away(connection)
        connection.wait_for_thread(now)
        if connection.incoming.is_probe:
            future = self._probes.submit(self.handle, connection)
        else:
            future = self.tpool.submit(self.handle, connection)
            self._waiting.append((connection, future))
        future.add_done_callback(
            lambda done: self.method_queue.defer(self.finish_request, connection, done)
        )

    def _count_waiting(self) -> int:
        """How many no thread has taken yet."""
        waiting = self._waiting
        while waiting and (waiting[0][1].running() or waiting[0][1].done()):
            waiting.popleft()
        return len(waiting)

    def _is_full(self, now: float) -> bool:
        """Whether it is no short burst, and as many wait already as will be served in time."""
        return (
            now < self._overloaded_until
            and self._count_waiting() >= FEW_PER_THREAD * self.cfg.threads
        )

    def _turn_away(self, now: float) -> None:
        """Tell those who have waited too long for a thread.

        A few may wait longer, unless others have just been turned away: then it is no short burst.
        """
        waiting = self._waiting
        while waiting_now := self._count_waiting():
            is_burst = now > self._overloaded_until
            few = is_burst and waiting_now <= FEW_PER_THREAD * self.cfg.threads
            patience = FEW_MAY_WAIT_S if few else self._settings.QUEUE_TIMEOUT_S
            connection, future = waiting[0]
            if now - connection.handed_over_at < patience:
                return
            waiting.popleft()
            if future.cancel():  # no thread was quicker; `finish_request` tells the client
                self._overloaded_until = now + OVERLOADED_FOR_S

    def _time_is_over(self, connection: Connection) -> None:
        if connection.state is State.READING and len(connection.incoming):
            from core.serving.answers import TOO_SLOW

            self._refuse(connection, "malformed-request", TOO_SLOW, 408)
        else:
            self._drop(connection)

    def finish_request(self, conn: Connection, fs: "futures.Future[bool]") -> None:
        """Back in the main thread: wait for the next request, or take leave."""
        if fs.cancelled():
            self._shed(conn)
        elif fs.exception() is None and fs.result():
            conn.next()
            self._has_room_for(conn)
            if conn.is_ready:
                self._hand_over(conn)  # it came together with the one before
            else:
                self._await(conn, State.READING if len(conn.incoming) else State.IDLE)
        else:
            self._take_leave(conn)

    def _shed(self, connection: Connection) -> None:
        """Tell a client that it came in vain, and let it come again over the same connection.

        To let it go and take it in anew would take three times as many system calls.
        """
        from core.ids import new_id
        from core.serving.answers import BUSY, problem_bytes

        is_roomy = self.nr_conns < self.worker_connections / 2
        if not (self.alive and is_roomy and connection.is_in_turn):
            self._refuse(connection, "unavailable", BUSY)
            return
        request_id = str(new_id())
        method = connection.incoming.method
        is_told = connection.say(
            problem_bytes("unavailable", BUSY, request_id, stays=True, method=method)
        )
        self._note(connection, request_id, "unavailable", 503)
        if is_told:
            connection.next()
            self._has_room_for(connection)
            self._await(connection, State.IDLE)
        else:
            self._drop(connection)

    def _refuse(
        self, connection: Connection, code: str, detail: str, status: int | None = None
    ) -> None:
        """Say no in the main thread: what does not fit into the socket's buffer is left out."""
        from core.ids import new_id
        from core.serving.answers import problem_bytes

        self._look_away(connection)
        request_id = str(new_id())
        method = connection.incoming.method
        connection.say(problem_bytes(code, detail, request_id, status, method=method))
        self._note(connection, request_id, code, status or 503)
        self._take_leave(connection)

    def _note(self, connection: Connection, request_id: str, code: str, status: int) -> None:
        """Write it down, in a thread of its own: the main thread waits for no file."""
        import structlog

        from core.metrics.requests import count_refused

        seconds = time.monotonic() - connection.began_at
        method, path = connection.incoming.method, connection.incoming.path

        def note() -> None:
            try:
                count_refused(method, code, status, seconds)
                structlog.stdlib.get_logger("core.serving").warning(
                    "request_refused",
                    request_id=request_id,
                    path=path,
                    status=status,
                    code=code,
                    duration_ms=round(seconds * 1000, 1),
                )
            finally:
                self._room_for_notes.release()

        self._room_for_notes.acquire()  # a flood that nobody can write down has to wait
        self._notes.submit(note)

    def _take_leave(self, connection: Connection) -> None:
        """Close it, but not over what the client may still be sending: that would be a reset."""
        stays = connection.say_goodbye()
        self._has_room_for(connection)
        if stays:
            self._await(connection, State.LEAVING)
        else:
            self._drop(connection)

    def _drop(self, connection: Connection) -> None:
        if connection in self._connections:
            self._connections.remove(connection)
            self.nr_conns -= 1
            self._held -= connection.held
            connection.held = 0
        self._look_away(connection)
        connection.close()

    # ---------------------------------------------------------------------------- the threads

    def handle(self, conn: Connection) -> bool:
        """Answer one request; returns whether there may be another on its connection."""
        from core import deadlines

        request = None
        try:
            conn.sock.settimeout(ANSWER_S)
            deadlines.begin(conn.handed_over_at + self._settings.REQUEST_TIMEOUT_S)
            # An iterator of its own: the parser cannot read beyond this request.
            parser = RequestParser(self.cfg, conn.incoming.pieces(), conn.client)
            request = next(parser)
            request._expected_100_continue = False  # said already, or not to be said at all
            if not conn.may_stay:
                request.force_close()
            stays = self.handle_request(request, conn)
            return bool(stays and parser.finish_body() and not parser.unreader.read())
        except (NoMoreData, StopIteration):
            if conn.incoming.is_endless:
                self.handle_error(request, conn.sock, conn.client, LimitRequestHeaders("the head"))
            self.log.debug("the client has left, or ended in the middle")
        except OSError as error:
            self.log.debug("the client did not take its answer: %s", type(error).__name__)
        except Exception as error:  # noqa: BLE001 - all end in an answer
            self.handle_error(request, conn.sock, conn.client, error)
        finally:
            deadlines.end()
        return False

    def handle_error(self, req: Any, client: Any, addr: Any, exc: Exception) -> None:
        """A problem in the contract's form. gunicorn would log what was sent, passwords too."""
        import structlog

        from core.ids import new_id
        from core.metrics.requests import count_refused
        from core.serving import answers

        request_id = str(new_id())
        status = answers.status_of(exc)
        log = structlog.stdlib.get_logger("core.serving")
        about = {"request_id": request_id, "status": status, "kind": type(exc).__name__}
        if status == 500:
            log.error("request_failed", **about, exc_info=exc)
            count_refused("", "internal-error", status)
            answer = answers.problem_bytes("internal-error", "Something went wrong.", request_id)
        else:
            log.warning("request_refused", **about)
            count_refused("", "malformed-request", status)
            answer = answers.problem_bytes(
                "malformed-request", answers.NOT_HTTP, request_id, status
            )
        try:
            client.sendall(answer)
        except OSError:
            self.log.debug("the client has left before its refusal")
