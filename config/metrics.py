"""What gunicorn does for the metrics: a folder that all workers write to, and a port of its own.

The master itself counts nothing: what it declared when it loaded the application, `empty_folder`
removes, and each worker begins files of its own.
"""

import atexit
import os
import shutil
import socket
import tempfile
from contextlib import suppress
from pathlib import Path

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
MEMORY = Path("/dev/shm")  # noqa: S108 - mkdtemp makes folders there that are ours alone
_PREFIX = "dockside-metrics-"
_HANDED_OVER = "DOCKSIDE_METRICS_FD"

_listener: socket.socket | None = None


def prepare_folder() -> None:
    """Name a new, empty folder to the workers, once per master; it is there before they are.

    Each master has its own: the files are named by process ids alone, and nothing must be left of
    processes that had the same. One that whoever starts us has named is kept (`empty_folder`).
    """
    if FOLDER not in os.environ:
        # In memory: the values are written at each request.
        parent = MEMORY if os.access(MEMORY, os.W_OK) else Path(tempfile.gettempdir())
        _sweep(parent)
        os.environ[FOLDER] = tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=parent)
        atexit.register(_remove_folder)  # also where the start is refused


def _sweep(parent: Path) -> None:
    """Remove what masters that were killed have left behind."""
    for folder in parent.glob(f"{_PREFIX}*"):
        master = folder.name.removeprefix(_PREFIX).partition("-")[0]
        with suppress(OSError):
            if folder.stat().st_uid == os.getuid() and not Path(f"/proc/{master}").exists():
                shutil.rmtree(folder)


def empty_folder() -> None:
    """Forget what was counted before this start."""
    folder = Path(os.environ[FOLDER])
    folder.mkdir(parents=True, exist_ok=True)
    for file in folder.glob("*.db"):
        file.unlink()


def _remove_folder() -> None:
    """Remove the folder that this very process made: workers, which end so too, leave it alone."""
    folder = Path(os.environ.get(FOLDER, ""))
    if folder.name.startswith(f"{_PREFIX}{os.getpid()}-"):
        shutil.rmtree(folder, ignore_errors=True)


def listen(address: str) -> None:
    """Open METRICS_BIND for the workers to come, or take it over from the master before.

    Raises:
        OSError: the address is taken, or none of this machine's.
    """
    global _listener
    if handed_over := os.environ.pop(_HANDED_OVER, ""):
        _listener = socket.socket(fileno=int(handed_over))
        return
    host, _, port = address.rpartition(":")
    family, _, _, _, place = socket.getaddrinfo(
        host.strip("[]"), int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    # Shared for the seconds in which script/server's old gunicorn and its new one both serve.
    _listener = socket.create_server(place, family=family, backlog=64, reuse_port=True)


def hand_over(environment: dict[str, str]) -> None:
    """Let the master to come, which starts in `environment`, listen on the same socket."""
    if _listener is not None:
        os.set_inheritable(_listener.fileno(), True)
        environment[_HANDED_OVER] = str(_listener.fileno())


def start_worker() -> None:
    """Begin to look around, and to answer scrapes, in threads of this worker."""
    from core.metrics import exposition, sampler

    if sampler.is_wanted():
        sampler.start()
        if _listener is not None:
            exposition.serve(_listener)


def forget_worker(pid: int) -> None:
    """What lived in this worker is no more; what it counted still counts."""
    from prometheus_client.multiprocess import mark_process_dead

    mark_process_dead(pid)
