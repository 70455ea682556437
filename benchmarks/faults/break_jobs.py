"""The worker that reads documents is killed, and so is the server that takes them in: R36."""

import contextlib
import http.client
import itertools
import os
import random
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

from benchmarks.faults.processes import seconds_until
from benchmarks.faults.report import Bars
from benchmarks.faults.stack import API, ROOT, STOP_SECONDS, Server, Stack

IN_A_FORM = 10
KILLS_OF_THE_SERVER = 5
ROLLED_BACK = 100
STALLED_S = 2.0  # so soon a killed worker's jobs wait again

# Each time that a reading is written down as done, again where it was done already. Owned by a
# superuser: nobody's wall hides rows.
COUNT_EFFECTS = """
CREATE TABLE fault_effects (document_id uuid NOT NULL);
CREATE FUNCTION fault_effect() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN INSERT INTO public.fault_effects VALUES (NEW.document_id); RETURN NULL; END $$;
CREATE TRIGGER fault_effect AFTER UPDATE ON documents_orderdocumenttext FOR EACH ROW
WHEN (NEW.status = 'done') EXECUTE FUNCTION fault_effect()
"""
# Refuses at COMMIT: by then the file is stored and the job enqueued.
REFUSE_COMMITS = """
CREATE FUNCTION fault_commit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'no commit today' USING ERRCODE = 'disk_full'; END $$;
CREATE CONSTRAINT TRIGGER fault_commit AFTER INSERT ON documents_orderdocument
DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION fault_commit()
"""
TAKE_AWAY = """
DROP TRIGGER IF EXISTS {name} ON {table}; DROP FUNCTION IF EXISTS {name}();
"""
_numbers = itertools.count(1)


def jobs_killed(stack: Stack, bars: Bars, count: int = 1000) -> None:
    """R36: so many readings, while their worker is killed once for each twenty of them."""
    with stack.sql() as connection:
        connection.execute(COUNT_EFFECTS)
    try:
        with stack.server(LIMIT_UPLOAD="1000000/minute") as server:
            roll_back(stack, bars, server)
            send(stack, bars, server, count)
        read(stack, bars, count // 20)
        judge(stack, bars, count)
    finally:
        with stack.sql() as connection:
            text = "documents_orderdocumenttext"
            connection.execute(TAKE_AWAY.format(name="fault_effect", table=text))
            connection.execute("DROP TABLE fault_effects")


def roll_back(stack: Stack, bars: Bars, server: Server) -> None:
    """Uploads whose transactions fail at the very end."""
    bars.doing(f"{ROLLED_BACK} transactions that enqueue are rolled back")
    before = jobs(stack)
    with stack.sql() as connection:
        connection.execute(REFUSE_COMMITS)
    try:
        statuses = [upload(server, stack.world.orders[0], papers(1)) for _ in range(ROLLED_BACK)]
    finally:
        with stack.sql() as connection:
            table = "documents_orderdocument"
            connection.execute(TAKE_AWAY.format(name="fault_commit", table=table))
    told = f"{statuses.count(503)} × 503"
    bars.exactly("R36", "uploads that could not commit", told, f"{ROLLED_BACK} × 503")
    bars.exactly("R36", "jobs that they left", jobs(stack) - before, 0)
    bars.exactly("R36", "files that they left", len(files(stack)), 0)


def send(stack: Stack, bars: Bars, server: Server, count: int) -> None:
    """Upload them, and kill the server now and then: between COMMIT and the answer, too."""
    bars.doing(f"{count} uploads, and {KILLS_OF_THE_SERVER} kills of the server")
    forms = [papers(IN_A_FORM) for _ in range(count // IN_A_FORM)]
    kills = {(n + 1) * len(forms) // (KILLS_OF_THE_SERVER + 1) for n in range(KILLS_OF_THE_SERVER)}
    for number, form in enumerate(forms):
        order = stack.world.orders[number % len(stack.world.orders)]
        killer = kill_soon(server) if number in kills else contextlib.nullcontext()
        with killer:
            status = upload(server, order, form)
        while status not in (201, 207):  # 207: what was kept before is a duplicate now
            seconds_until(server.is_ready, 20)
            status = upload(server, order, form)


@contextlib.contextmanager
def kill_soon(server: Server) -> Iterator[None]:
    """A process that kills the workers while the form is on its way, or just kept."""
    pause = random.uniform(0.02, 0.6)
    code = f"import os, time; time.sleep({pause}); [os.kill(p, 9) for p in {server.workers}]"
    with subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL):
        yield


def read(stack: Stack, bars: Bars, kills: int) -> None:
    """Let workers read; each but the last is killed in the middle of its work."""
    for number in range(kills):
        bars.doing(f"kill {number + 1} of {kills}")
        with worker(stack) as process:
            before = effects(stack)
            seconds_until(lambda n=before: effects(stack) > n or not waiting(stack), 30)  # type: ignore[misc]
            time.sleep(random.uniform(0, 0.5))
            process.send_signal(signal.SIGKILL)
    bars.doing("the last worker reads what is left")
    with worker(stack):
        took = seconds_until(lambda: not waiting(stack), 900)
    bars.note("R36", f"read in {took:.0f} s after the last of {kills} kills")


@contextlib.contextmanager
def worker(stack: Stack) -> Iterator["subprocess.Popen[bytes]"]:
    with (stack.folder / "worker.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "manage.py", "worker"],
            cwd=ROOT,
            env=stack.environment(WORKER_STALLED_S=str(STALLED_S)),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(STOP_SECONDS)


def judge(stack: Stack, bars: Bars, count: int) -> None:
    documents = stack.count("SELECT count(*) FROM documents_orderdocument")
    bars.exactly("R36", "documents", documents, count)
    read_ = stack.count("SELECT count(DISTINCT document_id) FROM fault_effects")
    bars.exactly("R36", "of these read", read_, count)
    bars.exactly("R36", "readings that had their effect twice", effects(stack) - read_, 0)
    bars.exactly("R36", "jobs left", jobs(stack), 0)
    tried = "SELECT count(*) FROM documents_orderdocumenttext WHERE attempts > 1"
    bars.note("R36", f"begun more than once, for a killed worker: {stack.count(tried)}")
    told = stack.manage("check_documents")
    bars.note("R36", told.strip().splitlines()[-1])


def papers(count: int) -> list[tuple[str, bytes]]:
    """Names and contents of small text files that were never sent before."""
    numbers = [next(_numbers) for _ in range(count)]
    return [(f"{n}.txt", f"Consignment {n}, {secrets.token_hex(20)}".encode()) for n in numbers]


def upload(server: Server, order: str, form: list[tuple[str, bytes]]) -> int:
    """Send one form; its status, 0 without an answer."""
    line = secrets.token_hex(12)
    head = '--{}\r\nContent-Disposition: form-data; name="{}"{}\r\n\r\n'
    parts = [head.format(line, "type", "").encode() + b"other\r\n"]
    for name, content in form:
        parts.append(head.format(line, "file", f'; filename="{name}"').encode() + content + b"\r\n")
    asking = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    try:
        asking.request(
            "POST",
            f"{API}/orders/{order}/documents",
            b"".join(parts) + f"--{line}--\r\n".encode(),
            {
                "Authorization": f"Bearer {server.stack.token}",
                "Content-Type": f"multipart/form-data; boundary={line}",
            },
        )
        answer = asking.getresponse()
        answer.read()
        return answer.status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        asking.close()


def files(stack: Stack) -> list[str]:
    """What lies in the storage."""
    folder = stack.folder / "documents"
    return [name for _, _, names in os.walk(folder) for name in names]


def jobs(stack: Stack) -> int:
    return stack.count("SELECT count(*) FROM procrastinate_jobs")


def waiting(stack: Stack) -> int:
    return stack.count("SELECT count(*) FROM procrastinate_jobs WHERE status IN ('todo', 'doing')")


def effects(stack: Stack) -> int:
    return stack.count("SELECT count(*) FROM fault_effects")


PROGRAMS = {"jobs_killed": jobs_killed}
