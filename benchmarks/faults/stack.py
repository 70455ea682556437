"""PostgreSQL, Valkey, an organization with orders, and real servers in front of them.

Everything stands in a temporary folder and ends with the `with`. Each fault program starts a server
of its own, as production does: gunicorn with `config/gunicorn.py`.
"""

import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.faults.load import Answer, Client, Request, Tally, ask
from benchmarks.faults.processes import children, descendants
from core.embedded import Postgres, Valkey, free_port

ROOT = Path(__file__).resolve().parents[2]
PASSWORD = "a-password-of-the-benchmark"
READY_SECONDS = 60.0
STOP_SECONDS = 45.0
API = "/api/v1"


class OwnPostgres(Postgres):
    """The embedded PostgreSQL, which here also comes back on the port that it had."""

    def begin(self) -> None:
        self.start()
        self.port = self.pid_and_port()[1]

    def come_back(self) -> None:
        self.prepare()
        self.spawn(self.port)
        if not self.answers_in_time(self.port):
            raise RuntimeError(f"PostgreSQL does not come back: {self.last_words()}")

    def restart(self) -> None:
        """As `pg_ctl restart -m fast` does."""
        self.stop()
        self.come_back()


class OwnValkey(Valkey):
    """The embedded Valkey, which here also comes back on the port that it had."""

    def begin(self) -> None:
        self.start()
        self.port = self.pid_and_port()[1]

    def come_back(self) -> None:
        self.spawn(self.port)
        if not self.answers_in_time(self.port):
            raise RuntimeError(f"Valkey does not come back: {self.last_words()}")


@dataclass
class World:
    """The ids of what there is to ask for."""

    organization: str
    terminals: list[str]
    drivers: list[str]
    trucks: list[str]
    orders: list[str] = field(default_factory=list)


@dataclass
class Stack:
    """Where the parts are. `postgres` is None where somebody else's database is used."""

    folder: Path
    database_url: str
    postgres: OwnPostgres | None
    valkey: OwnValkey
    secret_key: str
    world: World
    token: str = ""

    def environment(self, **more: str) -> dict[str, str]:
        left_out = {"DJANGO_SETTINGS_MODULE", "SECRET_KEY_FILE", "DATABASE_URL_FILE", "LOG_LEVEL"}
        return {
            **{name: value for name, value in os.environ.items() if name not in left_out},
            "DATABASE_URL": self.database_url,
            "DATABASE_OWNER_URL": self.postgres.owner_url() if self.postgres else "",
            "REDIS_URL": self.valkey.url(self.valkey.port),
            "SECRET_KEY": self.secret_key,
            "DATA_DIR": str(self.folder),
            "LOG_FORMAT": "json",
            "ACCESS_TOKEN_MINUTES": "1000",  # a soak outlives a token
            "PYTHONWARNINGS": "ignore::UserWarning",
            **more,
        }

    def manage(self, *arguments: str, **variables: str) -> str:
        """Run a management command; its output."""
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env=self.environment(**variables),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"manage.py {arguments[0]}: {done.stderr.strip()[-2000:]}")
        return done.stdout

    @contextlib.contextmanager
    def sql(self) -> Iterator["psycopg.Connection[Any]"]:
        """A connection beside the server's: a superuser's of our PostgreSQL, or the owner's."""
        if self.postgres is not None:
            with self.postgres.superuser(self.postgres.port, "dockside") as connection:
                yield connection
        else:
            url = os.environ.get("DATABASE_OWNER_URL") or self.database_url
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute("SET dockside.everyone = 'on'")
                yield connection

    def count(self, query: str, *parameters: Any) -> int:
        with self.sql() as connection:
            row = connection.execute(query, parameters or None).fetchone()  # type: ignore[call-overload]
        return int(row[0])

    @contextlib.contextmanager
    def server(
        self,
        *,
        database_port: int | None = None,
        cache_port: int | None = None,
        workers: int = 2,
        threads: int = 8,
        supervised: bool = False,
        **variables: str,
    ) -> Iterator["Server"]:
        """gunicorn, reaching PostgreSQL and Valkey by other ports (a proxy's) where given.

        A `supervised` one is run by the command behind `script/server`, which knows how to deploy.
        """
        variables |= {"WEB_CONCURRENCY": str(workers), "WEB_THREADS": str(threads)}
        if database_port:
            variables["DATABASE_URL"] = with_port(self.database_url, database_port)
        if cache_port:
            variables["REDIS_URL"] = with_port(self.valkey.url(self.valkey.port), cache_port)
        server = Server(self, self.environment(**variables), supervised=supervised)
        try:
            server.start()
            if not self.token:
                self.token = server.sign_in()
            yield server
        finally:
            server.end()

    def add_orders(self, wanted: int) -> None:
        """Have at least so many orders, written by one statement and without their history."""
        with self.sql() as connection:
            if self.postgres is not None:
                connection.execute("SET session_replication_role = replica")
            have = connection.execute(COUNT_ORDERS, [self.world.organization]).fetchone()
            missing = wanted - (have[0] if have else 0)
            if missing > 0:
                values = [self.world.organization, self.world.terminals, secrets.token_hex(3)]
                # An index is built much faster than it is kept while rows come in.
                many = missing > 20_000 and self.postgres is not None
                indexes = connection.execute(INDEXES).fetchall() if many else []
                for name, _ in indexes:
                    connection.execute(f"DROP INDEX {name}")
                connection.execute(ADD_ORDERS, [*values, missing])
                for _, definition in indexes:
                    connection.execute(definition)
                connection.execute(
                    "VACUUM ANALYZE orders_order" if many else "ANALYZE orders_order"
                )
            rows = connection.execute(SOME_ORDERS, [self.world.organization]).fetchall()
        self.world.orders = [str(row[0]) for row in rows]


COUNT_ORDERS = "SELECT count(*) FROM orders_order WHERE organization_id = %s"
SOME_ORDERS = """
SELECT id FROM orders_order WHERE organization_id = %s ORDER BY id DESC LIMIT 2000
"""
INDEXES = """
SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'orders_order'
AND NOT EXISTS (SELECT FROM pg_constraint WHERE conname = indexname)
"""
ADD_ORDERS = """
WITH given AS (SELECT %s::uuid AS organization, %s::uuid[] AS terminals, %s::text AS run)
INSERT INTO orders_order (
  id, organization_id, terminal_id, reference, service, priority, notes, status, version,
  eta_date, etd_date, eta_driver_name, eta_driver_phone, eta_truck_plate, eta_trailer_plate,
  etd_driver_name, etd_driver_phone, etd_truck_plate, etd_trailer_plate, cancel_reason,
  pallets, kilos, commodity, created_at, updated_at)
SELECT gen_random_uuid(), organization, terminals[1 + n %% cardinality(terminals)],
  'L-' || run || '-' || n, 'cross_dock', n %% 10 = 0, 'Keep cold', 'planned', 1,
  date '2026-01-01' + n %% 600, date '2026-01-02' + n %% 600, 'Kari Nordmann', '',
  'AB' || 10000 + n %% 90000, '', '', '', '', '', '', n %% 33, n %% 20000, 'salmon', at, at
FROM given, generate_series(1, %s) AS n,
  LATERAL (SELECT now() - interval '1 second' * n AS at) AS clock
"""


def with_port(url: str, port: int) -> str:
    head, _, tail = url.rpartition("@")
    return f"{head}@127.0.0.1:{port}/{tail.partition('/')[2]}"


class Server:
    """One gunicorn, or the command that runs it; `pid` is the first process."""

    def __init__(self, stack: Stack, environment: dict[str, str], *, supervised: bool) -> None:
        self.stack, self.environment, self.supervised = stack, environment, supervised
        self.port = free_port()
        self.log = stack.folder / f"server-{self.port}.log"
        self.pid = 0
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = ["manage.py", "server"]
        if not self.supervised:
            command = ["-m", "gunicorn", "-c", "config/gunicorn.py", "config.wsgi"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, *command],
                cwd=ROOT,
                env=self.environment | {"BIND": f"127.0.0.1:{self.port}", "DEMO": "0"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self.pid = self.process.pid
        deadline = time.monotonic() + READY_SECONDS
        while not self.is_ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"gunicorn does not start: {self.log.read_text()[-2000:]}")
            time.sleep(0.1)

    def is_ready(self) -> bool:
        address = f"http://127.0.0.1:{self.port}{API}/health/ready"
        with contextlib.suppress(OSError):
            return bool(urllib.request.urlopen(address, timeout=3).status == 200)
        return False

    def end(self) -> None:
        """Stop whatever still runs of it, by force if it takes long."""
        if self.process is None or not is_running(self.pid):
            return
        os.kill(self.pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        while is_running(self.pid):
            if time.monotonic() > deadline:
                for pid in (self.pid, *descendants(self.pid)):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)

    @property
    def workers(self) -> list[int]:
        return children(self.pid)

    def client(self, timeout_s: float = 30.0) -> Client:
        return Client(self.port, self.stack.token, timeout_s)

    def ask(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        *,
        timeout_s: float = 30.0,
        headers: tuple[str, ...] = (),
    ) -> Answer:
        """One request on a connection of its own; what has no version is below /api/v1."""
        request = Request(method, f"{API}{path}", body, keep=False, headers=headers)
        return ask(self.client(timeout_s), request).answers[0]

    def ask_all(self, *requests: Request, at_once: int = 1, timeout_s: float = 30.0) -> Tally:
        return ask(self.client(timeout_s), *requests, at_once=at_once)

    def sign_in(self) -> str:
        answer = self.ask("POST", "/auth/token", {"username": "fault", "password": PASSWORD})
        if answer.status != 200:
            raise RuntimeError(f"signing in: {answer.status} {answer.error} {answer.body!r}")
        return str(answer.json()["access"])

    def logged(self, level: str = "error") -> list[dict[str, Any]]:
        """The lines of its log on this level."""
        lines = []
        for line in self.log.read_text(errors="replace").splitlines():
            with contextlib.suppress(ValueError):
                lines.append(json.loads(line))
        return [line for line in lines if isinstance(line, dict) and line.get("level") == level]


def is_running(pid: int) -> bool:
    """Whether it is there and no zombie; a zombie that is ours is taken away."""
    with contextlib.suppress(ChildProcessError):
        return os.waitpid(pid, os.WNOHANG)[0] == 0
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@contextlib.contextmanager
def stack(database_url: str = "", orders: int = 1000) -> Iterator[Stack]:
    """Start the parts, migrate, and make an organization with so many orders.

    With `database_url` a migrated database is used that somebody else looks after; its server is
    neither stopped nor started, and the organization stays in it.
    """
    with tempfile.TemporaryDirectory(prefix="dockside-faults-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # the servers of root run as nobody
        postgres = None if database_url else OwnPostgres(folder / "postgres")
        valkey = OwnValkey(folder / "valkey")
        try:
            valkey.begin()
            if postgres is not None:
                postgres.begin()
                database_url = postgres.url(postgres.port)
            empty = World("", [], [], [])
            made = Stack(folder, database_url, postgres, valkey, secrets.token_hex(32), empty)
            if postgres is not None:
                made.manage("migrate", "--verbosity", "0")
            furnish(made)
            made.add_orders(orders)
            yield made
        finally:
            valkey.stop()
            if postgres is not None:
                postgres.stop()


def furnish(stack: Stack) -> None:
    """An organization with three terminals, a small fleet, and the user `fault`."""
    slug = f"fault-{secrets.token_hex(4)}" if stack.postgres is None else "fault"
    stack.manage("create_organization", slug, "--name", f"Fault {slug}")
    who = ["create_user", "fault", "--organization", slug, "--role", "admin"]
    stack.manage(*who, PASSWORD=PASSWORD)
    with stack.sql() as connection:
        find = "SELECT id FROM core_organization WHERE slug = %s"
        (organization,) = connection.execute(find, [slug]).fetchone()  # type: ignore[misc]

        def add(table: str, columns: str, rows: str) -> list[str]:
            made = connection.execute(  # type: ignore[call-overload]
                f"INSERT INTO {table} (id, organization_id, is_active, {columns})"
                f" SELECT gen_random_uuid(), %s, true, {rows} FROM generate_series(1, 3) AS n"
                " RETURNING id",
                [organization],
            )
            return [str(row[0]) for row in made.fetchall()]

        stack.world = World(
            str(organization),
            add(
                "terminals_terminal",
                "name, account_code, address, timezone",
                "'Terminal ' || n, 'T' || n, '', 'Europe/Oslo'",
            ),
            add("fleet_driver", "name, phone", "'Driver ' || n, '+4790000' || 100 + n"),
            add(
                "fleet_truck",
                "license_plate, plate_country, name",
                "'AB1234' || n, 'NO', ''",
            ),
        )
