"""Requests at fixed times, whether or not the ones before have been answered.

A closed loop waits for slow answers and so hides them: here request number n is sent n / rate
seconds after the start, and its time counts from that moment.
"""

import asyncio
import contextlib
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from benchmarks.faults.report import percentile

NO_ANSWER = 0


@dataclass(frozen=True)
class Request:
    """`keep` sends it over a connection that stays open, and that others may have used before."""

    method: str
    path: str
    body: dict[str, Any] | None = None
    keep: bool = True
    headers: tuple[str, ...] = ()
    mark: Any = None


@dataclass
class Answer:
    """`seconds` from when it was due; status 0 and `error` where nothing came back."""

    request: Request
    status: int
    seconds: float
    sent_at: float
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    error: str = ""
    retried: bool = False
    late_s: float = 0.0  # how long after it was due the client itself came to it

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def is_shed(self) -> bool:
        """Turned away in the way that a client can act on."""
        return self.status in (429, 503) and "retry-after" in self.headers


class Closed(Exception):
    """The server ended the connection before the answer was complete."""

    def __init__(self, begun: bool) -> None:
        super().__init__("cut in the middle of an answer" if begun else "closed without an answer")
        self.begun = begun


Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Client:
    """An HTTP/1.1 client of one server, with a bearer token, for one event loop.

    As ordinary clients do, it does not send on a kept connection that the server has closed, and
    repeats a GET once that met such a close on its way; `Answer.retried` tells.
    """

    def __init__(self, port: int, token: str = "", timeout_s: float = 30.0) -> None:
        self.port, self.timeout_s = port, timeout_s
        self.authorization = f"Authorization: Bearer {token}\r\n" if token else ""
        self._idle: list[Connection] = []

    async def send(self, request: Request, due: float | None = None) -> Answer:
        due = time.monotonic() if due is None else due
        answer = Answer(request, NO_ANSWER, 0.0, due, late_s=time.monotonic() - due)
        try:
            async with asyncio.timeout(self.timeout_s):
                await self._try(request, answer)
        except Closed as closed:
            answer.error = str(closed)
        except (TimeoutError, OSError, ValueError) as error:
            answer.error = type(error).__name__
        if answer.error:
            answer.status = NO_ANSWER
        answer.seconds = time.monotonic() - due
        return answer

    async def _try(self, request: Request, answer: Answer) -> None:
        while True:
            connection, used = await self._connection(request.keep)
            try:
                await self._exchange(connection, request, answer)
            except (Closed, ConnectionError) as error:
                connection[1].close()
                begun = isinstance(error, Closed) and error.begun
                if used and not begun and request.method == "GET" and not answer.retried:
                    answer.retried = True
                    continue
                raise
            except BaseException:
                connection[1].close()
                raise
            if request.keep and answer.headers.get("connection", "") != "close":
                self._idle.append(connection)
            else:
                connection[1].close()
            return

    async def _connection(self, keep: bool) -> tuple[Connection, bool]:
        while keep and self._idle:
            reader, writer = self._idle.pop()
            if not reader.at_eof() and not writer.is_closing():
                return (reader, writer), True
            writer.close()
        return await asyncio.open_connection("127.0.0.1", self.port), False

    async def _exchange(self, connection: Connection, request: Request, answer: Answer) -> None:
        reader, writer = connection
        body = json.dumps(request.body).encode() if request.body is not None else b""
        head = f"{request.method} {request.path} HTTP/1.1\r\nHost: localhost\r\n"
        head += self.authorization + "".join(f"{line}\r\n" for line in request.headers)
        if request.body is not None:
            head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        elif request.method != "GET":
            head += "Content-Length: 0\r\n"
        if not request.keep:
            head += "Connection: close\r\n"
        writer.write(head.encode() + b"\r\n" + body)
        await writer.drain()
        await read_answer(reader, answer)

    async def close(self) -> None:
        for _, writer in self._idle:
            writer.close()


async def read_answer(reader: asyncio.StreamReader, answer: Answer) -> None:
    """Fill in what comes back.

    Raises:
        Closed: it does not come back whole.
    """
    begun = False
    try:
        first = await reader.readuntil(b"\r\n\r\n")
        begun = True
        status, *lines = first.decode("latin-1").split("\r\n")
        answer.status = int(status.split()[1])
        pairs = (line.partition(":") for line in lines if line)
        answer.headers = {name.lower(): value.strip().lower() for name, _, value in pairs}
        if answer.headers.get("transfer-encoding") == "chunked":
            parts = []
            while length := int(await reader.readuntil(b"\r\n"), 16):
                parts.append(await reader.readexactly(length))
                await reader.readexactly(2)
            await reader.readexactly(2)
            answer.body = b"".join(parts)
        elif answer.status not in (204, 304):
            answer.body = await reader.readexactly(int(answer.headers.get("content-length", 0)))
    except asyncio.IncompleteReadError as error:
        raise Closed(begun or bool(error.partial)) from None


@dataclass
class Tally:
    """All answers to a load, in the order in which they came."""

    answers: list[Answer] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.answers)

    def __iter__(self) -> Iterator[Answer]:
        return iter(self.answers)

    def where(self, condition: Callable[[Answer], bool]) -> "Tally":
        return Tally([answer for answer in self.answers if condition(answer)])

    @property
    def good(self) -> "Tally":
        return self.where(lambda answer: 200 <= answer.status < 400)

    @property
    def unanswered(self) -> "Tally":
        return self.where(lambda answer: answer.status == NO_ANSWER)

    @property
    def neither_good_nor_shed(self) -> "Tally":
        return self.where(lambda answer: not (200 <= answer.status < 400 or answer.is_shed))

    @property
    def errors(self) -> "Tally":
        """5xx of any kind."""
        return self.where(lambda answer: answer.status >= 500)

    def ms(self, share: float) -> float:
        return percentile([answer.seconds for answer in self.answers], share) * 1000

    @property
    def slowest_s(self) -> float:
        return max((answer.seconds for answer in self.answers), default=0.0)

    @property
    def kinds(self) -> str:
        """`200: 950, 503: 50`."""
        kinds = Counter(answer.error or str(answer.status) for answer in self.answers)
        return ", ".join(f"{kind}: {count:,}" for kind, count in sorted(kinds.items()))


class Load:
    """A load in a thread of its own, from `start` (or `with`) to `stop` or for `seconds`.

    `requests` is asked for the next one at each arrival, so it may be endless.
    """

    def __init__(self, client: Client, rate: float, requests: Iterable[Request]) -> None:
        self.client, self.rate, self.requests = client, rate, iter(requests)
        self.tally = Tally()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="load")

    def __enter__(self) -> "Load":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Send no more, and wait for what is on its way."""
        self._ending.set()
        self._thread.join()

    def _run(self) -> None:
        asyncio.run(self._send_all())

    async def _send_all(self) -> None:
        began = time.monotonic()
        on_their_way: set[asyncio.Task[None]] = set()
        for number, request in enumerate(self.requests):
            due = began + number / self.rate
            if (wait := due - time.monotonic()) > 0:
                await asyncio.sleep(wait)
            if self._ending.is_set():
                break
            task = asyncio.create_task(self._send(request, due))
            on_their_way.add(task)
            task.add_done_callback(on_their_way.discard)
        if on_their_way:
            await asyncio.wait(on_their_way)
        await self.client.close()

    async def _send(self, request: Request, due: float) -> None:
        self.tally.answers.append(await self.client.send(request, due))


def run_load(client: Client, rate: float, seconds: float, requests: Iterable[Request]) -> Tally:
    """A load of so many requests a second for so long, and all its answers."""
    with Load(client, rate, requests) as load:
        time.sleep(seconds)
    return load.tally


def ask(client: Client, *requests: Request, at_once: int = 1) -> Tally:
    """Send requests, so many at once, each as soon as one before it is answered."""

    async def send_all() -> Tally:
        tally, waiting = Tally(), list(reversed(requests))

        async def one_by_one() -> None:
            while waiting:
                tally.answers.append(await client.send(waiting.pop()))

        await asyncio.gather(*(one_by_one() for _ in range(at_once)))
        with contextlib.suppress(OSError):
            await client.close()
        client._idle.clear()
        return tally

    return asyncio.run(send_all())
