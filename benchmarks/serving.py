"""Starts what benchmarks measure: PostgreSQL and Valkey, loaded databases, web servers.

Everything is kept in `.dockside/benchmarks`, so that a second run loads nothing twice. The web
server has one core to itself; PostgreSQL, Valkey and the client share the others.
"""

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import data  # noqa: E402
from core import embedded  # noqa: E402

DATA_DIR = ROOT / ".dockside" / "benchmarks"
READY_SECONDS, STOP_SECONDS = 60.0, 40.0
PEERS_ROLE = "peers"  # reads past row-level security, which the peers know nothing of
CORES = sorted(os.sched_getaffinity(0))
SERVER_CORES, OTHER_CORES = (CORES[:1], CORES[1:]) if len(CORES) > 1 else (CORES, CORES)
PR_SET_PDEATHSIG = 1
TICKS = os.sysconf("SC_CLK_TCK")


def progress() -> Progress:
    """A bar on standard error; figures go to standard output."""
    from rich.console import Console

    columns = (TextColumn("{task.description:>28}"), BarColumn(), MofNCompleteColumn())
    return Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True))


# ---------------------------------------------------------------------------------- the databases


class Machine:
    """PostgreSQL and Valkey of the benchmarks, while the `with` of `machine()` lasts."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self.variables = dict(variables)
        self.redis_url = variables["REDIS_URL"]
        self.secret_key = Path(variables["SECRET_KEY_FILE"]).read_text().strip()
        self.postgres = embedded.Postgres(DATA_DIR / "postgres")
        self.postmaster, self.port = self.postgres.pid_and_port()
        for pid in (self.postmaster, *children(self.postmaster)):
            pin(pid, OTHER_CORES)
        valkey = embedded.Valkey(DATA_DIR / "valkey").pid_and_port()[0]
        pin(valkey, OTHER_CORES)

    def superuser(self, database: str) -> Any:
        """A connection (as a `with`) that no row-level security holds."""
        return self.postgres.superuser(self.port, database)

    def url(self, database: str) -> str:
        """As Dockside connects, as a role that row-level security holds."""
        return self.postgres.url(self.port).rpartition("/")[0] + f"/{database}"

    def peers_url(self, database: str) -> str:
        """As peers connect: past row-level security."""
        password = embedded.secret(DATA_DIR / "peers-password")
        return f"postgresql://{PEERS_ROLE}:{password}@127.0.0.1:{self.port}/{database}"

    def environment(self, database: str, **changes: str) -> dict[str, str]:
        """Dockside's variables: production settings, one worker of eight threads."""
        kept = {"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8"}
        return kept | {
            "DATABASE_URL": self.url(database),
            "REDIS_URL": self.redis_url,
            "SECRET_KEY": self.secret_key,
            "DATA_DIR": str(DATA_DIR),
            "DJANGO_SETTINGS_MODULE": "config.settings",
            "WEB_CONCURRENCY": "1",
            "WEB_THREADS": "8",
            "LOG_FORMAT": "json",
            "ACCESS_TOKEN_MINUTES": "600",
            **changes,
        }

    def database(self, orders: int) -> str:
        """The name of a database with that many orders: migrated, and loaded unless it is there."""
        name = f"benchmark_{orders}"
        told = f"form {data.FORM}: {orders} orders"
        with self.superuser("postgres") as connection:
            found = connection.execute(
                "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s",
                [name],
            ).fetchone()
            if found and found != (told,):
                connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
            if found != (told,):
                connection.execute(f"CREATE DATABASE {name} OWNER dockside")
        manage = [sys.executable, str(ROOT / "manage.py"), "migrate", "--verbosity", "0"]
        subprocess.run(manage, check=True, env=self.environment(name), cwd=ROOT)
        if found != (told,):
            with progress() as bar, self.superuser(name) as connection:
                task = bar.add_task(f"loading {orders:,} orders", total=int(orders * 3.2))
                data.load_fast(connection, orders, lambda n: bar.advance(task, n))
                comment = sql.SQL("COMMENT ON DATABASE {} IS {}")
                connection.execute(comment.format(sql.Identifier(name), sql.Literal(told)))
        with self.superuser(name) as connection:
            self.let_peers_in(connection)
        return name

    def let_peers_in(self, connection: psycopg.Connection) -> None:
        found = connection.execute("SELECT FROM pg_roles WHERE rolname = %s", [PEERS_ROLE])
        if not found.rowcount:
            password = sql.Literal(embedded.secret(DATA_DIR / "peers-password"))
            role = sql.SQL("CREATE ROLE {} LOGIN BYPASSRLS PASSWORD {}")
            connection.execute(role.format(sql.Identifier(PEERS_ROLE), password))
        for what in ("TABLES", "SEQUENCES"):
            connection.execute(f"GRANT ALL ON ALL {what} IN SCHEMA public TO {PEERS_ROLE}")


@contextlib.contextmanager
def machine() -> Iterator[Machine]:
    """PostgreSQL and Valkey, stopped at the end unless another benchmark still uses them."""
    for name in embedded.OPTIONAL:  # never somebody's own servers
        os.environ.pop(name, None)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with embedded.servers(DATA_DIR) as variables:
        yield Machine(variables)


# -------------------------------------------------------------------------------- the web servers


@dataclass
class Server:
    """A web server that answers."""

    name: str
    port: int
    process: subprocess.Popen[bytes]

    @property
    def workers(self) -> list[int]:
        """The processes that answer: the children of a master, or the process itself."""
        return children(self.process.pid) or [self.process.pid]

    def request(
        self, method: str, path: str, token: str = "", body: Any = None
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers (in lower case) and body of one request."""
        asking = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        if body is not None:
            body, headers["Content-Type"] = json.dumps(body), "application/json"
        try:
            asking.request(method, path, body=body, headers=headers)
            answer = asking.getresponse()
            told = {name.lower(): value for name, value in answer.getheaders()}
            return answer.status, told, answer.read()
        finally:
            asking.close()


@contextlib.contextmanager
def serve(name: str, command: Sequence[str], environment: Mapping[str, str]) -> Iterator[Server]:
    """Run a web server until the end of the `with`.

    `{fd}` in the command is the socket that it listens on. Its log is NAME.log in DATA_DIR.
    """
    with socket.create_server(("127.0.0.1", 0), backlog=2048) as listener:
        listener.set_inheritable(True)
        # uvicorn takes a socket that it is handed for a Unix one and would leave this out: every
        # answer then waited for the client's delayed acknowledgement, 40 ms.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        port = int(listener.getsockname()[1])
        with (DATA_DIR / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                [part.format(fd=listener.fileno()) for part in command],
                cwd=ROOT,
                env={"PYTHONPATH": str(ROOT), **environment},
                pass_fds=[listener.fileno()],
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=ends_with_us,
            )
    server = Server(name, port, process)
    try:
        pin(process.pid, SERVER_CORES)
        wait_until_ready(server)
        yield server
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def ends_with_us() -> None:
    """In a server's process: a benchmark that is killed leaves none behind."""
    if embedded.libc:
        embedded.libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


def wait_until_ready(server: Server) -> None:
    deadline = time.monotonic() + READY_SECONDS
    told: object = "no answer"
    while time.monotonic() < deadline:
        if server.process.poll() is not None:
            break
        try:
            told = server.request("GET", "/api/v1/health/ready")[0]
        except (OSError, http.client.HTTPException) as error:
            told = error
        if told == 200:
            return
        time.sleep(0.05)
    raise SystemExit(f"{server.name} does not serve: {told}, {DATA_DIR / server.name}.log says why")


GUNICORN = [sys.executable, "-P", "-m", "gunicorn", "--bind", "fd://{fd}"]


def serve_ours(
    on: Machine, database: str, name: str = "ours", **changes: str
) -> contextlib.AbstractContextManager[Server]:
    """Dockside as it runs in production; `changes` are variables that differ."""
    command = [*GUNICORN, "-c", str(ROOT / "config" / "gunicorn.py"), "config.wsgi:application"]
    return serve(name, command, on.environment(database, **changes))


def sign_in(server: Server) -> str:
    """An access token of the loaded user, by the front door of ours."""
    body = {"username": data.USERNAME, "password": data.PASSWORD}
    status, _, answer = server.request("POST", "/api/v1/auth/token", body=body)
    if status != 200:
        raise SystemExit(f"{server.name}: cannot sign in: {status} {answer[:200]!r}")
    return str(json.loads(answer)["access"])


# ----------------------------------------------------------------------------------- the processes


def pin(pid: int, cores: Sequence[int]) -> None:
    """Keep a process, and those it starts from now on, on these cores."""
    with contextlib.suppress(ProcessLookupError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            os.sched_setaffinity(int(task.name), cores)


def children(pid: int) -> list[int]:
    with contextlib.suppress(FileNotFoundError):
        tasks = Path(f"/proc/{pid}/task").iterdir()
        return [int(each) for task in tasks for each in (task / "children").read_text().split()]
    return []


def cpu_seconds(pid: int, *, with_children: bool = False) -> float:
    """CPU time that a process has used, and its children, ended ones included, if asked for."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        return 0.0
    used = sum(map(int, fields[11:15] if with_children else fields[11:13])) / TICKS
    return used + sum(map(cpu_seconds, children(pid))) if with_children else used
