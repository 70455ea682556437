"""What `script/server` starts: children that end with it, and among them a worker for documents."""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from django.conf import settings

STOP_SECONDS = 10.0  # what it is at then is read again at the next start
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0  # before it is started again; doubled each time
STEADY_S = 60.0  # who has run for so long is not thought to die at once again
PR_SET_PDEATHSIG = 1


def serving_environment() -> dict[str, str]:
    """Ours without the way to the owner of the tables, which no request needs."""
    hidden = {"DATABASE_OWNER_URL", "DATABASE_OWNER_URL_FILE"}
    kept = {name: value for name, value in os.environ.items() if name not in hidden}
    return kept | {"DATABASE_OWNER_URL": ""}


def start_child(
    command: list[str], environment: dict[str, str], **options: Any
) -> "subprocess.Popen[bytes]":
    """A process of ours, with `options` of `Popen`.

    It has a process group of its own, so that Ctrl-C reaches it once and through us; if we are
    killed, Linux tells it to end.
    """
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    parent = os.getpid()

    def in_child() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        if libc:
            libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
            if os.getppid() != parent:
                os._exit(1)

    # A signal in the middle would leave a child that nobody knows.
    held = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
    try:
        return subprocess.Popen(
            [sys.executable, *command],
            cwd=settings.BASE_DIR,
            env=environment,
            process_group=0,
            preexec_fn=in_child,
            **options,
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, held)


class Worker:
    """`manage.py worker`, which is started again when it has died, and replaced when asked to."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._running: subprocess.Popen[bytes] | None = None
        self._began = self._begins_again = 0.0
        self._pause_s = FIRST_PAUSE_S
        # Those that end what they are at, and when they are ended by force.
        self._leaving: list[tuple[subprocess.Popen[bytes], float]] = []

    def look(self) -> None:
        """Start it again where it has died; to be called now and then. Waits for nothing."""
        now = time.monotonic()
        for process, until in list(self._leaving):
            if process.poll() is None and now >= until:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            if process.returncode is not None:
                self._leaving.remove((process, until))
        if self._running is not None and self._running.poll() is not None:
            if now - self._began >= STEADY_S:
                self._pause_s = FIRST_PAUSE_S
            self._say(
                f"worker: ended by itself, with code {self._running.returncode};"
                f" again in {self._pause_s:.0f} s"
            )
            self._running, self._begins_again = None, now + self._pause_s
            self._pause_s = min(LONGEST_PAUSE_S, self._pause_s * 2)
        if self._running is None and now >= self._begins_again:
            self.start()

    def replace(self) -> None:
        """Start another one, with the code as it now is; the former ends what it is at."""
        if self._running is not None:
            self._running.terminate()
            until = time.monotonic() + settings.READING_SECONDS + STOP_SECONDS
            self._leaving.append((self._running, until))
        self._pause_s = FIRST_PAUSE_S
        self.start()

    def end(self) -> None:
        """Tell all to end, and end them by force where that takes long."""
        processes = [process for process, _ in self._leaving]
        processes += [self._running] if self._running else []
        for process in processes:
            process.terminate()
        until = time.monotonic() + STOP_SECONDS
        for process in processes:
            try:
                process.wait(max(0.0, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def start(self) -> None:
        command = [str(settings.BASE_DIR / "manage.py"), "worker"]
        self._running = start_child(command, serving_environment(), stdin=subprocess.DEVNULL)
        self._began = time.monotonic()


@contextlib.contextmanager
def worker_beside(say: Callable[[str], None]) -> Iterator[Worker]:
    """Run a worker within the block; `say` is told of its deaths."""
    worker = Worker(say)
    try:
        worker.start()
        yield worker
    finally:
        worker.end()
