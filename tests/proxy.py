"""A TCP proxy that stands between us and a server, and delays or cuts what goes through."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any


class Proxy:
    """Passes bytes on to `target`; an answer comes `delay_s` later, and None is a cut line."""

    def __init__(self, target: int) -> None:
        self.target: int | None = target
        self.delay_s = 0.0
        self.port = 0
        self._streams: set[asyncio.StreamWriter] = set()
        self._tasks: list[Any] = []

    def cut(self) -> None:
        """Close what is open, and whatever is opened from now on."""
        self.target = None
        for stream in list(self._streams):
            self._loop.call_soon_threadsafe(stream.close)

    async def _serve(self, ready: threading.Event) -> None:
        self._loop = asyncio.get_running_loop()
        self._ended = asyncio.Event()
        server = await asyncio.start_server(self._pass_on, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        ready.set()
        await self._ended.wait()
        server.close()
        for stream in list(self._streams):
            stream.close()
        await asyncio.gather(*self._tasks)

    async def _pass_on(self, near: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        self._tasks.append(asyncio.current_task())
        self._streams.add(back)
        with suppress(OSError):
            if self.target is not None:
                far, forth = await asyncio.open_connection("127.0.0.1", self.target)
                self._streams.add(forth)
                await asyncio.gather(self._pump(near, forth), self._pump(far, back, late=True))
        back.close()

    async def _pump(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, late: bool = False
    ) -> None:
        with suppress(OSError):
            while some := await source.read(65_536):
                if late and self.delay_s:
                    await asyncio.sleep(self.delay_s)
                sink.write(some)
                await sink.drain()
        sink.close()


@contextmanager
def proxy_to(port: int) -> Iterator[Proxy]:
    """A proxy in front of a port of this machine."""
    proxy, ready = Proxy(port), threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(proxy._serve(ready)))
    thread.start()
    assert ready.wait(10)
    try:
        yield proxy
    finally:
        proxy._loop.call_soon_threadsafe(proxy._ended.set)
        thread.join()
