"""The embedded servers, each test with data folders of its own."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis

from core.embedded import NOBODY, Postgres, Server, Valkey, has_open
from tests.waiting import eventually

pytestmark = pytest.mark.server

ROOT = Path(__file__).resolve().parents[2]
# What the run of these tests was itself given.
OURS = (
    "DATABASE_URL",
    "DATABASE_OWNER_URL",
    "REDIS_URL",
    "DATA_DIR",
    "SECRET_KEY",
    "SECRET_KEY_FILE",
)
SHOW = "import os; print(os.environ['DATABASE_URL'], os.environ['REDIS_URL'], flush=True)"
HOLD = f"{SHOW}; import sys; sys.stdin.read()"

Run = subprocess.Popen[str]


class Runs:
    """Starts `python -m core.embedded`, and cleans up whatever a test leaves behind."""

    def __init__(self) -> None:
        self.processes: list[Run] = []
        self.folders: set[Path] = set()

    def start(self, folder: Path, code: str, *options: str, **variables: str) -> Run:
        """Run `python -c code` between the servers of `folder`."""
        environment = {name: value for name, value in os.environ.items() if name not in OURS}
        # An empty value stands for "not set", and keeps a developer's .env out.
        environment |= dict.fromkeys(OURS[:3], "") | variables
        command = [sys.executable, "-m", "core.embedded", "--data-dir", str(folder), *options]
        process = subprocess.Popen(
            [*command, "python", "-c", code],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.processes.append(process)
        self.folders.add(folder / "test" if "--for-tests" in options else folder)
        return process

    def hold(self, folder: Path, *options: str) -> tuple[Run, str, str]:
        """A command that keeps its servers until its input ends, and their two URLs."""
        process = self.start(folder, HOLD, *options)
        assert process.stdout is not None
        database_url, redis_url = process.stdout.readline().split()
        return process, database_url, redis_url

    def clean_up(self) -> None:
        for process in self.processes:
            process.kill()
            process.communicate()
        for folder in self.folders:
            for server in (Postgres(folder / "postgres"), Valkey(folder / "valkey")):
                server.stop()


@pytest.fixture
def runs() -> Iterator[Runs]:
    runs = Runs()
    yield runs
    runs.clean_up()


@pytest.fixture(scope="module")
def used_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder that has had its first start, the slow one. Nothing runs in it."""
    runs, folder = Runs(), tmp_path_factory.mktemp("embedded") / "data"
    assert finish(runs.start(folder, SHOW)) == 0
    return folder


def finish(process: Run) -> int:
    process.communicate(timeout=60)
    return process.returncode


def sql(url: str, statement: str) -> list[Any]:
    with psycopg.connect(url, connect_timeout=5) as connection:
        return list(connection.execute(statement).fetchone() or [])


def answers(database_url: str, redis_url: str) -> tuple[bool, bool]:
    """Whether PostgreSQL and Valkey can be worked with under these URLs."""
    results = []
    for ask in (lambda: sql(database_url, "SELECT 1"), lambda: redis.from_url(redis_url).ping()):
        with contextlib.suppress(psycopg.OperationalError, redis.ConnectionError):
            ask()
            results.append(True)
            continue
        results.append(False)
    return results[0], results[1]


def owner_url(folder: Path) -> str:
    return Postgres(folder / "postgres").owner_url()


def server_pids(folder: Path) -> list[int]:
    return [
        Server(folder / "postgres").pid_and_port()[0],
        Server(folder / "valkey").pid_and_port()[0],
    ]


class TestACommandBetweenServers:
    def test_finds_both_and_they_end_with_it(self, runs, used_folder):
        process, *urls = runs.hold(used_folder)
        assert answers(*urls) == (True, True)
        assert finish(process) == 0
        assert answers(*urls) == (False, False)

    def test_starts_again_within_seconds(self, runs, used_folder):
        began = time.monotonic()
        assert finish(runs.start(used_folder, SHOW)) == 0
        assert time.monotonic() - began < 5

    def test_keeps_the_data_of_the_last_time(self, runs, used_folder):
        process, url, _ = runs.hold(used_folder)
        with psycopg.connect(owner_url(used_folder)) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
        finish(process)
        process, url, _ = runs.hold(used_folder)
        assert sql(owner_url(used_folder), "SELECT answer FROM kept") == [42]

    def test_hands_its_exit_code_on(self, runs, used_folder):
        assert finish(runs.start(used_folder, "raise SystemExit(7)")) == 7

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_is_told_of_a_signal_and_may_end_in_its_own_way(self, runs, used_folder, number):
        code = (
            "import signal, sys, time\n"
            f"signal.signal({int(number)}, lambda *_: sys.exit(5))\n"
            f"{SHOW}\n"
            "time.sleep(60)"
        )
        process = runs.start(used_folder, code)
        urls = process.stdout.readline().split()
        process.send_signal(number)
        assert finish(process) == 5
        assert answers(*urls) == (False, False)

    def test_has_a_secret_key_that_stays(self, runs, used_folder):
        code = "import os; print(open(os.environ['SECRET_KEY_FILE']).read())"
        first, second = (runs.start(used_folder, code).communicate()[0] for _ in range(2))
        assert first == second
        assert len(first.strip()) == 64
        assert (used_folder / "SECRET_KEY").stat().st_mode & 0o777 == 0o600

    def test_gets_no_servers_where_both_urls_are_set(self, runs, tmp_path):
        folder = tmp_path / "data"
        urls = {"DATABASE_URL": "postgresql://db.example/x", "REDIS_URL": "redis://cache.example"}
        output, _ = runs.start(folder, SHOW, **urls).communicate()
        assert output.split() == list(urls.values())
        assert sorted(path.name for path in folder.iterdir()) == [
            "SECRET_KEY",
            "start.lock",
            "users.lock",
        ]

    def test_that_cannot_be_found_is_told_in_one_line(self, used_folder, runs):
        command = [
            sys.executable,
            "-m",
            "core.embedded",
            "--data-dir",
            str(used_folder),
            "nonsense",
        ]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert done.stderr.splitlines() == ["dockside: nonsense: No such file or directory"]


class TestTwoCommandsInOneFolder:
    def test_share_the_servers_until_the_last_one_ends(self, runs, used_folder):
        first, *urls = runs.hold(used_folder)
        second, *same_urls = runs.hold(used_folder)
        assert same_urls == urls
        assert finish(first) == 0
        assert answers(*urls) == (True, True)
        assert finish(second) == 0
        assert answers(*urls) == (False, False)

    def test_start_at_once_without_a_collision(self, runs, tmp_path):
        both = [runs.start(tmp_path / "data", HOLD) for _ in range(2)]
        first, second = (process.stdout.readline() for process in both)
        assert first == second != ""


class TestTwoFolders:
    def test_do_not_disturb_each_other(self, runs, used_folder, tmp_path):
        one, *urls_of_one = runs.hold(used_folder)
        _, *urls_of_other = runs.hold(tmp_path / "a folder with spaces")
        assert not set(urls_of_one) & set(urls_of_other)
        assert finish(one) == 0
        assert answers(*urls_of_one) == (False, False)
        assert answers(*urls_of_other) == (True, True)


class TestAfterACrash:
    def test_of_the_supervisor_its_command_ends_and_its_servers_are_taken_over(
        self, runs, used_folder
    ):
        killed, *urls = runs.hold(used_folder)
        pids = server_pids(used_folder)
        (child,) = children_of(killed.pid) - set(pids)
        killed.kill()
        assert eventually(lambda: has_ended(child))
        assert answers(*urls) == (True, True)

        heir, *same_urls = runs.hold(used_folder)
        assert (same_urls, server_pids(used_folder)) == (urls, pids)
        assert finish(heir) == 0
        assert answers(*urls) == (False, False)

    def test_of_everything_nothing_blocks_the_next_start(self, runs, used_folder):
        killed, url, _ = runs.hold(used_folder)
        with psycopg.connect(owner_url(used_folder)) as connection:
            connection.execute("CREATE TABLE survivors ()")
        for pid in (killed.pid, *server_pids(used_folder)):
            os.kill(pid, signal.SIGKILL)
        _, url, redis_url = runs.hold(used_folder)
        assert answers(url, redis_url) == (True, True)
        assert sql(url, "SELECT to_regclass('survivors') IS NOT NULL") == [True]

    def test_a_pid_that_is_now_another_process_s_is_left_alone(self, runs, used_folder):
        # One that PostgreSQL would take for its own kind: of the same user.
        user = NOBODY if os.geteuid() == 0 else None
        with subprocess.Popen(["sleep", "60"], user=user) as bystander:
            (used_folder / "postgres" / "data" / "postmaster.pid").write_text(
                f"{bystander.pid}\n{used_folder / 'postgres' / 'data'}\n1\n1\n\n127.0.0.1\n"
            )
            for name in ("postgres", "valkey"):
                (used_folder / name / "alive.lock").write_text(f"{bystander.pid} 1\n")
            process, *urls = runs.hold(used_folder)
            assert answers(*urls) == (True, True)
            assert finish(process) == 0
            assert bystander.poll() is None
            bystander.kill()

    def test_a_server_that_hangs_is_replaced(self, runs, used_folder, monkeypatch):
        killed, *_ = runs.hold(used_folder)
        killed.kill()
        valkey = Valkey(used_folder / "valkey")
        hanging = valkey.pid_and_port()[0]
        os.kill(hanging, signal.SIGSTOP)

        monkeypatch.setattr("core.embedded.START_SECONDS", 1)
        monkeypatch.setattr("core.embedded.STOP_SECONDS", 0.2)
        assert redis.from_url(valkey.start()).ping()
        assert not has_open(hanging, valkey.lock)
        valkey.stop()

    def test_half_an_initdb_leaves_nothing(self, runs, tmp_path):
        process = runs.start(tmp_path / "data", SHOW, "--for-tests")
        folder = tmp_path / "data" / "test" / "postgres"
        assert eventually(lambda: any(folder.glob("data-*/base")))
        process.kill()
        assert finish(runs.start(tmp_path / "data", SHOW, "--for-tests")) == 0
        assert not list(folder.glob("data-*/PG_VERSION"))


class TestTheRoles:
    @pytest.mark.parametrize(("options", "may_create"), [([], False), (["--for-tests"], True)])
    def test_are_an_owner_and_an_application_and_nothing_more(
        self, runs, used_folder, options, may_create
    ):
        _, url, _ = runs.hold(used_folder, *options)
        owners = owner_url(used_folder / "test" if options else used_folder)
        powers = "SELECT rolsuper, rolbypassrls, rolcreaterole, rolreplication, rolcreatedb"
        held = f"{powers} FROM pg_roles WHERE rolname = current_user"
        assert sql(url, held) == [False] * 5
        assert sql(owners, held) == [False, False, False, False, may_create]
        database = "FROM pg_database WHERE datname = current_database()"
        assert sql(url, f"SELECT pg_get_userbyid(datdba) {database}") == ["dockside_owner"]
        assert sql(url, "SELECT count(*) FROM pg_auth_members WHERE roleid > 16383") == [0]

    def test_are_both_handed_over(self, runs, used_folder):
        code = "import os; print(os.environ['DATABASE_OWNER_URL'].split(':')[1])"
        assert runs.start(used_folder, code).communicate()[0] == "//dockside_owner\n"

    def test_part_where_an_earlier_version_knew_only_one(self, runs, used_folder):
        process, url, _ = runs.hold(used_folder)
        postgres = Postgres(used_folder / "postgres")
        port = postgres.pid_and_port()[1]
        with postgres.superuser(port, "dockside") as connection:
            connection.execute("REASSIGN OWNED BY dockside_owner TO dockside")
        with psycopg.connect(url) as connection:
            connection.execute("CREATE TABLE older (id serial, answer int)")
            connection.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
            connection.execute("INSERT INTO older (answer) VALUES (42)")
        finish(process)

        _, url, _ = runs.hold(used_folder)
        assert sql(url, "INSERT INTO older (answer) SELECT answer FROM older RETURNING id") == [2]
        owned = "(SELECT relowner FROM pg_class UNION ALL SELECT extowner FROM pg_extension)"
        assert sql(url, f"SELECT count(*) FROM {owned} o (o) WHERE o = 'dockside'::regrole") == [0]
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            sql(url, "DROP TABLE older")
        with psycopg.connect(owner_url(used_folder)) as connection:
            connection.execute("DROP TABLE older")

    def test_needs_its_password(self, runs, used_folder):
        _, url, redis_url = runs.hold(used_folder)
        with pytest.raises(psycopg.OperationalError, match="password"):
            sql(url.replace("dockside:", "dockside:x"), "SELECT 1")
        with pytest.raises(redis.AuthenticationError):
            redis.from_url(redis_url.replace("redis://:", "redis://:x")).ping()

    def test_sorts_as_on_every_other_machine(self, runs, used_folder):
        _, url, _ = runs.hold(used_folder)
        facts = "datlocprovider::text, datlocale, pg_encoding_to_char(encoding)"
        found = sql(url, f"SELECT {facts} FROM pg_database WHERE datname = current_database()")
        assert found == ["b", "C.UTF-8", "UTF8"]


def children_of(pid: int) -> set[int]:
    return {int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


def has_ended(pid: int) -> bool:
    """Also true of a process that only its new parent has not looked at yet."""
    try:
        return ") Z " in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return True
