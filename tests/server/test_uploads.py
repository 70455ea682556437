"""Uploads to a real server: what is too large, cut or killed leaves nothing behind."""

import itertools
import json
import os
import re
import signal
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.documents import files
from tests.documents.test_hostile_files import POLYGLOTS, REFUSED, WRONG_CONTENT
from tests.orders.bodies import order_body
from tests.server.conftest import PATIENCE_S
from tests.waiting import eventually

pytestmark = [pytest.mark.server, pytest.mark.django_db]

MB = 1_048_576
START = b'--B\r\nContent-Disposition: form-data; name="type"\r\n\r\ncmr\r\n--B\r\n'
START += b'Content-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\n'
END = b"\r\n--B--\r\n"
HOSTILE_NAMES = ["n" * 300, "../../etc/passwd", "..\\..\\boot", "\u202efdp.exe"]


@pytest.fixture(scope="module", autouse=True)
def data_dir(tmp_path_factory):
    """Where the server of this module keeps its files, finished or not."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "documents").mkdir()
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("DATA_DIR", str(folder))
        patched.setenv("TMPDIR", str(folder))
        patched.setenv("LIMIT_UPLOAD", "1000/minute")
        yield folder


def ask(server, method: str, path: str, body: bytes = b""):
    head = server.head(
        method, path, "Content-Type: application/json", f"Content-Length: {len(body)}"
    )
    with server.wire() as wire:
        return wire.send(head, body).answer(has_body=method != "DELETE")


@pytest.fixture
def address(server):
    """Where the documents of a new order are, which is gone afterwards with all of them."""
    order = order_body(server.terminal)
    order["reference"] = f"UP-{next(_numbers)}"
    made = ask(server, "POST", "/api/v1/orders", json.dumps(order).encode())
    path = made.headers["location"]
    yield f"{path}/documents"
    assert ask(server, "DELETE", path).status == 204


_numbers = itertools.count()


@pytest.fixture
def left(server, data_dir, address):
    """How many files there are, and how many documents."""

    def count() -> tuple[int, int]:
        rows = ask(server, "GET", address).json()["total"]
        return sum(path.is_file() for path in data_dir.rglob("*")), rows

    return count


def post(server, address, body: bytes, *headers: str, length: int | None = None) -> str:
    declared = len(body) if length is None else length
    return server.head(
        "POST",
        address,
        "Content-Type: multipart/form-data; boundary=B",
        *(headers or (f"Content-Length: {declared}",)),
    )


def memory_of(process: int) -> int:
    status = Path(f"/proc/{process}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1_024  # the most it ever had


def workers() -> list[int]:
    """The processes that serve, by what the master is the parent of."""
    listed = subprocess.run(["ps", "-eo", "pid,ppid,args"], capture_output=True, text=True).stdout
    rows = [line.split(None, 2) for line in listed.splitlines()[1:]]
    masters = {
        pid for pid, parent, args in rows if parent == str(os.getpid()) and "gunicorn" in args
    }
    return [int(pid) for pid, parent, _ in rows if parent in masters]


class TestTheLimit:
    def test_is_ten_megabytes_to_the_byte(self, server, address, left):
        for size, status in ((10 * MB, 201), (10 * MB + 1, 413), (11 * MB, 413)):
            body = START + (b"x" * 99 + b"\n") * (size // 100 + 1)
            body = body[: len(START) + size] + END
            with server.wire() as wire:
                answer = wire.send(post(server, address, body), body).answer()
                assert answer.status == status, answer.body
        assert left() == (1, 1)

    @pytest.mark.parametrize("length", [60 * MB, 10**12])
    def test_is_judged_before_the_body_where_it_is_declared(self, server, address, left, length):
        with server.wire() as wire:
            answer = wire.send(post(server, address, b"", length=length)).answer()
        assert (answer.status, answer.json()["code"]) == (413, "too-large")
        assert left() == (0, 0)

    def test_counts_what_comes_in_chunks(self, server, address, left):
        chunk = b"%x\r\n" % MB + b"x" * MB + b"\r\n"
        start = b"%x\r\n" % len(START) + START + b"\r\n"
        end = b"%x\r\n" % len(END) + END + b"\r\n0\r\n\r\n"
        head = post(server, address, b"", "Transfer-Encoding: chunked")
        with server.wire() as wire:
            assert wire.send(head, start, chunk * 2, end).answer().status == 201
        assert left() == (1, 1)
        with server.wire() as wire:
            wire.send(head, start)
            try:
                for _ in range(20):
                    wire.send(chunk)
            except OSError:
                pass  # it has been told, and nobody listens any more
            answer = wire.answer()
        assert (answer.status, answer.json()["code"]) == (413, "too-large")
        assert left() == (1, 1)

    def test_keeps_the_memory_flat(self, server, address, left):
        (worker,) = workers()
        body = START + b"x" * (30 * MB) + END
        with server.wire() as wire:
            wire.send(post(server, address, START + b"warm" + END), START + b"warm" + END).answer()
        before = memory_of(worker)
        for _ in range(3):
            with server.wire() as wire:
                assert wire.send(post(server, address, body), body).answer().status == 413
        assert memory_of(worker) - before <= 32 * MB
        assert left() == (1, 1)


class TestTheHostileSet:
    def test_keeps_the_memory_flat_and_leaves_nothing(self, server, address, left):
        """Each file of it over HTTP: what is dangerous is opened in processes of its own.

        One of them is as large as pictures may be, and is found to be broken at its end only.
        """
        (worker,) = workers()
        large = files.picture("PNG", (7_000, 7_000), compress_level=1)
        hostile = [
            *((*each, 415) for each in WRONG_CONTENT.values()),
            *((name, content, 422) for name, content, _ in REFUSED.values()),
            ("a.pdf", b"", 422),
            ("a.png", large[:-200], 422),
            *((*each, 201) for each in POLYGLOTS.values()),
            *((f"{name}.txt", name.encode(), 201) for name in HOSTILE_NAMES),
        ]
        send_file(server, address, "a.txt", b"Warm.")
        before = memory_of(worker)
        for name, content, status in hostile:
            answer = send_file(server, address, name, content)
            assert answer.status == status, (name, answer.body)
        with ExitStack() as slow:  # forms that never end, beside each other
            body = START + b"x" * 500_000
            for _ in range(4):
                head = post(server, address, body, length=10 * MB)
                slow.enter_context(server.wire()).send(head, body)
        assert memory_of(worker) - before <= 32 * MB
        kept = 1 + len(POLYGLOTS) + len(HOSTILE_NAMES)
        assert eventually(lambda: left() == (kept, kept), PATIENCE_S)


def send_file(server, address, name: str, content: bytes):
    body = START.replace(b"a.txt", name.encode()) + content + END
    with server.wire() as wire:
        return wire.send(post(server, address, body), body).answer()


class TestACutUpload:
    @pytest.mark.parametrize("kind", ["declared", "chunked", "unfinished"])
    def test_leaves_nothing(self, server, address, left, kind):
        sent = START + b"x" * 200_000
        with server.wire() as wire:
            if kind == "declared":
                wire.send(post(server, address, b"", length=300_000), sent).end()
            elif kind == "chunked":
                head = post(server, address, b"", "Transfer-Encoding: chunked")
                wire.send(head, b"%x\r\n" % 300_000, sent).end()
            else:
                wire.send(post(server, address, sent), sent).end()
            if kind == "unfinished":  # as long as it said, but without its last boundary
                assert wire.answer().status == 400
            else:
                wire.is_closed()
        assert left() == (0, 0)


def test_a_killed_worker_leaves_no_temporary_file(server, address, left):
    (worker,) = workers()
    with server.wire() as wire:
        wire.send(post(server, address, b"", length=8 * MB), START + b"x" * (4 * MB))
        deadline = time.monotonic() + PATIENCE_S
        while not any("dockside-" in target for target in open_files(worker)):
            assert time.monotonic() < deadline
        os.kill(worker, signal.SIGKILL)
        assert wire.is_closed()
    assert left() == (0, 0)
    with server.wire() as wire:  # another has taken its place
        body = START + b"Again." + END
        assert wire.send(post(server, address, body), body).answer().status == 201


def open_files(process: int) -> list[str]:
    found = []
    for name in Path(f"/proc/{process}/fd").iterdir():
        try:
            found.append(os.readlink(name))
        except OSError:
            continue
    return found


class TestAFullDisk:
    @pytest.fixture
    def full(self, data_dir):
        """The documents lie on a disk of 6 MB."""
        folder = data_dir / "documents"
        options = ["-t", "tmpfs", "-o", "size=6m", "tmpfs", str(folder)]
        if os.getuid() or subprocess.run(["mount", *options], capture_output=True).returncode:
            pytest.skip("only root can mount a small disk here")
        yield
        subprocess.run(["umount", str(folder)], check=True)

    def test_takes_the_next_file_that_fits(self, server, address, left, full):
        large, small = (START + b"x" * size + END for size in (9 * MB, MB))
        with server.wire() as wire:
            answer = wire.send(post(server, address, large), large).answer()
        assert (answer.status, answer.json()["code"]) == (503, "unavailable")
        assert "storage" in answer.json()["detail"]
        assert int(answer.headers["retry-after"]) > 0
        assert left() == (0, 0)
        for _ in range(20):
            with server.wire() as wire:
                assert wire.send(server.head("GET", "/api/v1/orders")).answer().status == 200
        with server.wire() as wire:
            assert wire.send(post(server, address, small), small).answer().status == 201
        assert left() == (1, 1)


def test_a_file_comes_back_over_the_wire(server, address):
    body = START.replace(b"a.txt", b"a.pdf") + files.pdf() + END
    with server.wire() as wire:
        made = wire.send(post(server, address, body), body).answer()
        path = f"{made.headers['location']}/content"
        whole = wire.send(server.head("GET", path)).answer()
        part = wire.send(server.head("GET", path, "Range: bytes=0-3")).answer()
        head = wire.send(server.head("HEAD", path)).answer(has_body=False)
        again = wire.send(
            server.head("GET", path, f"If-None-Match: {whole.headers['etag']}")
        ).answer(has_body=False)
    assert (whole.status, whole.body) == (200, files.pdf())
    assert (part.status, part.body) == (206, b"%PDF")
    assert head.headers["content-length"] == str(len(files.pdf()))
    assert again.status == 304
