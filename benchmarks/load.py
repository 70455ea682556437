"""A client that is no bottleneck: a few connections, each asking again as soon as it is answered.

    python benchmarks/load.py < job > result

Both are JSON. Of a job: `port`, `token`, `connections`, `seconds`, and `requests`, which are asked
in turn: `[method, path, body or null]`. Where a body holds `data.REFERENCE`, each request gets a
number of its own in its place. Of a result: how many were answered in how many seconds, the
latencies in milliseconds, and what was no success.
"""

import json
import selectors
import socket
import sys
import time
from collections import Counter
from itertools import cycle
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
READ_BYTES = 1 << 18


def encoded(job: dict[str, Any]) -> list[bytes]:
    """The requests as they go over the wire."""
    wire = []
    for method, path, body in job["requests"]:
        head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{job['port']}\r\n"
        head += f"Authorization: Bearer {job['token']}\r\n" if job["token"] else ""
        sent = b"" if body is None else json.dumps(body).encode()
        if sent:
            head += f"Content-Type: application/json\r\nContent-Length: {len(sent)}\r\n"
        wire.append(f"{head}\r\n".encode() + sent)
    return wire


class Connection:
    """One keep-alive connection with at most one request on its way."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.connect()

    def connect(self) -> None:
        self.socket = socket.create_connection(("127.0.0.1", self.port), timeout=60)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.parts: list[bytes] = []
        self.missing = -1  # bytes of the body still to come; -1 before its head is known
        self.status = 0

    def send(self, request: bytes) -> None:
        self.parts, self.missing, self.status = [], -1, 0
        self.began = time.perf_counter()
        self.socket.sendall(request)

    def receive(self) -> bool:
        """Take what has come; True when the answer is whole."""
        got = self.socket.recv(READ_BYTES)
        if not got:
            raise ConnectionError("closed in the middle of an answer")
        if self.missing >= 0:
            self.missing -= len(got)
            return self.missing <= 0
        self.parts.append(got)
        head, found, body = b"".join(self.parts).partition(b"\r\n\r\n")
        if not found:
            return False
        self.status = int(head[9:12])
        headers = head.lower()
        self.closes = b"\r\nconnection: close" in headers
        at = headers.find(b"\r\ncontent-length:")
        if at < 0:
            raise ConnectionError("an answer without its length")
        length = int(headers[at + 17 :].split(b"\r\n", 1)[0])
        self.missing = length - len(body)
        return self.missing <= 0


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Ask for `seconds`; the answers that are out then are waited for, and count."""
    from benchmarks.data import REFERENCE

    requests = cycle(encoded(job))
    mark, number = REFERENCE.encode(), time.time_ns() // 1000 % 10**15

    def wire() -> bytes:
        nonlocal number
        number += 1
        fresh = f"NEW-{number:0{len(mark) - 4}}".encode()
        return next(requests).replace(mark, fresh)

    chosen = selectors.DefaultSelector()
    latencies: list[float] = []
    failures: Counter[str] = Counter()
    connections = [Connection(job["port"]) for _ in range(job["connections"])]
    began = time.perf_counter()
    ends = began + job["seconds"]
    for connection in connections:
        chosen.register(connection.socket, selectors.EVENT_READ, connection)
        connection.send(wire())
    waiting = len(connections)
    while waiting:
        for key, _ in chosen.select():
            connection = key.data
            if not connection.receive():
                continue
            now = time.perf_counter()
            latencies.append((now - connection.began) * 1000)
            if not 200 <= connection.status < 300:
                failures[str(connection.status)] += 1
            if connection.closes:
                chosen.unregister(connection.socket)
                connection.socket.close()
                connection.connect()
                chosen.register(connection.socket, selectors.EVENT_READ, connection)
            if now < ends:
                connection.send(wire())
            else:
                waiting -= 1
    took = time.perf_counter() - began
    for connection in connections:
        connection.socket.close()
    return {
        "count": len(latencies),
        "seconds": took,
        "latencies": latencies,
        "failures": dict(failures),
    }


if __name__ == "__main__":
    json.dump(run(json.load(sys.stdin)), sys.stdout)
