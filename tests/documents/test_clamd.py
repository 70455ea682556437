"""A real clamd with one signature: what it knows is refused, and without it nothing is taken."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from core import deadlines
from documents.models import OrderDocument
from tests.documents import files
from tests.documents.conftest import part

CLAMD = shutil.which("clamd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
pytestmark = [
    pytest.mark.django_db,
    pytest.mark.server,
    pytest.mark.skipif(not CLAMD, reason="clamd is not installed (Debian: clamav-daemon)"),
]

PATIENCE_S = 30
# The test file that every scanner knows, in two parts, so that none finds it here.
EICAR = b"X5O!P%@AP[4\\PZX54(P^)7CC)7}$" + b"EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"


class Clamd:
    """The daemon on a port of its own, with the signatures of `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, 0
        (folder / "signatures").mkdir()
        (folder / "signatures" / "ours.ndb").write_text(f"Eicar-Of-Ours:0:*:{EICAR.hex()}\n")

    def start(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        settings = {
            "Foreground": "yes",
            "DatabaseDirectory": self.folder / "signatures",
            "TemporaryDirectory": self.folder,
            "TCPAddr": "127.0.0.1",
            "TCPSocket": self.port,
            "StreamMaxLength": "16M",
        }
        config, log = self.folder / "clamd.conf", self.folder / "log"
        config.write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [str(CLAMD), f"--config-file={config}"], stdout=output, stderr=output
            )
        end = time.monotonic() + PATIENCE_S
        while not self.answers():
            assert self.process.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.05)

    def answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1) as asking:
                asking.sendall(b"zPING\0")
                return asking.recv(16) == b"PONG\0"
        except OSError:
            return False

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(PATIENCE_S)


@pytest.fixture(scope="module")
def daemon(tmp_path_factory) -> Iterator[Clamd]:
    made = Clamd(tmp_path_factory.mktemp("clamd"))
    made.start()
    yield made
    made.stop()


@pytest.fixture
def clamd(daemon, settings) -> Clamd:
    settings.CLAMAV_HOST, settings.CLAMAV_PORT = "127.0.0.1", daemon.port
    settings.CLAMAV_TIMEOUT_S = PATIENCE_S
    return daemon


@pytest.fixture
def nothing_kept(stored):
    """To be asked for first, so that it looks last."""
    yield
    assert not OrderDocument.objects.exists()
    assert stored() == set()


INFECTED = {
    "plain": ("a.txt", EICAR),
    "behind a PDF": ("a.pdf", files.pdf() + b"\n" + EICAR),
    "packed into a text document": ("a.docx", files.office("docx", **{"word/a.bin": EICAR})),
    "in an archive in a workbook": (
        "a.xlsx",
        files.office("xlsx", **{"xl/a.zip": files.archive({"a.com": EICAR})}),
    ),
}


@pytest.mark.parametrize("case", INFECTED)
def test_what_it_knows_is_refused(nothing_kept, clamd, upload, case):
    answer = upload(*INFECTED[case])
    assert (answer.status_code, answer.json()["code"]) == (422, "infected"), answer.content
    assert "Eicar-Of-Ours" in answer.json()["detail"]


def test_what_it_does_not_know_passes(clamd, upload, stored):
    assert upload("a.txt", EICAR[1:]).status_code == 201
    ten_megabytes = b"0123456789abcde\n" * 655_360
    assert upload("b.txt", ten_megabytes).status_code == 201
    answer = upload(file=[part("c.txt", b"c"), part("d.txt", EICAR), part("e.txt", b"e")])
    assert [each["status"] for each in answer.json()["data"]] == [201, 422, 201]
    assert len(stored()) == 4


class TestWithoutIt:
    """Nothing passes that it did not call good."""

    def test_nothing_is_taken_while_it_is_stopped(self, nothing_kept, clamd, upload, settings):
        clamd.stop()
        try:
            assert refused(upload())
        finally:
            clamd.start()
        settings.CLAMAV_PORT = clamd.port
        assert upload("a.txt", EICAR).status_code == 422  # it is asked again at once

    def test_nothing_is_taken_while_it_hangs(self, nothing_kept, clamd, upload, settings):
        settings.CLAMAV_TIMEOUT_S = 0.5
        clamd.process.send_signal(signal.SIGSTOP)
        try:
            began = time.monotonic()
            assert refused(upload(file=[part(f"{n}.txt", b"%d" % n) for n in range(20)]))
            assert time.monotonic() - began < 5  # it is waited for once, not for each of them
        finally:
            clamd.process.send_signal(signal.SIGCONT)

    def test_a_request_has_no_more_time_than_others(self, nothing_kept, clamd, upload):
        clamd.process.send_signal(signal.SIGSTOP)
        deadlines.begin(time.monotonic() + deadlines.SPARE_S + 0.5)
        try:
            began = time.monotonic()
            assert refused(upload("a.txt", b"0123456789abcde\n" * 655_360))
            assert time.monotonic() - began < PATIENCE_S / 3
        finally:
            deadlines.end()
            clamd.process.send_signal(signal.SIGCONT)


def refused(answer) -> bool:
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable"), answer.content
    assert "scanner" in answer.json()["detail"]
    return int(answer["Retry-After"]) > 0
