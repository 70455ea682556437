"""What runs beside `script/server`: a worker for documents, for as long as the server runs."""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

from django.conf import settings

STOP_SECONDS = 10.0  # what it is at then is read again at the next start
PR_SET_PDEATHSIG = 1


def serving_environment() -> dict[str, str]:
    """Ours without the way to the owner of the tables, which no request needs."""
    hidden = {"DATABASE_OWNER_URL", "DATABASE_OWNER_URL_FILE"}
    kept = {name: value for name, value in os.environ.items() if name not in hidden}
    return kept | {"DATABASE_OWNER_URL": ""}


@contextlib.contextmanager
def worker_beside() -> Iterator[None]:
    """Run `manage.py worker` within the block; told to end after it, and then ended by force.

    It has a process group of its own, so that Ctrl-C reaches it through us; if we are killed, Linux
    tells it to end.
    """
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    parent = os.getpid()

    def in_child() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        if libc:
            libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
            if os.getppid() != parent:
                os._exit(1)

    # A signal in the middle would leave a worker that nobody knows.
    stopping = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    held = signal.pthread_sigmask(signal.SIG_BLOCK, stopping)
    try:
        worker = subprocess.Popen(
            [sys.executable, str(settings.BASE_DIR / "manage.py"), "worker"],
            cwd=settings.BASE_DIR,
            env=serving_environment(),
            stdin=subprocess.DEVNULL,
            process_group=0,
            preexec_fn=in_child,
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, held)
    try:
        yield
    finally:
        if worker.poll() is None:
            worker.terminate()
            try:
                worker.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(worker.pid, signal.SIGKILL)
                worker.wait()
