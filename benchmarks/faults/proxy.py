"""A TCP proxy that can be slow, silent, broken or away: what a network does to a dependency.

    with Proxy("127.0.0.1", 6379) as proxy:
        proxy.latency_s = 0.2       # each piece of an answer comes so much later
        proxy.silent = True         # connections stay open, nothing passes
        proxy.slice_bytes = 7       # pieces of so many bytes
        proxy.bytes_per_s = 1000    # both ways together
        proxy.reset()               # every connection ends with RST
        proxy.down()                # refuses connections, and ends those there are
        proxy.up()

Faults hold for connections that are open already, too. Clients connect to `proxy.port`.
"""

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Coroutine
from typing import Any, Self

PIECE_BYTES = 65_536
LINGER_NOT = struct.pack("ii", 1, 0)  # SO_LINGER of zero seconds: close() sends RST


class Proxy:
    def __init__(self, host: str, port: int) -> None:
        self.target = (host, port)
        self.port = 0
        self.latency_s = 0.0
        self.slice_bytes = 0
        self.bytes_per_s = 0
        self.questions = 0  # pieces that clients sent: round trips, where each waits for its answer
        self._silent = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        self._speaks = asyncio.Event()
        self._speaks.set()
        self.up()
        return self

    def __exit__(self, *_: object) -> None:
        self.down()
        self._do(self._forget())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def silent(self) -> bool:
        return self._silent

    @silent.setter
    def silent(self, value: bool) -> None:
        self._silent = value
        change = self._speaks.clear if value else self._speaks.set
        self._loop.call_soon_threadsafe(change)

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return len(self._writers) // 2

    def up(self) -> None:
        """Listen, on the same port as before."""
        self._do(self._listen())

    def down(self) -> None:
        """Refuse connections, and end those there are."""
        self._do(self._close())
        self._do(self._end(abruptly=False))

    def reset(self) -> None:
        """End every connection as a machine does that has forgotten it."""
        self._do(self._end(abruptly=True))

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _listen(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
            self.port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _end(self, *, abruptly: bool) -> None:
        for writer in list(self._writers):
            if abruptly:
                raw = writer.get_extra_info("socket")
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NOT)
                writer.transport.abort()
            else:
                writer.close()

    async def _forget(self) -> None:
        await asyncio.sleep(0.05)  # who was let in just before has a task by now
        await self._end(abruptly=True)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0.01)  # until what was closed is closed

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if task := asyncio.current_task():
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        try:
            far_reader, far_writer = await asyncio.open_connection(*self.target)
        except OSError:
            writer.close()
            return
        except asyncio.CancelledError:
            writer.transport.abort()
            raise
        both = {writer, far_writer}
        self._writers |= both
        there = self._loop.create_task(self._pump(reader, far_writer, delayed=False))
        back = self._loop.create_task(self._pump(far_reader, writer, delayed=True))
        self._tasks |= {there, back}
        try:
            await asyncio.wait({there, back}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (there, back):
                task.cancel()
                self._tasks.discard(task)
            self._writers -= both
            for each in both:
                with contextlib.suppress(OSError, RuntimeError):
                    each.close()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, delayed: bool
    ) -> None:
        """Carry bytes one way; an answer is `delayed` by the latency, a question is not."""
        with contextlib.suppress(OSError):
            while piece := await reader.read(PIECE_BYTES):
                if not delayed:
                    self.questions += 1
                elif self.latency_s:
                    await asyncio.sleep(self.latency_s)
                step = self.slice_bytes or len(piece)
                for start in range(0, len(piece), step):
                    await self._speaks.wait()
                    part = piece[start : start + step]
                    writer.write(part)
                    await writer.drain()
                    if self.bytes_per_s:
                        await asyncio.sleep(len(part) / self.bytes_per_s)
