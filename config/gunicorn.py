"""How gunicorn serves Dockside: `gunicorn -c config/gunicorn.py config.wsgi:application`."""

import os
import sys

from gunicorn.arbiter import Arbiter
from gunicorn.http.errors import InvalidHeader
from gunicorn.http.message import Request
from gunicorn.workers.base import Worker

from config import metrics
from config.logging import gunicorn_logconfig

# A web worker keeps database connections; commands, which load the same settings, need only one.
os.environ.setdefault("DB_POOL", "1")

bind = os.environ.get("BIND") or "127.0.0.1:8000"
worker_class = "gthread"
workers = int(os.environ.get("WEB_CONCURRENCY") or 2)
threads = int(os.environ.get("WEB_THREADS") or 8)
timeout = 60  # longer than the wait for a database connection: the caller shall get its 503
graceful_timeout = 30
keepalive = 5

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
    from core.safety import Unsafe, refuse_unsafe, refuse_unsafe_role

    addresses = [shown(each) for each in server.address if not isinstance(each, int)]
    try:
        refuse_unsafe(addresses)
        refuse_unsafe_role(addresses)
    except Unsafe as unsafe:
        sys.exit(str(unsafe))
    from django.conf import settings

    metrics.empty_folder()
    if settings.METRICS_BIND:
        try:
            metrics.listen(settings.METRICS_BIND)
        except OSError as error:
            sys.exit(f"dockside does not start: METRICS_BIND={settings.METRICS_BIND}: {error}")


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
    """With `--preload`, parent and workers would share one connection's socket."""
    close_connections()


def post_worker_init(worker: Worker) -> None:
    """Fill the pool before the first request, and listen for what the cache shall forget.

    A cold pool counts the first burst of callers as waiting and turns some away. With the database
    away the worker starts all the same: it says "unavailable" until the pool has filled itself.
    """
    from django.db import connection
    from psycopg_pool import PoolTimeout

    from core import cache_listener

    metrics.start_worker()  # first: what is amiss with the database shall be seen
    pool = getattr(connection, "pool", None)
    if pool is not None:
        try:
            pool.open(wait=True, timeout=10)
        except PoolTimeout:
            worker.log.warning("the database is away, its connections are opened later")
    cache_listener.start()


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
    """Refuse a request for no host, and close the connection where a body may stay unread.

    Gunicorn drains less than 64 KiB of what the application left before it closes the connection
    without a word, and the next request on it is lost. What the application says of the connection
    does not count.
    """
    headers = dict(req.headers)
    if "HOST" not in headers and req.version >= (1, 1):
        raise InvalidHeader("HOST", req=req)
    if "TRANSFER-ENCODING" in headers or int(headers.get("CONTENT-LENGTH", 0)) >= 65_536:
        req.force_close()
