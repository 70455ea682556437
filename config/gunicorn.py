"""How gunicorn serves Dockside: `gunicorn -c config/gunicorn.py config.wsgi:application`."""

import contextlib
import gc
import os
import resource
import sys

import gunicorn
from gunicorn.arbiter import Arbiter
from gunicorn.http.errors import InvalidHeader
from gunicorn.http.message import Request
from gunicorn.workers.base import Worker

# What SIGUSR2 starts would look for modules in gunicorn's own folder, which has a `config` too.
_beside = os.path.dirname(gunicorn.__file__)
sys.path[:] = [os.path.dirname(os.path.dirname(os.path.abspath(__file__)))] + [
    path for path in sys.path if path != _beside
]

from config import metrics  # noqa: E402
from config.logging import gunicorn_logconfig  # noqa: E402

# A web worker keeps database connections; commands, which load the same settings, need only one.
os.environ.setdefault("DB_POOL", "1")

bind = os.environ.get("BIND") or "127.0.0.1:8000"
worker_class = "core.serving.worker.Worker"
workers = int(os.environ.get("WEB_CONCURRENCY") or 2)
threads = int(os.environ.get("WEB_THREADS") or 8)
timeout = 60  # of silence of a whole worker; a request's own time is REQUEST_TIMEOUT_S
graceful_timeout = 30 + int(float(os.environ.get("DRAIN_S") or 0))
keepalive = 5

# Each connection is a file, as are those to the database; without room for another the door shuts.
_, _most = resource.getrlimit(resource.RLIMIT_NOFILE)
_files = 4_096 if _most == resource.RLIM_INFINITY else min(4_096, _most)
resource.setrlimit(resource.RLIMIT_NOFILE, (_files, _most))
worker_connections = _files // 2

# Only Django decides what a proxy may say, by TRUST_PROXY: gunicorn itself would believe whoever
# connects from this machine.
forwarded_allow_ips = ""
secure_scheme_headers: dict[str, str] = {}

limit_request_line = 4094
limit_request_fields = 100
limit_request_field_size = 8190

proc_name = "dockside"
logconfig_dict = gunicorn_logconfig()
control_socket_disable = True  # it would be made in a home folder, which a container may not have
if os.access("/dev/shm", os.W_OK):
    worker_tmp_dir = "/dev/shm"  # on a slow disk a heartbeat can come too late

metrics.prepare_folder()


def on_starting(server: Arbiter) -> None:
    """Stop in one line per reason, before a worker is tried; the address may be none of BIND's."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    from core.postgres.room import refuse_too_many
    from core.safety import Unsafe, refuse_unsafe, refuse_unsafe_role

    addresses = [shown(each) for each in server.address if not isinstance(each, int)]
    try:
        refuse_unsafe(addresses)
        refuse_unsafe_role(addresses)
        refuse_too_many(server.cfg.workers)
    except Unsafe as unsafe:
        sys.exit(str(unsafe))
    from django.conf import settings

    load_application(server)
    metrics.empty_folder()
    if settings.METRICS_BIND:
        try:
            metrics.listen(settings.METRICS_BIND)
        except OSError as error:
            sys.exit(f"dockside does not start: METRICS_BIND={settings.METRICS_BIND}: {error}")


def load_application(server: Arbiter) -> None:
    """Load it once, here: a worker that replaces another is a fork, which serves at once.

    Loading takes a second or two of a processor, which the worker that is left needs itself. This
    is `preload_app`, but after the refusals above: those are told in a line each.
    """
    server.app.wsgi()
    from core.health import expected_migrations

    expected_migrations()  # by reading all of them
    gc.collect()
    gc.freeze()  # what is there now stays: looking at it again would copy its pages


def pre_exec(server: Arbiter) -> None:
    """USR2: the next master of the same house is about to start."""
    metrics.hand_over(server.cfg.env_orig)


def shown(address: str | tuple[str, int]) -> str:
    """`host:port`, or the path of a Unix socket."""
    if isinstance(address, str):
        return address
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def pre_fork(server: Arbiter, worker: Worker) -> None:
    """Parent and workers would share a connection's socket, if loading had opened one."""
    close_connections()


def post_worker_init(worker: Worker) -> None:
    """Connect before the first request, listen for what the cache shall forget, tell who waits.

    With the database away the worker starts all the same: it says "unavailable" until the pool has
    filled itself.
    """
    from django.db import connections

    from core import cache_listener, health
    from core.postgres.base import DatabaseWrapper

    metrics.start_worker()  # first: what is amiss with the database shall be seen

    database = connections["default"]
    assert isinstance(database, DatabaseWrapper)
    if not database.warm_pool(patience_s=3):
        worker.log.warning("the database is away, its connections are opened later")
    cache_listener.start()
    health.database.ask()
    keep_what_is_loaded()
    if descriptor := os.environ.get("READY_FD"):  # script/server waits for its workers
        with contextlib.suppress(OSError):  # it has what it waited for, or is gone
            os.write(int(descriptor), b".")


def keep_what_is_loaded() -> None:
    """Let Python's collector of cycles leave alone what is loaded for good, and come less often.

    It would look through all code and every model again and again, in the middle of requests.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)


def child_exit(server: Arbiter, worker: Worker) -> None:
    metrics.forget_worker(worker.pid)


def worker_exit(server: Arbiter, worker: Worker) -> None:
    """Say goodbye to PostgreSQL, instead of leaving it to notice."""
    close_connections()


def close_connections() -> None:
    from django.apps import apps
    from django.db import connections
    from django.db.backends.postgresql.base import DatabaseWrapper

    if apps.ready:
        for connection in connections.all(initialized_only=True):
            connection.close()
            if isinstance(connection, DatabaseWrapper):
                connection.close_pool()


def pre_request(worker: Worker, req: Request) -> None:
    """Refuse a request for no host."""
    if req.version >= (1, 1) and not any(name == "HOST" for name, _ in req.headers):
        raise InvalidHeader("HOST", req=req)
